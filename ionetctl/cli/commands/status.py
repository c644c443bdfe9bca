"""``ionetctl status``: the fleet from the catalog, refreshed from its regions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ionetctl.cli import options
from ionetctl.cli.options import OutputFormat
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, load_settings
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from ionetctl.summary.fleet import StatusReport

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl status[/cyan] asks the regions; [cyan]ionetctl status --offline[/cyan] shows what was last seen.

[cyan]ionetctl status -o json | jq .summary.gpus[/cyan]
"""


@command(has_names=True)
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
    not_ready: Annotated[
        bool,
        typer.Option(
            "--not-ready",
            envvar="IONETCTL_NOT_READY",
            help="Only nodes that take no jobs: not ready, or not eligible.",
        ),
    ] = False,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Show the fleet: GPU totals by datacenter and rack, then nodes that stand alike together."""
    from ionetctl.app.fleet_status import read_fleet
    from ionetctl.core import event_loop

    settings = load_settings(state_dir)

    def look() -> StatusReport:
        tell = None if watch else display.info
        report = event_loop.run(read_fleet(settings, limit, is_offline=offline, tell=tell))
        if not not_ready:
            return report
        return replace(report, nodes=tuple(node for node in report.nodes if not node.takes_jobs))

    return _watch(display, look, interval) if watch else _result(display, look())


def _result(display: Display, report: StatusReport) -> CommandResult:
    from ionetctl.core.clock import SystemClock
    from ionetctl.summary.fleet import node_row, status_document
    from ionetctl.ui.fleet import status_view, wide_view

    for region, reason in report.silent.items():
        display.warn(f"region {region} does not answer, its nodes stand as last seen: {reason}")
    return CommandResult(
        lambda: status_document(report),
        lambda: [node_row(node) for node in report.nodes],
        lambda: status_view(report, SystemClock().now(), display.out.width),
        wide=lambda: wide_view(report),
        names=[node.name for node in report.nodes],
    )


def _watch(display: Display, look: Callable[[], StatusReport], interval_s: float) -> CommandResult:
    """Show the fleet every ``interval_s`` until Ctrl-C or until the reader is gone; a terminal shows nothing else."""
    import time

    from ionetctl.ui.console import can_redraw

    try:
        if can_redraw(display.out) and display.common.output is OutputFormat.HUMAN:
            _watch_screen(display.out, look, interval_s)
        while display.is_read:
            display.show(_result(display, look()))
            time.sleep(interval_s)
    except KeyboardInterrupt:
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
    raise typer.Exit(int(ExitCode.OK))


def _watch_screen(console: Console, look: Callable[[], StatusReport], interval_s: float) -> NoReturn:
    """Redraw the whole screen, which is as before at the end; the sums stay at its top."""
    import time

    from rich.console import Group

    from ionetctl.core.clock import SystemClock
    from ionetctl.ui.fleet import watch_view

    report = look()
    with console.screen() as screen:
        while True:
            lines = list(watch_view(report, SystemClock().now(), console.width, console.height))
            for line in lines:
                line.no_wrap, line.overflow = True, "ellipsis"
            screen.update(Group(*lines))
            time.sleep(interval_s)
            report = look()
