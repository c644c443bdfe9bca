"""The output of ``nodes list`` and ``nodes show``. Pure: records in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.core.plural import counted
from ionetctl.summary.fleet import READY
from ionetctl.summary.node_list import Holder
from ionetctl.ui import phrases
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.node import NodeUse
    from ionetctl.summary.node_list import Hold, ListedNode, NodeReport

NOTHING: Final = "no node is enrolled yet; begin with: ionetctl enroll INVENTORY"
WHY_CHARACTERS: Final = 60
"""The most of a reason in a table; ``nodes show`` has all of it."""
UNKNOWN_END: Final = "its end is unknown: neither the catalog nor the node's metadata has it"
_MIB: Final = 1 << 20
_STANDING: Final = {
    Holder.IONETCTL: "held",
    Holder.ADMIN: "excluded",
    Holder.DRAIN: "draining",
    Holder.UNKNOWN: "ineligible",
}
_WORDS: Final = {
    Holder.IONETCTL: "held by ionetctl",
    Holder.ADMIN: "excluded",
    Holder.DRAIN: "draining: its jobs are being moved away",
    Holder.UNKNOWN: "made ineligible, not by ionetctl",
}


def list_view(report: NodeReport, *, is_wide: bool = False) -> Iterator[Text]:
    """A line for each node, then how many there are; ``is_wide`` adds what they use, and more of what they are."""
    if not report.nodes:
        yield Text(NOTHING)
        return
    has_inventory = any(node.differences is not None for node in report.nodes)
    columns = ["node", "region", "status", "jobs", "gpus", "version"]
    columns += ["id", "datacenter", "pool", "drivers", "cpu", "memory", "disk", "gpu use"] if is_wide else []
    columns += ["differs"] if has_inventory else []
    rows = [[*_cells(node), *(_wide_cells(node) if is_wide else ())] for node in report.nodes]
    for row, node in zip(rows, report.nodes, strict=True):
        if has_inventory:
            row.append(", ".join(each.what for each in node.differences or ()) or "-")
        row.append(phrases.shortened(_why(node), WHY_CHARACTERS))
    right = frozenset({"jobs", "gpus", "cpu", "memory", "disk", "gpu use"})
    yield from table([*columns, "why"], rows, right)
    yield Text("")
    yield _total(report)


def node_view(node: ListedNode, *, is_wide: bool = False) -> Iterator[Text]:
    """All that is known of one node; ``is_wide`` adds its metadata."""
    host, view = node.host, node.view
    yield Text(phrases.plain(host.name), style="bold")
    if node.problem:
        yield _field("unknown", phrases.plain(node.problem.message), "red")
    if view:
        style = "green" if node.takes_jobs else "red"
        yield _field("status", f"{view.status}, {view.eligibility}", style)
        yield from (_field("why", _hold(hold), "yellow") for hold in node.holds)
        yield _field("node", f"{view.id} at {view.address}")
    place = [host.region, view.datacenter if view else host.datacenter, host.rack or "no rack"]
    yield _field("place", ", ".join([*place, f"pool {view.node_pool if view else host.node_pool}"]))
    if view:
        yield _field("nomad", view.version)
        yield _field("certificate", UNKNOWN_END)
        yield _field("drivers", ", ".join(view.drivers_healthy) or "none is healthy")
        yield from (_field("gpus", f"{one.healthy} of {one.count} {one.name} healthy") for one in node.gpus)
        yield from _job_lines(node)
        yield from _resource_lines(node)
    if node.use:
        yield from _use_lines(node.use)
    elif node.use_problem:
        yield _field("use", f"unknown: {node.use_problem}", "yellow")
    if node.differences is not None:
        yield from _difference_lines(node)
    if is_wide and node.meta is not None:
        yield from (_field("meta", f"{key} = {value}") for key, value in sorted(node.meta.items()))


def _field(name: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<12}", "dim"), (phrases.plain(text), style))


def _job_lines(node: ListedNode) -> Iterator[Text]:
    if node.jobs is None:
        yield _field("jobs", "unknown: the region does not tell them", "yellow")
    elif not node.jobs:
        yield _field("jobs", "none")
    for job in node.jobs or ():
        yield _field("jobs", f"{job.job} ({job.namespace}): {counted(job.allocations, 'allocation')}")


def _resource_lines(node: ListedNode) -> Iterator[Text]:
    resources = node.view.resources if node.view else None
    if resources is not None:
        total, reserved = resources.total, resources.reserved
        yield _field(
            "has",
            f"{counted(resources.cpu_cores, 'core')} ({total.cpu_mhz:,} MHz), memory {_size(total.memory_mib)}, disk {_size(total.disk_mib)}",
        )
        yield _field(
            "holds back",
            f"{reserved.cpu_mhz:,} MHz, memory {_size(reserved.memory_mib)}, disk {_size(reserved.disk_mib)}",
        )


def _use_lines(use: NodeUse) -> Iterator[Text]:
    memory = f"memory {_size(use.memory_used_mib)} of {_size(use.memory_mib)}"
    disk = f"disk {_size(use.disk_used_mib)} of {_size(use.disk_mib)}"
    yield _field("use", f"CPU {use.cpu_percent:.0f} %, {memory}, {disk}")
    for card in use.gpus:
        busy = "?" if card.utilization_percent is None else str(card.utilization_percent)
        used = "?" if card.memory_used_mib is None else _size(card.memory_used_mib)
        of = "?" if card.memory_mib is None else _size(card.memory_mib)
        yield _field("use", f"{card.id}: {busy} %, memory {used} of {of}")


def _difference_lines(node: ListedNode) -> Iterator[Text]:
    if not node.differences:
        yield _field("differs", "in nothing from the inventory", "green" if node.view else "")
    for each in node.differences or ():
        found = "is not there" if each.found is None else f"is {each.found}"
        yield _field("differs", f"{each.what} {found}, not {each.expected}", "yellow")


def _cells(node: ListedNode) -> list[str | Text]:
    view = node.view
    return [
        node.host.name,
        node.host.region,
        Text(phrases.plain(_standing(node)), style="green" if node.takes_jobs else "red"),
        "?" if node.jobs is None else str(sum(job.allocations for job in node.jobs)),
        _gpus(node),
        view.version if view else "-",
    ]


def _wide_cells(node: ListedNode) -> list[str | Text]:
    view, use = node.view, node.use
    place = (
        (view.datacenter, view.node_pool, ",".join(view.drivers_healthy) or "-")
        if view
        else (node.host.datacenter, node.host.node_pool, "-")
    )
    if use is None:
        return [(node.node_id or "-")[:8], *place, "-", "-", "-", "-"]
    busy = [card.utilization_percent for card in use.gpus if card.utilization_percent is not None]
    return [
        (node.node_id or "-")[:8],
        *place,
        f"{use.cpu_percent:.0f} %",
        f"{_percent(use.memory_used_mib, use.memory_mib)} %",
        f"{_percent(use.disk_used_mib, use.disk_mib)} %",
        f"{sum(busy) // len(busy)} %" if busy else "-",
    ]


def _standing(node: ListedNode) -> str:
    held = [_STANDING[hold.holder] for hold in node.holds]
    return ", ".join([node.status, *held])


def _gpus(node: ListedNode) -> Text:
    count, healthy = sum(one.count for one in node.gpus), sum(one.healthy for one in node.gpus)
    return Text(f"{healthy}/{count}" if node.view else "-", style="" if healthy == count else "red")


def _why(node: ListedNode) -> str:
    if node.problem:
        return node.problem.message
    said = [": ".join(part for part in (hold.who, hold.reason) if part) for hold in node.holds]
    if node.use_problem and node.status == READY:
        said.append(node.use_problem)
    return "; ".join(part for part in said if part)


def _hold(hold: Hold) -> str:
    who = f" by {hold.who}" if hold.who else ""
    since = f" since {hold.since}" if hold.since else ""
    return f"{_WORDS[hold.holder]}{who}{since}{f': {hold.reason}' if hold.reason else ''}"


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole) if whole else 0


def _size(mib: int) -> str:
    return phrases.size(mib * _MIB)


def _total(report: NodeReport) -> Text:
    nodes = report.nodes
    ready, open_ = sum(node.status == READY for node in nodes), sum(node.takes_jobs for node in nodes)
    line = Text.assemble((f"{counted(len(nodes), 'node')}: ", "bold"), (f"{ready:,} ready", "green"))
    line.append(f", {open_:,} take jobs")
    for holder in Holder:
        if count := report.held_by(holder):
            line.append(f", {count:,} {_STANDING[holder]}", style="yellow")
    if differing := sum(bool(node.differences) for node in nodes):
        line.append(f", {differing:,} differ from the inventory", style="yellow")
    return line
