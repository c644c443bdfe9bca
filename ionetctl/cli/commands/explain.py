"""``ionetctl explain``: what a finding or an error means, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common
from ionetctl.cli.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from ionetctl.app.explain import Explanation

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl explain miner_running[/cyan] says what is looked at, why it matters, what to do, how to waive it.

[cyan]ionetctl explain[/cyan] lists every code.
"""


def explain(
    *,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="The code of a finding or an error; all of them in a list where left out."
        ),
    ] = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Say what a finding or an error means, why it matters, and what to do about it."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda _: _all() if code is None else _one(code))


def _one(code: str) -> CommandResult:
    from ionetctl.app import explain

    found = explain.explain(code)
    return CommandResult(explain.document(found), view=lambda: _view(found))


def _view(found: Explanation) -> Iterator[RenderableType]:
    from ionetctl.app.explain import waiver
    from ionetctl.ui.explanation import check_view, error_view

    if found.check is not None:
        yield from check_view(found.check, waiver(found.check))
    for number, row in enumerate(found.errors):
        if found.check is not None or number:
            yield ""
        yield from error_view(found.code, row.chapter, row.exit_codes, row.means, row.remedy)


def _all() -> CommandResult:
    from ionetctl.app import explain
    from ionetctl.ui.explanation import codes_view

    found = explain.explain_all()
    document = explain.list_document(found)
    rows = [
        (each.code, each.check.severity if each.check else None, each.exit_codes, each.title)
        for each in found
    ]
    return CommandResult(document, document["codes"], lambda: codes_view(rows))
