"""The site of the documentation: no link leads nowhere, and a page asks no other host."""

import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pytest

import nas
from docs import pages, reference
from nas.__main__ import VERBS
from nas.cell_search.config import SearchConfig
from nas.retraining.config import RetrainConfig
from nas.runtime.settings import Settings
from nas.weight_search.config import WeightConfig
from tests.reports.chromium import chromium, find_browser

LOADING = {
    "script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src",
    "video": "src", "audio": "src", "embed": "src", "object": "data", "use": "href",
}  # fmt: skip
"""Elements that load something, and the attribute that says what."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    pages.build(folder)
    return folder


class Loaded(HTMLParser):
    """Collects what a page loads by itself, its title, and what comes before its policy."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.policy: str | None = None
        self.unguarded = 0
        self.title = ""
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag, values = tag, dict(attrs)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag in LOADING and (address := values.get(LOADING[tag])) is not None:
            self.addresses.append(address)
            self.unguarded += self.policy is None
        if values.get("style"):
            self.handle_data(values["style"] or "")

    def handle_data(self, data: str) -> None:
        if self._tag == "title":
            self.title += data
        self.addresses += loaded_by_style(data)


def loaded_by_style(text: str) -> list[str]:
    """What a style sheet loads."""
    found = re.findall(r"""url\(\s*['"]?([^'")]*)|@import\s+['"]([^'"]*)""", text)
    return [address for pair in found for address in pair if address]


def is_elsewhere(address: str) -> bool:
    return re.match(r"(\w+:)?//", address) is not None


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    found = sorted(site.glob("**/*.html"))
    assert len(found) > 30
    titles = set()
    for path in found:
        page = Loaded()
        page.feed(path.read_text(encoding="utf-8"))
        assert page.addresses and not list(filter(is_elsewhere, page.addresses)), path
        # Scripts of the theme could load more for contents that no page has: browsers refuse it.
        assert page.policy == "default-src 'self' file: data: blob: 'unsafe-inline'", path
        assert page.unguarded == 0, path
        titles.add(page.title)
    assert "" not in titles and len(titles) >= len(found) - 10
    for path in site.glob("**/*.css"):
        assert not list(filter(is_elsewhere, loaded_by_style(path.read_text()))), path
    assert "http" not in (site / "iframe-worker.js").read_text()


def test_what_would_be_loaded_is_found() -> None:
    page = Loaded()
    page.feed(
        "<link href=//a rel=stylesheet><img src='https://b'><a href='https://no'></a>"
        "<style>@import 'http://c'; x {background: url(https://d)}</style>"
    )
    assert sorted(page.addresses) == ["//a", "http://c", "https://b", "https://d"]
    assert all(map(is_elsewhere, page.addresses)) and page.unguarded == 2


def test_the_search_works_on_files(site: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium is installed")
    with chromium(browser) as page:
        page.requests.clear()
        page.call("Page.navigate", url=(site / "index.html").as_uri())
        page.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        page.click("button.md-search__button")
        page.settle()
        page.type("hypergradient")
        page.wait("[...document.querySelectorAll('*')].some((e) => e.shadowRoot && "
                  "/The hypergradient/.test(e.shadowRoot.textContent))"
                  " || /The hypergradient/.test(document.body.innerText)")  # fmt: skip
        assert page.faults == []
        assert {address.partition(":")[0] for address in page.requests} <= {"file", "data", "blob"}


@pytest.mark.parametrize("link", ["[a](#nowhere)", "[a](nowhere.md)", "[a](index.md#nowhere)"])
def test_a_link_to_nowhere_is_an_error(link: str, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    settings = '[project]\nsite_name = "x"\ndocs_dir = "pages"\ntheme.font = false\n'
    (tmp_path / "zensical.toml").write_text(settings)
    (tmp_path / "pages" / "index.md").write_text(f"# Title\n\n{link}\n")
    with pytest.raises(pages.BrokenPage, match="does not exist"):
        pages.run_zensical(tmp_path)


def test_a_folder_that_is_no_site_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(pages.BrokenPage, match="something else than a site: choose another"):
            pages.build(out)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_links_to_files_are_those_of_the_site() -> None:
    places = pages.sources()
    source = pages.DOCS / "how-to" / "cluster.md"
    text = "[a](../design.md#x) [b](../../README.md) [c](../../Makefile) [d](https://e)"
    assert pages.on_the_site(text, source, places) == (
        "[a](../design.md#x) [b](../readme.md) c [d](https://e)"
    )
    with pytest.raises(pages.BrokenPage, match=r"docs/how-to/cluster.md: no file '../readme.md'"):
        pages.on_the_site("[a](../readme.md)", source, places)


@pytest.mark.parametrize(
    ("name", "kind"), [("search", SearchConfig), ("retrain", RetrainConfig), ("mlp", WeightConfig)]
)
def test_every_setting_is_in_the_reference(name: str, kind: type[Settings]) -> None:
    text = reference.pages()[name].partition("## Presets")[0]
    rows = re.findall(r"^\| `--([\w-]+)` \| .* \| .+ \| .+ \|$", text, flags=re.MULTILINE)
    assert sorted(rows) == sorted(field.name.replace("_", "-") for field in fields(kind))


def test_a_setting_in_the_reference() -> None:
    text = reference.pages()["search"]
    assert "| `--order` | `first` | `first`, `second`, `exact` | Hypergradient: first" in text
    assert "| `--channels` | `16` | integer, at least 1 | Width of the first cells;" in text
    assert "| `--lam` | `None` | numbers; or `None` |" in text
    assert "| `gdas` | `--relax straight_through --temperature 10.0" in text


def test_every_command_and_function_is_in_the_reference() -> None:
    found = reference.pages()
    assert re.findall("^### nas (.*)$", found["commands"], re.MULTILINE) == list(VERBS)
    assert "usage: nas ask [-h]" in found["commands"]
    functions = set(re.findall(r"^::: nas\.(\w+)$", found["python"], re.MULTILINE))
    assert functions | {"Front"} == set(nas.__all__)
