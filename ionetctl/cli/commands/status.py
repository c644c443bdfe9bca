"""``ionetctl status``: the fleet from the catalog, refreshed from its regions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import OutputFormat
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, load_settings
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.core.settings import Settings
    from ionetctl.summary.fleet import StatusReport

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl status[/cyan] asks the regions; [cyan]ionetctl status --offline[/cyan] shows what was last seen.

[cyan]ionetctl status -o json | jq .summary.gpus[/cyan]
"""


@command()
def status(
    display: Display,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", envvar="IONETCTL_WATCH", help="Keep it up to date until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option(
            "--interval",
            metavar="S",
            min=1.0,
            envvar="IONETCTL_INTERVAL",
            help="With --watch: seconds between looks.",
        ),
    ] = 5.0,
    offline: Annotated[
        bool,
        typer.Option("--offline", envvar="IONETCTL_OFFLINE", help="Ask no region; show the catalog alone."),
    ] = False,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Show the fleet: by datacenter and rack with GPU totals, then node by node."""
    settings = load_settings(state_dir)
    if watch:
        return _watch(display, settings, limit, interval, is_offline=offline)
    return _result(display, read_fleet(settings, limit, is_offline=offline, tell=display.info))


def read_fleet(
    settings: Settings, limit: str | None, *, is_offline: bool, tell: Callable[[str], None] | None = None
) -> StatusReport:
    """The fleet now; ``tell`` is called while a region is waited for. Raises as the catalog does, and ``UsageError`` for a limit that selects no node."""
    import asyncio

    from ionetctl.app.fleet_status import refresh_status

    report = asyncio.run(refresh_status(settings, is_offline, tell))
    return report if limit is None else _limited(report, limit)


def _limited(report: StatusReport, limit: str) -> StatusReport:
    """The nodes that ``--limit`` selects. The catalog has no groups, addresses or tags to select by."""
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory, NomadSettings
    from ionetctl.core.model.names import Digest
    from ionetctl.inventory.select import select_hosts

    hosts = tuple(
        Host(node.name, node.name, node.region, node.datacenter, node.rack, node.node_pool)
        for node in report.nodes
    )
    known = Inventory("catalog", "", Digest(""), "as-written", {}, NomadSettings("", ""), hosts)
    chosen = {(host.region, host.name) for host in select_hosts(known, limit)}
    return replace(report, nodes=tuple(node for node in report.nodes if (node.region, node.name) in chosen))


def _result(display: Display, report: StatusReport) -> CommandResult:
    from ionetctl.summary.fleet import node_row, status_document
    from ionetctl.ui.fleet import status_view

    for region, reason in report.silent.items():
        display.warn(f"region {region} does not answer, its nodes stand as last seen: {reason}")
    rows = [node_row(node) for node in report.nodes]
    return CommandResult(status_document(report), rows, lambda: status_view(report))


def _watch(
    display: Display, settings: Settings, limit: str | None, interval_s: float, *, is_offline: bool
) -> CommandResult:
    """Show the fleet every ``interval_s`` until Ctrl-C or until the reader is gone; a terminal is cleared first."""
    import time

    from ionetctl.ui.console import can_redraw

    redraws = can_redraw(display.out) and display.common.output is OutputFormat.HUMAN
    try:
        while display.is_read:
            result = _result(display, read_fleet(settings, limit, is_offline=is_offline))
            if redraws:
                display.out.clear()
            display.show(result)
            time.sleep(interval_s)
    except KeyboardInterrupt:
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
    raise typer.Exit(int(ExitCode.OK))
