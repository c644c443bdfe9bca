"""Regions as ``region check`` shows them: a few lines each, then what speaks against it. Pure: inspections in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ionetctl.core.model.outcome import Severity
from ionetctl.placement import heartbeats
from ionetctl.placement.readiness import Inspection, judge
from ionetctl.ui import phrases
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ionetctl.core.model.outcome import Finding
    from ionetctl.placement.readiness import Silence

STYLES = {Severity.BLOCK: "bold red", Severity.WARN: "yellow", Severity.INFO: "dim"}
NAME_WIDTH = 13


def regions_view(found: Sequence[Inspection | Silence]) -> Iterator[Text]:
    """What ``region check`` shows."""
    for place, one in enumerate(found):
        if place:
            yield Text("")
        if isinstance(one, Inspection):
            yield from _region(one)
        else:
            yield Text.assemble(
                (one.name, "bold"), ": ", (one.code, "bold red"), f" {phrases.plain(one.message)}"
            )
            yield from _hint(one.hint)


def _region(one: Inspection) -> Iterator[Text]:
    findings = judge(one)
    is_fit = all(finding.severity is not Severity.BLOCK for finding in findings)
    verdict = ("can take its hosts", "green") if is_fit else ("cannot take its hosts", "bold red")
    yield Text.assemble((one.settings.name, "bold"), ": ", verdict)
    for line in table(["server", "address", "version", "status", "leader"], _servers(one)):
        yield Text("  ").append_text(line)
    for name, text in _facts(one).items():
        yield Text.assemble("  ", (f"{name:{NAME_WIDTH}}", "dim"), phrases.plain(text))
    for finding in findings:
        yield from _finding(finding)


def _servers(one: Inspection) -> list[list[str]]:
    return [
        [server.name, server.address, server.version, server.status, "yes" if server.is_leader else "-"]
        for server in one.status.servers
    ]


def _facts(one: Inspection) -> dict[str, str]:
    status, come = one.status, one.guests
    statuses = ", ".join(f"{count:,} {name}" for name, count in sorted(one.nodes.items())) or "none"
    undecided = f", {come.undecided:,} of region: auto may come" if come.undecided else ""
    limit = "unknown" if status.connections_per_client is None else f"{status.connections_per_client:,}"
    return {
        "introduction": status.enforcement or "unknown",
        "node pools": ", ".join(sorted(come.pools)) or "none needed",
        "nodes": f"{statuses}; {one.known:,} of {one.settings.capacity:,}, room for {max(0, one.left):,}",
        "hosts": f"{phrases.hosts(come.named)} of the inventory, {come.joining:,} yet to join{undecided}",
        "connections": f"{limit} from one address; most hosts that seem to share one: {come.behind_one:,}",
        "heartbeats": _heartbeats(one),
        "certificates": ", ".join(f"{c.what} until {c.ends_at:%Y-%m-%d}" for c in one.certificates),
    }


def _heartbeats(one: Inspection) -> str:
    now = one.status.heartbeats
    if now is None:
        return "unknown"
    full = heartbeats.advise(now, one.settings.capacity)
    wanted = f"needs {full.failover_ttl_s:.0f} s" if full.is_short else "is enough"
    return (
        f"when full every {full.ttl_s:.0f} to {2 * full.ttl_s:.0f} s, a dead node shows within {full.down_after_s:.0f} s; "
        f"failover_heartbeat_ttl {now.failover_ttl_s:.0f} s {wanted}"
    )


def _finding(finding: Finding) -> Iterator[Text]:
    style = STYLES[finding.severity]
    yield Text.assemble(
        "  ", (finding.severity.value, style), f" {finding.code}: {phrases.plain(finding.message)}"
    )
    yield from _hint(finding.hint)


def _hint(hint: str) -> Iterator[Text]:
    if hint:
        yield Text(f"    → {phrases.plain(hint)}", style="dim")
