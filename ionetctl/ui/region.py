"""The output of ``region check``: a few lines for each region, then its findings. Pure: inspections in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ionetctl.core.model.outcome import Severity
from ionetctl.core.plural import counted
from ionetctl.placement import fences, heartbeats
from ionetctl.placement.readiness import Inspection, region_findings
from ionetctl.ui import phrases
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ionetctl.core.model.node import SeenNamespaces
    from ionetctl.core.model.outcome import Finding
    from ionetctl.placement.readiness import UnansweredRegion

STYLES = {Severity.BLOCK: "bold red", Severity.WARN: "yellow", Severity.INFO: "dim"}
NAME_WIDTH = 13


def regions_view(found: Sequence[Inspection | UnansweredRegion]) -> Iterator[Text]:
    """What ``region check`` shows."""
    for index, region in enumerate(found):
        if index:
            yield Text("")
        if isinstance(region, Inspection):
            yield from _region(region)
        else:
            yield Text.assemble(
                (region.name, "bold"), ": ", (region.code, "bold red"), f" {phrases.plain(region.message)}"
            )
            yield from _hint(region.hint)


def _region(region: Inspection) -> Iterator[Text]:
    findings = region_findings(region)
    is_fit = all(finding.severity is not Severity.BLOCK for finding in findings)
    verdict = ("can take its hosts", "green") if is_fit else ("cannot take its hosts", "bold red")
    yield Text.assemble((region.settings.name, "bold"), ": ", verdict)
    for line in table(["server", "address", "version", "status", "leader"], _servers(region)):
        yield Text("  ").append_text(line)
    for name, text in _facts(region).items():
        yield Text.assemble("  ", (f"{name:{NAME_WIDTH}}", "dim"), phrases.plain(text))
    for finding in findings:
        yield from _finding(finding)


def _servers(region: Inspection) -> list[list[str]]:
    return [
        [server.name, server.address, server.version, server.status, "yes" if server.is_leader else "-"]
        for server in region.status.servers
    ]


def _facts(region: Inspection) -> dict[str, str]:
    status, hosts = region.status, region.hosts
    statuses = ", ".join(f"{count:,} {name}" for name, count in sorted(region.nodes.items())) or "none"
    undecided = f", {hosts.undecided:,} of region: auto may come" if hosts.undecided else ""
    limit = "unknown" if status.connections_per_client is None else f"{status.connections_per_client:,}"
    return {
        "introduction": status.enforcement or "unknown",
        "node pools": ", ".join(sorted(hosts.pools)) or "none needed",
        "nodes": f"{statuses}; {region.known:,} of {region.settings.capacity:,}, room for {max(0, region.left):,}",
        "hosts": f"{phrases.hosts(hosts.named)} of the inventory, {hosts.joining:,} yet to join{undecided}",
        "connections": f"{limit} from one address; most hosts that seem to share one: {hosts.sharing_address:,}",
        "heartbeats": _heartbeats(region),
        "certificates": ", ".join(f"{c.what} until {c.ends_at:%Y-%m-%d}" for c in region.certificates),
        **({"maintenance": _door(region.namespaces)} if region.namespaces else {}),
    }


def _door(seen: SeenNamespaces) -> str:
    tenants = fences.tenants_of(seen)
    may = "a door can open" if fences.may_open(seen) else "no door can open"
    fenced = sum(one.is_fenced for one in tenants)
    hidden = "" if seen.are_all else ", and there may be more that our token does not see"
    return f"{may}: {fenced:,} of {counted(len(tenants), 'other namespace')} allow docker alone{hidden}"


def _heartbeats(region: Inspection) -> str:
    now = region.status.heartbeats
    if now is None:
        return "unknown"
    full = heartbeats.advise(now, region.settings.capacity)
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
