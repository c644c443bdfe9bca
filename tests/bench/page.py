"""Renews the tables in docs/performance.md from the last run's results."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from tests.bench.bench import ROOT
from tests.bench.plot import PLOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = ROOT / "docs/performance.md"
BEGIN: Final = "<!-- begin of what make bench writes -->"
END: Final = "<!-- end of what make bench writes -->"


def renew(results: Path, plotted: Path) -> None:
    """Put the results' tables between the page's two marks, and the plot beside the page where there is one."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{(results / 'bench.md').read_text()}{END}{after}")
    if plotted.exists():
        shutil.copyfile(plotted, PAGE.with_name(PLOT))
