"""``ionetctl capacity``: the fleet's GPUs summed by standard name, from the catalog refreshed from its regions."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, load_settings
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from ionetctl.summary.capacity import Capacity
    from ionetctl.summary.fleet import StatusReport

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl capacity[/cyan] prints one line for each model: what jobs can be placed on now.

[cyan]ionetctl capacity --format k8s[/cyan] prints it as a virtual node's capacity and allocatable.

[cyan]ionetctl capacity -o json | jq .total.schedulable.gpus[/cyan]
"""


class CapacityFormat(StrEnum):
    """How the sums are written."""

    PLAIN = "plain"
    K8S = "k8s"


@command()
def capacity(
    display: Display,
    *,
    format_: Annotated[
        CapacityFormat,
        typer.Option(
            "--format",
            envvar="IONETCTL_FORMAT",
            help="By standard name, or as the resources of a virtual Kubernetes node.",
        ),
    ] = CapacityFormat.PLAIN,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", envvar="IONETCTL_OFFLINE", help="Ask no region; sum what was last recorded."
        ),
    ] = False,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Sum the fleet's GPUs by standard name; with -o json and for Kubernetes CPU, memory and disk too."""
    from ionetctl.app.fleet_status import read_fleet
    from ionetctl.core import event_loop
    from ionetctl.summary.capacity import capacity_of

    report = event_loop.run(read_fleet(load_settings(state_dir), limit, is_offline=offline, with_takes=True))
    found = capacity_of(report, is_offline=offline)
    _report_omissions(display, report, found)
    return _result(found, format_)


def _report_omissions(display: Display, report: StatusReport, found: Capacity) -> None:
    """Write to standard error what the sums leave out."""
    from ionetctl.summary.capacity import Standing

    for region, reason in report.silent.items():
        display.warn(f"region {region} does not answer, its GPUs are left out: {reason}")
    for region, reason in report.untold.items():
        display.warn(f"region {region} does not tell its jobs, what they take counts as free: {reason}")
    if report.error:
        display.warn("no region could be asked: --offline sums what was last recorded")
    for name in found.unknown_products:
        display.warn(f"{name} is no product that ionetctl knows, or not with this memory; please report it")
    if not report.nodes:
        display.info("no node is enrolled yet; begin with: ionetctl enroll INVENTORY")
    elif found.is_offline:
        display.info("as last recorded: no region was asked")
    held_back = found.total[Standing.UNSCHEDULABLE]
    if held_back.gpus:
        gpus, nodes = sum(held_back.gpus.values()), held_back.nodes
        display.info(f"not ready or not eligible: {counted(gpus, 'more GPU')} on {counted(nodes, 'node')}")


def _result(found: Capacity, format_: CapacityFormat) -> CommandResult:
    from rich.text import Text

    from ionetctl.summary.capacity import (
        capacity_document,
        capacity_lines,
        capacity_rows,
        virtual_node,
        virtual_node_lines,
    )

    if format_ is CapacityFormat.K8S:
        lines = virtual_node_lines(found)
        return CommandResult(virtual_node(found), view=lambda: map(Text, lines))
    lines = capacity_lines(found)
    return CommandResult(capacity_document(found), capacity_rows(found), lambda: map(Text, lines))
