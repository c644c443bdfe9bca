"""The documentation's page of checks, made from the codes. ``make docs`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.checks.codes import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.checks import Code

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"
INTRODUCTION: Final = Path(__file__).with_name("page_introduction.md")
"""What stands above the tables, written by hand."""
HEAD: Final = "| code | severity | exit | means | do |\n| --- | --- | --- | --- | --- |\n"


def page() -> str:
    """The whole page: the introduction, then a table for each subject."""
    chapters = [f"## {subject}\n{HEAD}{_rows(codes)}" for subject, codes in SUBJECTS.items()]
    return INTRODUCTION.read_text(encoding="utf-8") + "\n".join(chapters)


def _rows(codes: Iterable[Code]) -> str:
    return "".join(f"| {' | '.join(_cells(code))} |\n" for code in codes)


def _cells(code: Code) -> tuple[str, ...]:
    marks = [code.severity.value]
    marks += ["fixed"] * (not code.may_be_waived)
    marks += [f"prepare: `{code.mended_by}`"] * (code.mended_by is not None)
    return f"`{code.name}`", ", ".join(marks), str(int(code.exit_code)), code.title, code.remedy


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
