"""The document of ``preflight -o json``: every finding, over the fleet and host by host. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.model.outcome import SURVEYED, Result, Severity
from ionetctl.report.json import accepted_keys, failure, host

if TYPE_CHECKING:
    from ionetctl.core.model.outcome import Finding, Outcome
    from ionetctl.summary.grouping import FindingGroup
    from ionetctl.summary.rollout_summary import Summary, SurveySummary

SCHEMA: Final = "ionetctl.preflight/1"


def preflight_document(summary: Summary) -> dict[str, Any]:
    """The document as plain data; ``hosts`` is empty where the command failed before it knew any."""
    fitness = Counter(_fitness(outcome) for outcome in summary.outcomes)
    severities = Counter(
        finding.severity for survey in summary.surveys.values() for finding in survey.findings
    )
    return {
        "schema": SCHEMA,
        "rollout": summary.rollout,
        "exit_code": int(summary.exit_code),
        "summary": {
            "hosts": len(summary.outcomes),
            **{name: fitness[name] for name in ("fit", "unfit", "unreachable", "unseen")},
            "findings": {severity.value: severities[severity] for severity in Severity},
        },
        "findings": [_group(group) for group in summary.findings],
        "hosts": [_host(outcome, summary.surveys[outcome.host]) for outcome in summary.outcomes],
        "error": failure(summary.error or summary.stopped),
        **accepted_keys(summary),
    }


def _fitness(outcome: Outcome) -> str:
    """``fit``, ``unfit``, ``unreachable``, or ``unseen`` for a host that was not surveyed before the preflight ended."""
    if outcome.result is not Result.SKIPPED:
        return "unreachable" if outcome.result is Result.UNREACHABLE else "unfit"
    return "fit" if outcome.problem and outcome.problem.code == SURVEYED else "unseen"


def _group(group: FindingGroup) -> dict[str, Any]:
    return {
        "code": group.code,
        "severity": group.severity.value,
        "message": group.message,
        "hint": group.hint,
        "reasons": list(group.reasons),
        "hosts": list(group.hosts),
    }


def _host(outcome: Outcome, survey: SurveySummary) -> dict[str, Any]:
    row = host(outcome)
    return {
        **{key: row[key] for key in ("name", "address", "region", "datacenter")},
        "rack": survey.rack,
        "outcome": _fitness(outcome),
        "os": survey.os or None,
        "architecture": survey.architecture or None,
        "driver": survey.driver_version,
        "gpus": {
            "expected": outcome.gpus_expected,
            "seen": survey.gpus_seen,
            "models": dict(Counter(survey.gpus)),
        },
        "findings": [_finding(finding) for finding in survey.findings],
        "error": None if _fitness(outcome) == "fit" else row["error"],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "declared": (finding.declared or finding.severity).value,
        "message": finding.message,
        "hint": finding.hint,
        "reason": finding.reason or None,
    }
