"""The output of ``status`` and ``verify``: racks with their GPU totals, then the nodes. Pure: report in, tables out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.core.model.outcome import Outcome, Problem, Result
from ionetctl.core.plural import counted
from ionetctl.summary.fleet import READY, by_rack, group_alike
from ionetctl.summary.grouping import group_problems
from ionetctl.ui import phrases
from ionetctl.ui.summary import NAMES_MIN, cause_lines
from ionetctl.ui.tables import GAP, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ionetctl.summary.fleet import NodeStatus, StatusReport, Verdict, VerifyReport

NOTHING: Final = "no node is enrolled yet; begin with: ionetctl enroll INVENTORY"


def status_view(report: StatusReport, now: datetime, width: int) -> Iterator[Text]:
    """What ``status`` shows: racks, then nodes that show the same together, in at most ``width`` columns where possible."""
    if not report.nodes:
        yield Text(NOTHING)
        return
    yield from _racks(report)
    yield Text("")
    yield from _groups(report, now, width)
    yield from _end(report)


def wide_view(report: StatusReport) -> Iterator[Text]:
    """What ``status -o wide`` shows: racks, then every node with all that is known of it."""
    if not report.nodes:
        yield Text(NOTHING)
        return
    yield from _racks(report)
    yield Text("")
    yield from _nodes(report)
    yield from _end(report)


def _end(report: StatusReport) -> Iterator[Text]:
    yield Text("")
    yield _total(report)
    if report.error:
        yield Text(phrases.plain(report.error.message), style="red")


def watch_view(report: StatusReport, now: datetime, width: int, height: int) -> Iterator[Text]:
    """What ``status --watch`` shows on a screen: the sums, which always stay, then as much as there is room for."""
    gpus = f"; {counted(sum(report.gpus.values()), 'GPU')}"
    counts = _node_counts(report).append(gpus) if report.nodes else NOTHING
    yield Text.assemble((f"{now.astimezone():%H:%M:%S}  ", "dim"), counts)
    lines = [
        *(
            Text(
                f"region {name} does not answer, its nodes stand as last seen: {phrases.plain(why)}", "yellow"
            )
            for name, why in report.silent.items()
        ),
        Text(""),
        *_groups(report, now, width),
        Text(""),
        *_racks(report),
    ]
    room = height - 1
    is_cut = len(lines) > room
    yield from lines[: room - is_cut]
    if is_cut:
        yield Text(
            f"and {counted(len(lines) - room + 1, 'more line')}; --not-ready and --limit show fewer nodes",
            "dim",
        )


def verify_view(report: VerifyReport) -> Iterator[Text]:
    """What ``verify`` shows: why hosts are not as they should be, as ``enroll`` does, and how many are."""
    wrong = [_outcome(verdict, verdict.code) for verdict in report.verdicts if verdict.code is not None]
    yield from cause_lines(group_problems(wrong))
    confirmed = len(report.verdicts) - len(wrong)
    yield Text(f"{confirmed:,} of {phrases.hosts(len(report.verdicts))} confirmed by their regions")
    weak = sum(verdict.is_by_name and verdict.code is None for verdict in report.verdicts)
    if weak:
        yield Text(
            f"{phrases.hosts(weak)} found by name, pool and datacenter alone: the catalog does not know them"
        )


def _outcome(verdict: Verdict, code: str) -> Outcome:
    problem = Problem(
        code, f"region {verdict.region}", verdict.message, verdict.hint, int(ExitCode.UNVERIFIED)
    )
    return Outcome(verdict.host, "", verdict.region, "", Result.UNVERIFIED, problem=problem)


def _groups(report: StatusReport, now: datetime, width: int) -> Iterator[Text]:
    groups = group_alike(report.nodes)
    columns = ["count", "region", "status", "gpus", "last seen"]
    rows: list[list[str | Text]] = [
        [
            f"{len(group.names):,}",
            group.first.region,
            _standing(group.first),
            _gpus(group.first),
            _age(group.last_seen_at, now),
        ]
        for group in groups
    ]
    room = width - max(line.cell_len for line in table(columns, rows)) - GAP
    names = [phrases.folded(group.names, min(phrases.MAX_FOLDED, max(NAMES_MIN, room))) for group in groups]
    with_names = [[name, *row] for name, row in zip(names, rows, strict=True)]
    return table(["node", *columns], with_names, frozenset({"count"}))


def _standing(node: NodeStatus) -> Text:
    refusal = "" if node.eligibility in {ELIGIBLE, None} else f", {node.eligibility}"
    return Text(phrases.plain(node.status + refusal), style="green" if node.takes_jobs else "red")


def _age(seen_at: str | None, now: datetime) -> str:
    return f"{phrases.age((now - datetime.fromisoformat(seen_at)).total_seconds())} ago" if seen_at else "-"


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
    return Text(f"{seen}/{expected}", style="" if node.has_its_gpus else "red")


def _models(gpus: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in gpus.items()) or "-"


def _total(report: StatusReport) -> Text:
    return _node_counts(report).append(f"; GPUs: {phrases.plain(_models(report.gpus))}")


def _node_counts(report: StatusReport) -> Text:
    down = len(report.nodes) - report.ready - report.unknown
    line = Text.assemble(
        (f"{counted(len(report.nodes), 'node')}: ", "bold"), (f"{report.ready:,} ready", "green")
    )
    if down:
        line.append(f", {down:,} not ready", style="red")
    if report.unknown:
        line.append(f", {report.unknown:,} unknown", style="yellow")
    if held := sum(node.status == READY and not node.takes_jobs for node in report.nodes):
        line.append(f", {held:,} not eligible", style="red")
    return line
