"""``ionetctl trust``: the host keys of a fleet, as pins for review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import Commands, command, load_settings

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

app = Commands(no_args_is_help=True, help="See which keys the hosts of an inventory have.")

SCAN_EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl trust scan site.yaml --out pins.yaml[/cyan] writes what can be pasted into the inventory after a review.
[cyan]ionetctl trust scan site.yaml --limit rack:a01 -o json[/cyan] lists every host with its key and how it stands.
"""


@app.callback()
def root() -> None:
    """Keep ``scan`` a subcommand: without a callback Typer drops the name of a group's only command."""


def failure_document(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``trust scan`` document of a scan that failed."""
    from ionetctl.report.key_scan import document

    return document(None, exit_code=exit_code, failure=failure)


@app.command("scan", epilog=SCAN_EPILOG)
@command(failure_document)
def scan(
    display: Display,
    *,
    inventory: options.Inventory,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            envvar="IONETCTL_OUT",
            help="Write the pins there instead of printing them.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", envvar="IONETCTL_FORCE", help="With --out: replace a file that exists.")
    ] = False,
    concurrency: options.Concurrency = 100,
    timeout: options.Timeout = 120.0,
    limit: options.Limit = None,
) -> CommandResult:
    """Collect the hosts' keys over SSH, compare them with what is known, and write pins for review.

    Nobody is logged in to the hosts. What is pinned then is whatever answered: compare fingerprints before you use them.
    """
    import asyncio

    from ionetctl.app.scan_keys import scan_keys
    from ionetctl.cli.reports import check_new_file, write_file
    from ionetctl.report.key_scan import WORTH, document, host_row, pins_text
    from ionetctl.ui.key_scan import scan_lines

    if out is not None:
        check_new_file(out, may_replace=force)
    found = asyncio.run(scan_keys(inventory, limit, concurrency, timeout, load_settings()))
    text = pins_text(found)
    if out is not None:
        write_file(out, text.encode(), may_replace=force)
    for line in scan_lines(found):
        display.message(line)
    if found.pins:
        display.warn(" ".join(WORTH))
    if out is not None:
        display.info(
            f"{len(found.pins):,} pins in {out}, not reviewed: paste them into the inventory when they are"
        )
    rows = [host_row(found, one) for one in found.seen]
    view = () if out is not None else text.splitlines()
    return CommandResult(document(found, out), rows, lambda: view, found.exit_code)
