"""Makes the pictures of the documentation from runs: python docs/screenshots.py RUN [OTHER]

RUN is a finished search with retrained cells, as `make search` leaves it. With another finished
search beside it the page of `nas compare` is taken, too. Chromium has to be installed.
"""

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from nas.commands import compare
from tests.reports.chromium import Page, chromium, find_browser

PICTURES = Path(__file__).resolve().parent / "pictures"
WIDE, NARROW = (1280, 900), (400, 900)
"""Windows in pixels, as of a desktop and of a phone."""
MOST = 200_000
"""Bytes of a picture."""


def take(page: Page, source: Path, name: str, size: tuple[int, int], *, dark: bool = False) -> None:
    """Takes a picture of a page.

    Args:
        source: the page's file.
        name: of the picture.
        size: of the window, in pixels.
        dark: whether the reader prefers dark pages.
    """
    page.look(*size, dark=dark)
    page.open(source)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # 256 colours are enough for lines and texts, and take a third of the bytes.
    picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
    told(PICTURES / name)


def told(path: Path) -> None:
    """Prints the size of a picture; one that is too large is an error."""
    size = path.stat().st_size
    print(f"{path}: {size:,} bytes")
    assert size <= MOST, f"{path} is larger than {MOST:,} bytes"


def main() -> None:
    """Makes all pictures of the runs that the command line names."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("run", type=Path, help="folder of a search with retrained cells")
    parser.add_argument("other", type=Path, nargs="?", help="another, to compare it with")
    given = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.exit("no Chromium is installed")
    shutil.copyfile(given.run / "front.svg", PICTURES / "front.svg")
    told(PICTURES / "front.svg")
    # A retrained cell, of the middle of the front.
    cells = sorted((given.run / "retrained").glob("*/cell.svg"))
    shutil.copyfile(cells[len(cells) // 2], PICTURES / "cell.svg")
    told(PICTURES / "cell.svg")
    with chromium(browser) as page:
        page.call("Emulation.setScrollbarsHidden", hidden=True)
        report = given.run / "report.html"
        take(page, report, "page.png", WIDE)
        take(page, report, "page-dark.png", WIDE, dark=True)
        take(page, report, "page-phone.png", NARROW)
        if given.other is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "compare.html"
                compare.command([str(given.run), str(given.other), "--out", str(path)])
                take(page, path, "compare.png", WIDE)


if __name__ == "__main__":
    main()
