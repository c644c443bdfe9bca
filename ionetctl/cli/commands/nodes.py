"""``ionetctl nodes``: the nodes of the fleet through their regions' APIs, without SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.commands import node_changes
from ionetctl.cli.options import OutputFormat
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import Commands, command, load_settings

if TYPE_CHECKING:
    from ionetctl.summary.node_list import NodeReport

app = Commands(
    no_args_is_help=True,
    help="The nodes through Nomad's API, without SSH: list, show, exclude, include, drain, metadata.",
)


@app.command("list")
@command(has_names=True)
def list_nodes(
    display: Display,
    *,
    inventory: options.InventoryFile = None,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """List the nodes as their regions show them: status, who keeps jobs from them and why, jobs, GPUs, version.

    With an inventory it says what differs from that; with -o wide every node is asked what it uses now: CPU, memory, disk and GPUs.
    """
    from ionetctl.summary.node_list import list_document, node_row
    from ionetctl.ui.nodes.node_list import list_view

    is_wide = display.common.output is OutputFormat.WIDE
    report = _read(display, inventory, limit, state_dir, with_use=is_wide)
    for region, reason in report.unanswered.items():
        display.warn(f"region {region} does not answer: {reason}")
    return CommandResult(
        lambda: list_document(report),
        lambda: [node_row(node) for node in report.nodes],
        lambda: list_view(report),
        wide=lambda: list_view(report, is_wide=True),
        names=[node.host.name for node in report.nodes],
    )


@app.command()
@command(has_names=True)
def show(
    display: Display,
    *,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The host's name.", show_default=False)],
    inventory: options.InventoryFile = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Show all that its region says of one node, and what it uses now; -o wide has its metadata too.

    With an inventory it says what differs from that.
    """
    from ionetctl.app.known_fleet import check_names
    from ionetctl.core.errors import UsageError
    from ionetctl.summary.node_list import exit_code_of, node_document
    from ionetctl.ui.nodes.node_list import node_view

    if any(sign in node for sign in ",!*?[@:"):
        message = f"{node!r} is not the name of one host"
        raise UsageError("node_name_invalid", message, "nodes list --limit takes an expression")
    report = _read(display, inventory, node, state_dir, with_use=True)
    check_names(each.host for each in report.nodes)
    [found] = report.nodes
    return CommandResult(
        lambda: node_document(found),
        view=lambda: node_view(found),
        exit_code=exit_code_of(found),
        failure=found.problem,
        wide=lambda: node_view(found, is_wide=True),
        names=[found.host.name],
    )


def _read(
    display: Display, inventory: str | None, limit: str | None, state_dir: str | None, *, with_use: bool
) -> NodeReport:
    """What the regions say; on standard error what they do not say."""
    from ionetctl.app.node_list import read_nodes
    from ionetctl.core import event_loop

    settings = load_settings(state_dir)
    report = event_loop.run(read_nodes(settings, inventory, limit, with_use=with_use, tell=display.info))
    for region, reason in report.untold.items():
        display.warn(f"region {region} does not tell the jobs of its nodes: {reason}")
    return report


node_changes.register(app)
