"""The command tree of ionetctl, and its entry point.

Imports little: each command imports what it needs when it runs, so that ``--help`` and completion stay quick.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ionetctl import __version__
from ionetctl.cli.commands import (
    artifacts,
    capacity,
    demo,
    enroll,
    explain,
    inventory,
    lab,
    preflight,
    probe,
    region,
    render,
    rollouts,
    status,
    verify,
)
from ionetctl.cli.run import Commands
from ionetctl.cli.streams import tolerant_streams

FLEET = "Fleet"
SITE = "Site"
REHEARSAL = "Rehearsal"

app = Commands(
    name="ionetctl",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Bring the GPU hosts of a mining datacenter into io.net: survey, push, verify.",
    epilog="Try it without any host: [cyan]ionetctl demo[/cyan]. Exit codes and JSON documents: docs/reference.",
)

app.command("enroll", rich_help_panel=FLEET, epilog=enroll.EPILOG)(enroll.enroll)
app.command("verify", rich_help_panel=FLEET, epilog=verify.EPILOG)(verify.verify)
app.command("status", rich_help_panel=FLEET, epilog=status.EPILOG)(status.status)
app.command("capacity", rich_help_panel=FLEET, epilog=capacity.EPILOG)(capacity.capacity)
app.add_typer(rollouts.app, name="rollouts", rich_help_panel=FLEET)
app.add_typer(inventory.app, name="inventory", rich_help_panel=SITE)
app.command("preflight", rich_help_panel=SITE, epilog=preflight.EPILOG)(preflight.preflight)
app.command("probe", rich_help_panel=SITE, epilog=probe.EPILOG)(probe.probe)
app.add_typer(region.app, name="region", rich_help_panel=SITE)
app.command("explain", rich_help_panel=SITE, epilog=explain.EPILOG)(explain.explain)
app.command("render", rich_help_panel=SITE, epilog=render.EPILOG)(render.render)
app.add_typer(artifacts.app, name="artifacts", rich_help_panel=SITE)
app.add_typer(lab.app, name="lab", rich_help_panel=REHEARSAL)
app.command("demo", rich_help_panel=REHEARSAL)(demo.demo)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"ionetctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line."""
    with tolerant_streams():
        app()
