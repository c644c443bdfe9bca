"""``ionetctl region``: what a region itself is asked, before hosts are sent there."""

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

app = typer.Typer(no_args_is_help=True, help="Ask the regions of an inventory about themselves.")

CHECK_EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl region check site.yaml[/cyan] ends with 0 where every region can take its hosts, else with 8.
"""


@app.callback()
def root() -> None:
    """Keep ``check`` a command of its own, alone as it is."""


@app.command("check", epilog=CHECK_EPILOG)
def check(
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
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Ask regions for servers, room, limits, certificates and heartbeats; no host is touched."""
    run(
        Common.of(output, quiet, verbose, color, no_input),
        lambda _: _check(inventory, region or []),
        describe_failure,
    )


def describe_failure(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``region check`` document of a check that could not be made."""
    from ionetctl.report.region import document

    return document((), exit_code, failure)


def _check(inventory: str, chosen: list[str]) -> CommandResult:
    import asyncio

    from ionetctl.app.check_region import inspect_regions
    from ionetctl.report.region import document, exit_code_of, region_row
    from ionetctl.ui.region import regions_view

    found = asyncio.run(inspect_regions(inventory, chosen, load_settings()))
    rows = [region_row(one) for one in found]
    return CommandResult(document(found), rows, lambda: regions_view(found), exit_code_of(found))
