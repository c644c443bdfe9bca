"""``ionetctl explain``: what a finding or an error means, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from ionetctl.app.explain import Explanation

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl explain miner_running[/cyan] says what is looked at, why it matters, what to do, how to waive it.

[cyan]ionetctl explain[/cyan] lists every code.
"""


@command()
def explain(
    _: Display,
    *,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="The code of a finding or an error; all of them in a list where left out."
        ),
    ] = None,
) -> CommandResult:
    """Say what a finding or an error means, why it matters, and what to do about it."""
    return _list_codes() if code is None else _explain_code(code)


def _explain_code(code: str) -> CommandResult:
    from ionetctl.app import explain

    found = explain.explain(code)
    return CommandResult(explain.document(found), view=lambda: _view(found))


def _view(found: Explanation) -> Iterator[Text | str]:
    from ionetctl.app.explain import waiver
    from ionetctl.ui.explanation import check_view, error_view

    if found.check is not None:
        yield from check_view(found.check, waiver(found.check))
    for number, row in enumerate(found.errors):
        if found.check is not None or number:
            yield ""
        yield from error_view(found.code, row.chapter, row.exit_codes, row.means, row.remedy)


def _list_codes() -> CommandResult:
    from ionetctl.app import explain
    from ionetctl.ui.explanation import codes_view

    found = explain.explain_all()
    document = explain.list_document(found)
    rows = [(row.code, row.check.severity if row.check else None, row.exit_codes, row.title) for row in found]
    return CommandResult(document, document["codes"], lambda: codes_view(rows))
