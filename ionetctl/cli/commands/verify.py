"""``ionetctl verify``: asks the regions, without SSH, whether an inventory's hosts are registered as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, load_settings

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


def failure_document(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``verify`` document of a verification that failed."""
    from ionetctl.report import json
    from ionetctl.summary.fleet import VerifyReport, verify_document

    return verify_document(VerifyReport(())) | {"exit_code": int(exit_code), "error": json.failure(failure)}


@command(failure_document)
def verify(
    display: Display,
    *,
    inventory: options.Inventory,
    limit: options.Limit = None,
    no_release: NoRelease = False,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Ask the regions whether every host of the inventory is there as it should be; no SSH.

    Nodes that ionetctl holds, and that now show what was promised, are released.
    """
    import asyncio

    from ionetctl.app.verify import verify
    from ionetctl.summary.fleet import verdict_row, verify_document
    from ionetctl.ui.fleet import verify_view

    settings = load_settings(state_dir)
    verifying = verify(inventory, limit, settings, releases=not no_release, tell=display.info)
    report = asyncio.run(verifying)
    rows = [verdict_row(verdict) for verdict in report.verdicts]
    return CommandResult(verify_document(report), rows, lambda: verify_view(report), report.exit_code)
