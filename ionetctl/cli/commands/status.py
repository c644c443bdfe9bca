"""``ionetctl status``: the fleet from the catalog, refreshed from its regions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import load_settings, run
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from ionetctl.core.settings import Settings
    from ionetctl.summary.fleet import StatusReport

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl status[/cyan] asks the regions; [cyan]ionetctl status --offline[/cyan] shows what was last seen.

[cyan]ionetctl status -o json | jq .summary.gpus[/cyan]
"""


def status(
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
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Show the fleet: by datacenter and rack with GPU totals, then node by node."""

    def body(face: Face) -> CommandResult:
        settings = load_settings(state_dir)
        if watch:
            return _watch(face, settings, limit, interval, is_offline=offline)
        return _result(face, look(settings, limit, is_offline=offline))

    run(Common.of(output, quiet, verbose, color, no_input), body)


def look(settings: Settings, limit: str | None, *, is_offline: bool) -> StatusReport:
    """The fleet as it is now; raises as the catalog does, and ``UsageError`` for a limit that chooses nothing."""
    import asyncio

    from ionetctl.app.fleet_status import refresh_status

    report = asyncio.run(refresh_status(settings, is_offline))
    return report if limit is None else _limited(report, limit)


def _limited(report: StatusReport, limit: str) -> StatusReport:
    """The nodes that ``--limit`` chooses by what the catalog knows of them: not by group, address or tag."""
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


def _result(face: Face, report: StatusReport) -> CommandResult:
    from ionetctl.summary.fleet import node_row, status_document
    from ionetctl.ui.fleet import status_view

    for region, reason in report.silent.items():
        face.note(f"warning  region {region} does not answer, its nodes stand as last seen: {reason}")
    rows = [node_row(node) for node in report.nodes]
    return CommandResult(status_document(report), rows, lambda: status_view(report))


def _watch(
    face: Face, settings: Settings, limit: str | None, interval_s: float, *, is_offline: bool
) -> CommandResult:
    """Look again and again until Ctrl-C, or until nobody reads; the screen is cleared where it is one."""
    import time

    from ionetctl.ui.console import can_redraw

    redraws = can_redraw(face.out) and face.common.output is OutputFormat.HUMAN
    try:
        while face.is_read:
            result = _result(face, look(settings, limit, is_offline=is_offline))
            if redraws:
                face.out.clear()
            face.show(result)
            time.sleep(interval_s)
    except KeyboardInterrupt:
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
    raise typer.Exit(int(ExitCode.OK))
