"""A page in a real Chromium without a window, driven through pipes by the DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60.0
"""Seconds to wait for an answer, or for a page to become what is waited for."""
LAUNCH = (
    "import fcntl, os, sys\n"
    "a, b = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])\n"
    "os.dup2(a, 3), os.dup2(b, 4), os.execv(sys.argv[3], sys.argv[3:])"
)
"""Starts a browser with the descriptors for commands and answers where it wants them, 3 and 4."""


def find_browser() -> str | None:
    """Returns the path of a browser, None if none is installed."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Page:
    """One tab.

    Attributes:
        faults: what its console told of, exceptions among it.
        requests: addresses that it has asked for, its own among them.
    """

    def __init__(self, out: int, answers: int) -> None:
        """
        Args:
            out: descriptor to write commands to.
            answers: descriptor to read answers and events from.
        """
        self._out, self._in, self._rest = out, answers, b""
        self._number, self._session = 0, None
        self.faults: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Gives a command and waits for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._hear(message.get("method"), message.get("params", {}))
        return message

    def _hear(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.faults.append(json.dumps(params["args"]))
        elif event == "Log.entryAdded":
            self.faults.append(params["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, path: Path, fragment: str = "") -> None:
        """Opens a file anew and waits until it has drawn itself; requests are those since."""
        self.call("Page.navigate", url="about:blank")  # else another fragment opens nothing
        self.wait("location.href === 'about:blank'")
        self.requests.clear()
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait("document.readyState === 'complete' && !!document.getElementById('data')")
        self.settle()

    def close(self) -> None:
        """Asks the browser to end, with all its processes."""
        os.write(self._out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")

    def settle(self) -> None:
        """Waits until what follows from the last input is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str) -> Any:
        """Evaluates an expression and returns its value, a promise's when it comes."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        text = {"text": key} if len(key) == 1 else {}
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
        code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, **code)
        self.settle()

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.call("Input.insertText", text=text)
        self.settle()

    def click(self, selector: str) -> None:
        """Clicks in the middle of an element, where a hand would."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)
        self.settle()

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Makes the window as wide and as high, light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.settle()

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Returns what is seen, or the whole page, as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])


@contextmanager
def chromium(browser: str) -> Iterator[Page]:
    """Starts a browser and yields a tab of it."""
    commands, out = os.pipe()
    answers, back = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments = [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking",
            f"--user-data-dir={home}", "--remote-debugging-pipe", "--window-size=1280,900",
        ]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCH, str(commands), str(back), *arguments],
            pass_fds=(commands, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(back)
        try:
            page = Page(out, answers)
            yield page
            page.close()
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
            os.close(out)
            os.close(answers)
