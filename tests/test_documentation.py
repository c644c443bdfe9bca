"""The documents hang together: links and anchors lead somewhere, the index names every page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
LINKS: Final[list[Any]] = [
    pytest.param(page, link, id=f"{page.relative_to(ROOT)}: {link}")
    for page in PAGES
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text())
]


def anchors(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_somewhere(page: Path, link: str) -> None:
    """The file is there, and so is the heading."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def test_pages_that_files_name_are_there() -> None:
    """Docstrings, comments and messages of the product, its scripts, templates and samples point at pages that exist."""
    folders = ("ionetctl", "templates", "inventories", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path.read_text(errors="ignore") for path in files if "__pycache__" not in path.parts]
    named = {page for text in texts for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", text)}
    assert "docs/reference/errors.md" in named
    assert [page for page in sorted(named) if not (ROOT / page).exists()] == []


def test_map_names_every_page() -> None:
    """Each page of docs/ has its line on the map, once."""
    named = re.findall(r"\]\(([\w-]+/[\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())
    pages = [str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/*/*.md")]
    assert sorted(named) == sorted(pages)


def test_pages_lie_where_readers_look() -> None:
    """Beside the map there are tutorials, how-tos, reference and explanation, and what the bench measured."""
    found = sorted(path.name for path in (ROOT / "docs").iterdir() if path.suffix != ".svg")
    assert found == [
        "README.md",
        "explanation",
        "how-to",
        "performance.md",
        "reference",
        "tutorials",
    ]
