"""How much a finding counts: by the site's rules, and less where a preparation will remove its cause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.checks.codes import CODES
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from ionetctl.core.model.host import CheckRule, Host, Prepare
    from ionetctl.core.model.outcome import Finding

MENDED: Final = "; prepare will mend it"


def apply_rules(finding: Finding, host: Host, *, is_prepared: bool = False) -> Finding:
    """The finding with the severity that the site's rule gives it, or ``info`` where prepare will remove its cause.

    ``is_prepared``: the preparations have been carried out, so that what is still found counts in full.
    """
    rule = host.checks.get(finding.code)
    by_rule = finding if rule is None else _by_rule(finding, rule)
    return by_rule if is_prepared else _before_preparation(by_rule, host.prepare)


def is_mended(code: str, prepare: Prepare) -> bool:
    """Whether a preparation that the inventory asks for removes the cause of findings of this code."""
    field = CODES[code].mended_by
    return field is not None and bool(getattr(prepare, field))


def _by_rule(finding: Finding, rule: CheckRule) -> Finding:
    return replace(finding, severity=rule.severity, declared=finding.severity, reason=rule.reason)


def _before_preparation(finding: Finding, prepare: Prepare) -> Finding:
    counts = finding.severity in {Severity.WARN, Severity.BLOCK}
    if not (counts and is_mended(finding.code, prepare)):
        return finding
    declared = finding.declared or finding.severity
    return replace(finding, severity=Severity.INFO, declared=declared, message=finding.message + MENDED)
