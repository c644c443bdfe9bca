"""The output of ``explain``: one code, or the list of all codes. Pure: records to text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.ui.summary import SEVERITY_STYLES
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.checks import Code
    from ionetctl.core.model.outcome import Severity

WIDTH: Final = 96
INDENT: Final = "  "


def check_view(check: Code, waiver: str) -> Iterator[Text]:
    """What a check looks at, why it matters, what to do, and how a site waives it."""
    yield Text.assemble(
        (check.name, "bold"),
        "  ",
        (check.severity.value, SEVERITY_STYLES[check.severity]),
        f"  {check.title}",
    )
    yield from _section("It looks at", check.looks_at)
    yield from _section("Why it matters", check.matters)
    yield from _section("What to do", check.remedy)
    if check.may_be_waived:
        yield from _section("Where it does no harm", "In defaults, a group or a host of the inventory:")
        yield Text(textwrap.indent(waiver.rstrip(), INDENT * 2), style="dim")
    else:
        yield from _section(
            "It cannot be waived", f"An enrolment cannot do without it. Exit {int(check.exit_code)}."
        )


def error_view(code: str, chapter: str, exits: Iterable[int], means: str, remedy: str) -> Iterator[Text]:
    """What an error means and what to do, with its chapter in the documentation."""
    codes = ", ".join(str(number) for number in exits)
    head = f"  exit {codes}" if codes else ""
    yield Text.assemble((code, "bold"), (head, "red"), (f"  {chapter}", "dim"))
    yield from _section("It means", means)
    yield from _section("What to do", remedy)


def codes_view(rows: Iterable[tuple[str, Severity | None, Iterable[int], str]]) -> Iterator[Text]:
    """Every code in a line: severity where it is a check's, exit codes, title."""
    cells = [
        (
            code,
            Text() if severity is None else Text(severity.value, SEVERITY_STYLES[severity]),
            ", ".join(str(number) for number in exits),
            title,
        )
        for code, severity, exits, title in rows
    ]
    return table(("CODE", "SEVERITY", "EXIT", "MEANS"), cells)


def _section(heading: str, text: str) -> Iterator[Text]:
    yield Text("")
    yield Text(heading, style="bold")
    yield Text(textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT))
