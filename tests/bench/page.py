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


def renew(results: Path) -> None:
    """Put the results' tables between the page's two marks, and the plot beside the page where one was drawn."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = (results / "bench.md").read_text()
    if (results / PLOT).exists():
        shutil.copyfile(results / PLOT, PAGE.with_name(PLOT))
        tables += f"\n![Controller CPU a host, and memory, by the number of hosts]({PLOT})\n"
    PAGE.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")
