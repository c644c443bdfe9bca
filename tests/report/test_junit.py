"""The JUnit report."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from ionetctl.core.errors import ExitCode
from ionetctl.report.junit import render
from ionetctl.summary.rollout_summary import Failure, Summary
from ionetctl.summary.summary_fold import summarize
from tests.support import streams
from tests.support.streams import GPU_MISSING, TIMEOUT, UNCONFIRMED, Rollout


def suites(summary: Summary) -> list[ET.Element]:
    return list(ET.fromstring(render(summary)))  # noqa: S314  (our own document)


MIXED = summarize(
    Rollout(8, {1: GPU_MISSING, 2: TIMEOUT, 3: UNCONFIRMED}, unchanged=frozenset({4}), exit_code=5).play()
)


def test_suite_counts_its_cases() -> None:
    """A datacenter is a suite: failed hosts are failures, unreachable and unverified ones errors."""
    attributes = suites(MIXED)[0].attrib
    assert attributes == {
        "name": "rey1",
        "tests": "8",
        "failures": "1",
        "errors": "2",
        "skipped": "0",
        "time": "34.000",
        "timestamp": "2026-03-01T12:00:00.050000",
    }


def test_failed_host_is_a_failure_with_its_reason() -> None:
    """The case names the code and says message and hint."""
    case = suites(MIXED)[0][1]
    assert (case.get("name"), case.get("classname"), case[0].tag, case[0].attrib, case[0].text) == (
        "rey1-a01-g02",
        "eu-north.rey1",
        "failure",
        {"type": "gpu_count_mismatch", "message": "7 GPUs seen, 8 promised"},
        "step: survey\n7 GPUs seen, 8 promised\nreseat the card or correct the inventory",
    )


def test_hosts_nobody_came_to_are_skipped() -> None:
    """A host without an outcome is neither green nor red."""
    suite = suites(summarize(Rollout(2).play()[:1]))[0]
    assert [case[0].tag for case in suite] == ["skipped", "skipped"]


def test_early_error_is_never_green() -> None:
    """A command that failed as a whole is a broken case of its own."""
    summary = Summary(exit_code=ExitCode.CONFIGURATION, error=Failure("inventory_invalid", "no", ""))
    suite = suites(summary)[0]
    assert (suite.get("errors"), suite[0][0].attrib) == ("1", {"type": "inventory_invalid", "message": "no"})


def test_hosts_words_are_legal_xml() -> None:
    """Control characters that XML cannot carry, and markup, come through as text."""
    words = "\x1b[31m<b>&\x00]]> \ud800 ok"
    suite = suites(summarize(Rollout(1, {0: replace(GPU_MISSING, message=words)}).play()))[0]
    assert suite[0][0].get("message") == "\ufffd[31m<b>&\ufffd]]> \ufffd ok"


def test_suite_of_unknown_time_bears_none() -> None:
    """Without a first event there is no timestamp to show."""
    summary = Summary(exit_code=ExitCode.OK, outcomes=(streams.outcome(streams.entry(0)),))
    assert "timestamp" not in suites(summary)[0].attrib
    assert "timestamp" in suites(MIXED)[0].attrib
