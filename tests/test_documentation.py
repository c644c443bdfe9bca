"""The documents hang together: links and anchors lead somewhere, the index names every page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]
LINKS: Final[list[Any]] = [
    pytest.param(page, link, id=f"{page.name}: {link}")
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


def test_index_names_every_page() -> None:
    """Whoever comes to docs/ finds everything in it."""
    named = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())
    assert sorted(named) == sorted(page.name for page in ROOT.glob("docs/*.md") if page.name != "README.md")
