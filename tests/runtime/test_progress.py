"""Progress is a line now and then where there is no terminal, and nothing if not wanted."""

import sys
from collections.abc import Sequence

import pytest

from nas.runtime.progress import EVERY, hushed, progress, quietable


def test_elsewhere_than_on_a_terminal_progress_is_few_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress(1000, "step", done=1, name="x") as bar:
        for _ in range(999):
            bar.update()
    # The state at the beginning and at the end; none in between, as no minute has passed.
    first, last = capsys.readouterr().err.splitlines()
    assert EVERY == 60
    assert first.startswith("x:") and "1/1000" in first and "1000/1000" in last
    assert "\r" not in first + last


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(2, "step") as bar:
        bar.update(2)
    assert capsys.readouterr().err.startswith("\r")


def test_quiet_leaves_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    @quietable
    def command(args: Sequence[str]) -> None:
        """Says and shows something."""
        seen.append([*args])
        print("said")
        print("warned", file=sys.stderr)
        with progress(2, "step") as bar:
            bar.update(2)

    command(["a", "--quiet", "b"])
    assert capsys.readouterr() == ("", "warned\n")
    command(["a"])
    out, err = capsys.readouterr()
    assert out == "said\n" and "2/2" in err
    assert seen == [["a", "b"], ["a"]]
    with hushed(True), hushed(False):
        print("said")
    assert capsys.readouterr().out == ""
