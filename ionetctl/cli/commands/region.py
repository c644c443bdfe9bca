"""``ionetctl region``: checks whether regions can take hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import Commands, command, load_settings

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

app = Commands(no_args_is_help=True, help="Ask the regions of an inventory about themselves.")

CHECK_EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl region check site.yaml[/cyan] ends with 0 where every region can take its hosts, else with 8.
"""


@app.callback()
def root() -> None:
    """Keep ``check`` a subcommand: without a callback Typer drops the name of a group's only command."""


def failure_document(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``region check`` document of a check that failed."""
    from ionetctl.report.region import document

    return document((), exit_code, failure)


@app.command("check", epilog=CHECK_EPILOG)
@command(failure_document)
def check(
    _: Display,
    *,
    inventory: options.Inventory,
    region: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            metavar="NAME",
            envvar="IONETCTL_REGION",
            help="Only this region; may be given several times.",
        ),
    ] = None,
) -> CommandResult:
    """Ask regions for servers, room, limits, certificates and heartbeats; no host is touched."""
    import asyncio

    from ionetctl.app.check_region import inspect_regions
    from ionetctl.report.region import document, exit_code_of, region_row
    from ionetctl.ui.region import regions_view

    found = asyncio.run(inspect_regions(inventory, region or [], load_settings()))
    rows = [region_row(inspection) for inspection in found]
    return CommandResult(document(found), rows, lambda: regions_view(found), exit_code_of(found))
