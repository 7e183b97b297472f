"""The documents: generated pages match the code, every link leads somewhere, every path that is named exists."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from urllib.parse import unquote

import pytest

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_PAGES = sorted(
    [*_ROOT.glob("*.md"), *_DOCS.rglob("*.md"), *(_ROOT / "deployments").glob("*.md")],
    key=str,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NAMED_PATH = re.compile(r"`((?:nightreel|flows|tasks|tests|sql|docker|deployments|docs)/[\w./-]+)`")
_GENERATED = runpy.run_path(str(_DOCS / "generate.py"))


def _anchors(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", _GENERATED["PAGES"])
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    made = _GENERATED["PAGES"][name]()
    assert (_DOCS / name).read_text(encoding="utf-8") == made, "run `make docs`"
    assert "None." not in made
    widths = {len(line.split("|")) for line in made.splitlines() if line.startswith("|")}
    assert widths <= {5, 6}, "a description with a | breaks its table"


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_link_and_every_path_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in _LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} does not exist"
        if anchor:
            assert anchor in _anchors(target), f"{link}: no such heading"
    if page.name == "CHANGELOG.md":
        return  # it names what was there at the time
    missing = [path for path in _NAMED_PATH.findall(text) if not (_ROOT / path).exists()]
    assert not missing


def test_the_index_lists_every_page() -> None:
    index = (_DOCS / "README.md").read_text(encoding="utf-8")
    links = {(_DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(index)}
    pages = {page for page in _DOCS.glob("*.md") if page.name != "README.md"} | {_DOCS / "decisions" / "README.md"}
    assert not {page.name for page in pages - links}


def test_the_index_of_decisions_lists_every_page() -> None:
    folder = _DOCS / "decisions"
    links = _LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= {link.partition("#")[0] for link in links}
