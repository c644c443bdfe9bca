"""How hosts end: from an error, a finding or the region's word to an Outcome. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import (
    WORST_FIRST,
    ExitCode,
    HostError,
    HostFailedError,
    HostLockedError,
    HostTrustError,
    HostUnverifiedError,
    IonetctlError,
    RegionError,
    TrustError,
)
from ionetctl.core.model.outcome import REGION_STEP, Outcome, Problem, Result
from ionetctl.plan.bundle import ignored_gpus, offered_gpus

if TYPE_CHECKING:
    from ionetctl.core.events import HostConfirmed
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.model.outcome import Finding

OF_AGENT: Final = frozenset({"node_disconnected", "node_failing", "node_silent"})
"""Errors of a region that has asked a node's agent in vain."""
OF_NODE: Final = OF_AGENT | {"node_draining", "node_unknown"}
"""Errors of a region that concern one node."""
OF_ONE_CALL: Final = OF_NODE | {"region_not_found", "region_refused"}
"""Errors of a region that concern one request or node: with others the region cannot be worked with at all."""
OF_ITS_ISSUER: Final = frozenset({"vault_unavailable", "issuer_forbidden"})
"""Errors of a region's issuer that every host would meet, whatever it asks for."""
REGION_UNTRUSTED: Final = "region_untrusted"
ENROLLED: Final = "the node is enrolled all the same"
_RESULTS: Final = {ExitCode.UNREACHABLE: Result.UNREACHABLE, ExitCode.UNVERIFIED: Result.UNVERIFIED}


@dataclass(frozen=True, slots=True)
class StartedNode:
    """A node whose agent was started by a plan: the id that it said, and the stamp of its configuration."""

    node_id: NodeId
    stamp: str


def gpus_expected(host: Host, facts: Facts | None = None) -> int | None:
    """How many GPUs the region must see: those promised, less those held back; instances of MIG count each."""
    if host.gpus.count is None:
        return None
    if facts is None:
        return max(0, host.gpus.count - len(host.reserve.gpus))
    cut = sum(len(seen.mig) - 1 for seen in offered_gpus(host, facts) if seen.is_mig_on)
    return max(0, host.gpus.count - len(ignored_gpus(host, facts)) + cut)


def is_regions_fault(error: IonetctlError) -> bool:
    """Whether an error means that a region cannot be worked with at all."""
    if isinstance(error, RegionError):
        return error.code not in OF_ONE_CALL
    return error.code == REGION_UNTRUSTED or error.code in OF_ITS_ISSUER


def region_problem(region: str, error: IonetctlError) -> Problem:
    """The problem of every host whose region cannot be worked with; its exit code is 6 where it is not trusted, else 8."""
    is_untrusted = isinstance(error, TrustError)
    exit_code = ExitCode.TRUST if is_untrusted else ExitCode.UNVERIFIED
    return Problem(error.code, REGION_STEP, f"region {region}: {error.message}", error.hint, int(exit_code))


def left_for_region(
    host: Host, problem: Problem, *, is_installed: bool, facts: Facts | None = None
) -> Outcome:
    """The outcome of a host that is left as it is because its region cannot be worked with.

    It is unverified where ionetctl has installed it before, else skipped.
    """
    told = replace(problem, message=f"{problem.message}; nothing was changed on the host")
    outcome = _outcome(host, Result.UNVERIFIED if is_installed else Result.SKIPPED, facts, problem=told)
    return replace(outcome, stamp=_stamp_found(facts))


def failed(
    host: Host,
    step: str,
    error: IonetctlError,
    facts: Facts | None = None,
    started: StartedNode | None = None,
) -> Outcome:
    """The outcome of an error in a step; what the region does not confirm happens in the step ``confirm``.

    Where the region itself cannot be worked with, the host is unverified if ionetctl has installed it, else skipped.
    What is wrong with the configuration is, once hosts are touched, the failure of the host that showed it. ``started`` is
    the node whose agent runs by the plan already, ``facts`` are those of before.
    """
    outcome = _failed(host, step, error, facts, is_started=started is not None)
    if started is None:
        # Whatever failed was put back as it was; of an unverified host the agent goes on with the stamp that was found.
        return replace(outcome, stamp=_stamp_found(facts)) if outcome.result is Result.UNVERIFIED else outcome
    return replace(outcome, node_id=started.node_id, stamp=started.stamp)


def _failed(host: Host, step: str, error: IonetctlError, facts: Facts | None, *, is_started: bool) -> Outcome:
    if is_regions_fault(error):
        is_installed = is_started or (facts is not None and facts.nomad.is_ours)
        result = Result.UNVERIFIED if is_installed else Result.SKIPPED
        return _outcome(host, result, facts, problem=region_problem(host.region, error))
    known = error.step if isinstance(error, HostError) else ""
    where = "confirm" if isinstance(error, HostUnverifiedError | RegionError) else known or step
    exit_code = error.exit_code if error.exit_code in WORST_FIRST else ExitCode.FAILED
    problem = Problem(error.code, where, error.message, error.hint, int(exit_code))
    return _outcome(host, _RESULTS.get(exit_code, Result.FAILED), facts, problem=problem)


def _stamp_found(facts: Facts | None) -> str:
    return (facts.nomad.stamp if facts else None) or ""


def finding_error(finding: Finding) -> HostError:
    """A blocking finding as the error that it earns."""
    kinds = {ExitCode.TRUST: HostTrustError, ExitCode.LOCKED: HostLockedError}
    kind = kinds.get(ExitCode(finding.exit_code), HostFailedError)
    return kind(finding.code, finding.message, finding.hint)


def confirmed(host: Host, result: Result, view: NodeView, facts: Facts, stamp: str) -> Outcome:
    """The outcome of a host that its region shows as it should be."""
    return replace(_outcome(host, result, facts, view=view), stamp=stamp)


def recorded(host: Host, confirmed: HostConfirmed, facts: Facts) -> Outcome:
    """The outcome of a host whose confirmation another process has recorded, with the ``facts`` of before it."""
    outcome = _outcome(host, Result.ENROLLED, facts)
    return replace(outcome, node_id=confirmed.node_id, stamp=confirmed.stamp, gpus_seen=confirmed.gpus_seen)


def of_node(host: Host, result: Result, view: NodeView) -> Outcome:
    """The outcome of a host whose node was looked at or changed through its region alone."""
    return _outcome(host, result, None, view=view)


def left_open(host: Host, enrolled: Outcome, error: IonetctlError) -> Outcome:
    """The outcome of a host that is enrolled, and was not closed as the inventory asks: it is not as it should be."""
    failure = failed(host, "close", error)
    problem = failure.problem and replace(failure.problem, message=f"{failure.problem.message}; {ENROLLED}")
    return replace(enrolled, result=failure.result, problem=problem)


def skipped(host: Host, code: str, message: str, hint: str) -> Outcome:
    """The outcome of a host that the rollout did not come to."""
    problem = Problem(code, "rollout", message, hint, int(ExitCode.OK))
    return _outcome(host, Result.SKIPPED, None, problem=problem)


def _outcome(
    host: Host,
    result: Result,
    facts: Facts | None,
    *,
    view: NodeView | None = None,
    problem: Problem | None = None,
) -> Outcome:
    return Outcome(
        host.name,
        host.address,
        host.region,
        host.datacenter,
        result,
        node_id=view.id if view else facts.nomad.node_id if facts else None,
        gpus_expected=gpus_expected(host, facts),
        gpus_seen=view.gpu_count if view else None,
        gpus_probed=len(facts.gpus) if facts and facts.gpus is not None else None,
        problem=problem,
    )
