"""The output of ``status`` and ``verify``: racks with their GPU totals, then the nodes. Pure: report in, tables out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ionetctl.core.plural import counted
from ionetctl.summary.fleet import READY, by_rack
from ionetctl.ui import phrases
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ionetctl.summary.fleet import NodeStatus, StatusReport, VerifyReport


def status_view(report: StatusReport) -> Iterator[Text]:
    """What ``status`` shows."""
    if not report.nodes:
        yield Text("no node is enrolled yet; begin with: ionetctl enroll INVENTORY")
        return
    yield from _racks(report)
    yield Text("")
    yield from _nodes(report)
    yield Text("")
    yield _total(report)
    if report.error:
        yield Text(phrases.plain(report.error.message), style="red")


def verify_view(report: VerifyReport) -> Iterator[Text]:
    """What ``verify`` shows: the hosts that are not as they should be, and how many are."""
    wrong = [verdict for verdict in report.verdicts if verdict.code is not None]
    if wrong:
        rows = [[each.host, each.region, each.code or "", each.message, each.hint] for each in wrong]
        yield from table(["host", "region", "problem", "why", "do"], rows)
    confirmed = len(report.verdicts) - len(wrong)
    yield Text(f"{confirmed:,} of {phrases.hosts(len(report.verdicts))} confirmed by their regions")
    weak = sum(verdict.is_by_name and verdict.code is None for verdict in report.verdicts)
    if weak:
        yield Text(
            f"{phrases.hosts(weak)} found by name, pool and datacenter alone: the catalog does not know them"
        )


def _racks(report: StatusReport) -> Iterator[Text]:
    rows: list[list[str | Text]] = [
        [
            rack.datacenter,
            rack.rack or "-",
            f"{rack.nodes:,}",
            Text(f"{rack.ready:,}", style="green" if rack.ready == rack.nodes else "yellow"),
            f"{rack.gpus_seen:,}/{rack.gpus_expected:,}",
            _models(rack.gpus),
        ]
        for rack in by_rack(report.nodes)
    ]
    columns = ["datacenter", "rack", "nodes", "ready", "gpus", "models"]
    return table(columns, rows, frozenset({"nodes", "ready", "gpus"}))


def _nodes(report: StatusReport) -> Iterator[Text]:
    rows: list[list[str | Text]] = [
        [
            node.name,
            (node.node_id or "-")[:8],
            node.region,
            node.rack or "-",
            node.node_pool,
            Text(phrases.plain(node.status), style="green" if node.status == READY else "red"),
            node.eligibility or "-",
            _gpus(node),
            node.last_seen_at or "-",
        ]
        for node in report.nodes
    ]
    return table(["node", "id", "region", "rack", "pool", "status", "eligibility", "gpus", "last seen"], rows)


def _gpus(node: NodeStatus) -> Text:
    seen = "?" if node.gpus_seen is None else str(node.gpus_seen)
    expected = "?" if node.gpus_expected is None else str(node.gpus_expected)
    is_short = None not in {node.gpus_seen, node.gpus_expected} and node.gpus_seen != node.gpus_expected
    return Text(f"{seen}/{expected}", style="red" if is_short else "")


def _models(gpus: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in gpus.items()) or "-"


def _total(report: StatusReport) -> Text:
    down = len(report.nodes) - report.ready - report.unknown
    line = Text.assemble(
        (f"{counted(len(report.nodes), 'node')}: ", "bold"), (f"{report.ready:,} ready", "green")
    )
    if down:
        line.append(f", {down:,} not ready", style="red")
    if report.unknown:
        line.append(f", {report.unknown:,} unknown", style="yellow")
    return line.append(f"; GPUs: {phrases.plain(_models(report.gpus))}")
