"""The JSON of ``region check``: the schema ``ionetctl.region-check/1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.errors import ExitCode, worst
from ionetctl.core.model.outcome import Severity
from ionetctl.placement import fences, heartbeats
from ionetctl.placement.readiness import Inspection, region_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.node import SeenNamespaces
    from ionetctl.placement.readiness import UnansweredRegion
    from ionetctl.summary.rollout_summary import Failure

SCHEMA: Final = "ionetctl.region-check/1"


def exit_code_of(found: Sequence[Inspection | UnansweredRegion]) -> ExitCode:
    """0 where every region answered and can take its hosts, 6 where one cannot be trusted, else 8."""
    codes = {one.exit_code for one in found if not isinstance(one, Inspection)}
    if any(
        finding.severity is Severity.BLOCK
        for one in found
        if isinstance(one, Inspection)
        for finding in region_findings(one)
    ):
        codes.add(ExitCode.UNVERIFIED)
    return worst(codes)


def document(
    found: Sequence[Inspection | UnansweredRegion],
    exit_code: ExitCode | None = None,
    failure: Failure | None = None,
) -> dict[str, Any]:
    """All regions; ``failure`` is why the check could not be made at all."""
    error = (
        None if failure is None else {"code": failure.code, "message": failure.message, "hint": failure.hint}
    )
    return {
        "schema": SCHEMA,
        "exit_code": int(exit_code_of(found) if exit_code is None else exit_code),
        "regions": [region_row(one) for one in found],
        "error": error,
    }


def region_row(one: Inspection | UnansweredRegion) -> dict[str, Any]:
    """One region; what is unknown is ``null``."""
    if not isinstance(one, Inspection):
        error = {"code": one.code, "message": one.message, "hint": one.hint}
        return {"region": one.name, "is_fit": False, "error": error}
    findings = region_findings(one)
    status, hosts = one.status, one.hosts
    return {
        "region": status.name,
        "is_fit": all(finding.severity is not Severity.BLOCK for finding in findings),
        "server_version": status.server_version,
        "enforcement": status.enforcement,
        "servers": [
            {
                "name": s.name,
                "address": s.address,
                "version": s.version,
                "status": s.status,
                "is_leader": s.is_leader,
            }
            for s in status.servers
        ],
        "pools": {
            "known": sorted(status.pools),
            "needed": sorted(hosts.pools),
            "missing": sorted(hosts.pools - status.pools),
        },
        "nodes": dict(sorted(one.nodes.items())),
        "capacity": {"limit": one.settings.capacity, "taken": one.known, "left": one.left},
        "hosts": {"named": hosts.named, "joining": hosts.joining, "undecided": hosts.undecided},
        "connections": {
            "per_client": status.connections_per_client,
            "behind_one": hosts.sharing_address,
            "datacenter": hosts.datacenter or None,
        },
        "heartbeats": _heartbeats(one),
        "certificates": [
            {"what": c.what, "expires_at": c.ends_at.isoformat(), "days_left": c.days_left(one.at)}
            for c in one.certificates
        ],
        "maintenance": _door(one.namespaces) if one.namespaces else None,
        "findings": [
            {"code": f.code, "severity": f.severity.value, "message": f.message, "hint": f.hint}
            for f in findings
        ],
        "error": None,
    }


def _door(seen: SeenNamespaces) -> dict[str, Any]:
    return {
        "can_open": fences.may_open(seen),
        "sees_all_namespaces": seen.are_all,
        "carries_words": fences.carries_words(seen),
        "namespaces": [{"name": one.name, "is_fenced": one.is_fenced} for one in fences.tenants_of(seen)],
    }


def _heartbeats(one: Inspection) -> dict[str, Any] | None:
    """The settings, and what follows from them for the expected nodes and for a full region."""
    now = one.status.heartbeats
    if now is None:
        return None
    return {
        "min_ttl_s": now.min_ttl_s,
        "max_per_second": now.max_per_second,
        "failover_ttl_s": now.failover_ttl_s,
        "grace_s": now.grace_s,
        "expected": _advice(heartbeats.advise(now, one.expected)),
        "when_full": _advice(heartbeats.advise(now, one.settings.capacity)),
    }


def _advice(advice: heartbeats.Advice) -> dict[str, Any]:
    return {
        "nodes": advice.nodes,
        "ttl_s": advice.ttl_s,
        "down_after_s": advice.down_after_s,
        "failover_ttl_needed_s": advice.failover_ttl_s,
        "is_short": advice.is_short,
    }
