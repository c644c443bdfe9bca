"""``ionetctl verify``: asks the regions only whether every host of an inventory is there as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common
from ionetctl.cli.run import load_settings, run

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

NoRelease = Annotated[
    bool,
    typer.Option(
        "--no-release",
        envvar="IONETCTL_NO_RELEASE",
        help="Only look: leave held nodes held, whatever they prove.",
    ),
]

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl verify site.yaml --limit rack:a01[/cyan] ends with 0 where all are there, else with 8.
"""


def verify(
    *,
    inventory: options.Inventory,
    limit: options.Limit = None,
    no_release: NoRelease = False,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Ask the regions whether every host of the inventory is there as it should be; no SSH.

    Nodes that ionetctl holds, and that now show what was promised, are released.
    """
    run(
        Common.of(output, quiet, verbose, color, no_input),
        lambda _: _verify(inventory, limit, state_dir, releases=not no_release),
        describe_failure,
    )


def describe_failure(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``verify`` document of a verification that could not be made."""
    from ionetctl.summary.fleet import VerifyReport, verify_document

    error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return verify_document(VerifyReport(())) | {"exit_code": int(exit_code), "error": error}


def _verify(inventory: str, limit: str | None, state_dir: str | None, *, releases: bool) -> CommandResult:
    import asyncio

    from ionetctl.app.fleet_status import verify
    from ionetctl.summary.fleet import verdict_row, verify_document
    from ionetctl.ui.fleet import verify_view

    report = asyncio.run(verify(inventory, limit, load_settings(state_dir), releases=releases))
    rows = [verdict_row(verdict) for verdict in report.verdicts]
    return CommandResult(verify_document(report), rows, lambda: verify_view(report), report.exit_code)
