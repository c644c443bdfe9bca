"""The ``enroll -o json`` document, that of a change of nodes, and their error object. Pure.

Users' scripts read these keys: none may be removed or renamed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ionetctl.core.model.outcome import ENROLL

if TYPE_CHECKING:
    from ionetctl.core.model.outcome import Outcome, Problem
    from ionetctl.summary.rollout_summary import Failure, Summary

SCHEMA: Final = "ionetctl.enroll/1"
NODES_SCHEMA: Final = "ionetctl.nodes/1"


def render(summary: Summary) -> bytes:
    """The document as indented JSON with a line break at its end."""
    return encode(document(summary))


def encode(value: object) -> bytes:
    """A JSON document in UTF-8, indented, with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def document(summary: Summary) -> dict[str, Any]:
    """The document as plain data; ``hosts`` is empty where a command failed before it knew any."""
    named = {"schema": SCHEMA}
    if summary.action != ENROLL:
        named = {"schema": NODES_SCHEMA, "action": summary.action}
    return {
        **named,
        "rollout": summary.rollout,
        "exit_code": int(summary.exit_code),
        "summary": {"hosts": len(summary.outcomes)}
        | {result.value: count for result, count in summary.counts.items()},
        "hosts": [host(outcome) for outcome in summary.outcomes],
        "error": failure(summary.error or summary.stopped),
        **_traffic(summary),
        **accepted_keys(summary),
        **_closed_keys(summary),
    }


def _traffic(summary: Summary) -> dict[str, Any]:
    """The key ``distribution``, where not every host was pushed what it lacks."""
    return {} if summary.traffic is None else {"distribution": asdict(summary.traffic)}


def accepted_keys(summary: Summary) -> dict[str, Any]:
    """The key ``accepted_keys``, where ``--accept-new`` took any."""
    return {"accepted_keys": [asdict(key) for key in summary.accepted_keys]} if summary.accepted_keys else {}


def _closed_keys(summary: Summary) -> dict[str, Any]:
    """The key ``closed_keys``, where hosts were closed to the key that logged in."""
    return {"closed_keys": [asdict(key) for key in summary.closed_keys]} if summary.closed_keys else {}


def host(outcome: Outcome) -> dict[str, Any]:
    """One host's row."""
    return {
        "name": outcome.host,
        "address": outcome.address,
        "region": outcome.region,
        "datacenter": outcome.datacenter,
        "outcome": outcome.result.value,
        "node_id": outcome.node_id,
        "gpus": {"expected": outcome.gpus_expected, "seen": outcome.gpus_counted},
        "duration_s": round(outcome.duration_s, 3),
        "attempts": outcome.attempts,
        "error": _problem(outcome.problem),
    }


def _problem(problem: Problem | None) -> dict[str, str] | None:
    if problem is None:
        return None
    return {"code": problem.code, "step": problem.step, "message": problem.message, "hint": problem.hint}


def failure(ended: Failure | None) -> dict[str, str] | None:
    """The error object of a command that failed as a whole, or ``None``."""
    if ended is None:
        return None
    return {"code": ended.code, "message": ended.message, "hint": ended.hint}
