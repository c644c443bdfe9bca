"""A rollout as JUnit XML, for CI systems: one suite for each datacenter, one case for each host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ionetctl.core.model.outcome import ENROLL, UPDATE, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.model.outcome import Outcome
    from ionetctl.summary.rollout_summary import Failure, Summary

_ILLEGAL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, even escaped."""
_BROKEN: Final = frozenset({Result.UNREACHABLE, Result.UNVERIFIED})
"""Shown as errors, not failures: the host itself may be right."""


def render(summary: Summary) -> bytes:
    """The document. A command that failed as a whole is a case of its own, so that CI shows a failure."""
    root = ET.Element("testsuites", name=f"ionetctl {_command(summary)}")
    for datacenter in dict.fromkeys(outcome.datacenter for outcome in summary.outcomes):
        members = [outcome for outcome in summary.outcomes if outcome.datacenter == datacenter]
        _add_suite(root, datacenter, summary, members)
    failure = summary.error or summary.stopped
    if failure is not None:
        _add_failure(root, failure)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _command(summary: Summary) -> str:
    return summary.action if summary.action in {ENROLL, UPDATE} else f"nodes {summary.action}"


def _add_suite(root: ET.Element, name: str, summary: Summary, outcomes: Iterable[Outcome]) -> None:
    suite = _element(root, "testsuite", name=name)
    cases = [_add_case(suite, outcome) for outcome in outcomes]
    suite.set("tests", str(len(cases)))
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
    if summary.started_at is not None:
        suite.set("timestamp", summary.started_at.removesuffix("Z"))


def _add_case(suite: ET.Element, outcome: Outcome) -> ET.Element:
    where = f"{outcome.region}.{outcome.datacenter}"
    case = _element(suite, "testcase", classname=where, name=outcome.host, time=f"{outcome.duration_s:.3f}")
    problem = outcome.problem
    if outcome.result is Result.SKIPPED:
        _element(case, "skipped", message=problem.message if problem else "not enrolled in this rollout")
    elif problem is not None:
        tag = "error" if outcome.result in _BROKEN else "failure"
        found = _element(case, tag, type=problem.code, message=problem.message)
        found.text = _legal(f"step: {problem.step}\n{problem.message}\n{problem.hint}".rstrip())
    return case


def _add_failure(root: ET.Element, failure: Failure) -> None:
    suite = _element(root, "testsuite", name="rollout", tests="1", failures="0", errors="1", skipped="0")
    case = _element(suite, "testcase", classname="ionetctl", name="rollout", time="0.000")
    found = _element(case, "error", type=failure.code, message=failure.message)
    found.text = _legal(f"{failure.message}\n{failure.hint}".rstrip())


def _element(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {name: _legal(value) for name, value in attributes.items()})


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
