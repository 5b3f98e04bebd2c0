"""Builds the site of the documentation: python docs/pages.py --out site

The pages lie in docs/ and are written to be read there, too. They are copied to a temporary folder
beside README, changelog, the notebook and the reference, which is made of docstrings and settings
(docs/reference.py). Zensical builds there, and a link to nowhere is an error.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs import reference

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SITE = DOCS / "site"
"""What is no page: settings, a template, a style, a script."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
"""A link or a picture of Markdown; one that stays on its page has no target and is left alone."""


class BrokenPage(Exception):
    """A page that cannot be built, with what to mend."""


def sources() -> dict[Path, str]:
    """Returns the files of the repository that the site has, with their places there."""
    found = {path: str(path.relative_to(DOCS)) for path in sorted(DOCS.glob("**/*.md"))}
    found |= {path: f"pictures/{path.name}" for path in sorted(DOCS.glob("pictures/*"))}
    found |= {SITE / name: name for name in ("style.css", "iframe-worker.js")}
    found |= {
        ROOT / f"{name}.md": f"{name.lower()}.md"
        for name in ("README", "CONTRIBUTING", "CHANGELOG")
    }
    return found | {DOCS / "journey.ipynb": "journey.md"}


def on_the_site(text: str, source: Path, places: dict[Path, str]) -> str:
    """Returns the text of a page with its links as they are on the site.

    A link to a file of the repository that the site does not have becomes plain text.

    Args:
        text: Markdown.
        source: file that it is from.
        places: as of `sources`.

    Raises:
        BrokenPage: if a link leads to no file.
    """

    def replaced(match: re.Match[str]) -> str:
        mark, label, target, anchor = match.groups()
        if re.match(r"\w+:", target):
            return match[0]
        path = Path(os.path.normpath(source.parent / target))
        if not path.exists():
            raise BrokenPage(f"{source.relative_to(ROOT)}: no file {target!r} to link to")
        if path not in places:
            return label
        start = os.path.dirname(places[source]) or "."
        return f"{mark}[{label}]({os.path.relpath(places[path], start)}{anchor or ''})"

    return LINK.sub(replaced, text)


def notebook(path: Path) -> str:
    """Returns the cells of a Jupyter notebook as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"]).rstrip()
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join(parts) + "\n"


def copy_pages(folder: Path) -> None:
    """Copies all pages and pictures to a folder, and writes the reference there.

    Raises:
        BrokenPage: if a link leads to no file.
    """
    places = sources()
    for source, place in places.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".md":
            is_page = source.suffix == ".md"
            text = source.read_text(encoding="utf-8") if is_page else notebook(source)
            target.write_text(on_the_site(text, source, places), encoding="utf-8")
        else:
            shutil.copyfile(source, target)
    (folder / "reference").mkdir()
    for name, text in reference.pages().items():
        (folder / "reference" / f"{name}.md").write_text(text, encoding="utf-8")


def in_nav(entries: object) -> Iterator[str]:
    """Yields the pages that the navigation leads to."""
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict | list):
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from in_nav(entry)


def run_zensical(folder: Path) -> None:
    """Builds the site of a folder with settings and pages, in its folder `site`.

    Raises:
        BrokenPage: with all that it has to say, if a link or an anchor leads nowhere.
    """
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", "zensical.toml"]
    # Docstrings are read from the source, which is found as a module is.
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrokenPage((done.stdout + done.stderr).strip())


def build(out: Path) -> None:
    """Builds the site, in place of what the folder held.

    Raises:
        BrokenPage: if a link leads nowhere, a page has no place in the navigation, or the folder
            holds anything but a site.
    """
    is_site = (out / "reference").is_dir() and (out / "index.html").is_file()
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not is_site):
        raise BrokenPage(f"{out} holds something else than a site: choose another --out")
    settings = (SITE / "zensical.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "zensical.toml").write_text(settings, encoding="utf-8")
        shutil.copytree(SITE / "theme", folder / "theme")
        copy_pages(folder / "pages")
        written = {str(p.relative_to(folder / "pages")) for p in folder.glob("pages/**/*.md")}
        listed = set(in_nav(tomllib.loads(settings)["project"]["nav"]))
        if written != listed:
            odd = ", ".join(sorted(written ^ listed))
            raise BrokenPage(f"docs/site/zensical.toml: nav and pages differ in {odd}")
        run_zensical(folder)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "site", out)


def main() -> None:
    """Builds the site where the command line says."""
    parser = argparse.ArgumentParser(description="Build the site of the documentation.")
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="folder (default site)")
    out: Path = parser.parse_args().out
    try:
        build(out)
    except BrokenPage as error:
        sys.exit(str(error))
    print(f"{out / 'index.html'}: {len(list(out.glob('**/*.html')))} pages")


if __name__ == "__main__":
    main()
