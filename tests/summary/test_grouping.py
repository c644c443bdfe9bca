"""Why hosts did not make it: grouping by code, step and message shape."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.summary.grouping import Cause, Causes, FindingGroup, group_findings, group_problems, shape
from tests.support import streams

SEVEN = Problem("gpu_count_mismatch", "survey", "7 GPUs seen, 8 promised", "reseat the card", 5)
SIX = replace(SEVEN, message="6 GPUs seen, 8 promised")


def failed(index: int, problem: Problem | None) -> Outcome:
    return streams.outcome(streams.entry(index), Result.FAILED, problem)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("7 GPUs seen, 8 promised", "… GPUs seen, … promised"),
        ("10.20.1.14:22 did not answer within 10 s", "… did not answer within … s"),
        ("no space left on '/opt/nomad'", "no space left on …"),
        ('unknown key "prot"', "unknown key …"),
        ("digest 9f86d081884c7d65 does not match", "digest … does not match"),
        ("deadbeefs and facade are words", "deadbeefs and facade are words"),
        ("rey1-a01-g1 refused", "… refused"),
        ("the same machine-id (m) on g1 and g2", "the same machine-id (m) on …"),
        ("the same host name (rig) on g1, rey1-a01-g1 and g3", "the same host name (rig) on …"),
        ("the same GPU (GPU-9) on g1, g2, g3, g4, g5, g6 and 1,994 more", "the same GPU (GPU-…) on …"),
        ("Xid 95 at 0000:01:00 (2x), Xid 31 at 0000:02:00 (1x)", "Xid … at … (…x), Xid … at … (…x)"),
        ("", ""),
    ],
)
def test_shape_blanks_what_differs_from_host_to_host(message: str, expected: str) -> None:
    """Numbers, addresses, quoted text, digests and the host's own names are left out of a message's shape."""
    assert shape(message, "rey1-a01-g1", "") == expected


def test_like_problems_become_one_cause() -> None:
    """Hosts whose messages differ in numbers only share a cause, whose message has blanks there."""
    expected = (
        Cause(
            Result.FAILED,
            "gpu_count_mismatch",
            "survey",
            "… GPUs seen, … promised",
            "reseat the card",
            5,
            (streams.host_name(0), streams.host_name(2)),
        ),
    )
    assert group_problems([failed(0, SEVEN), failed(1, None), failed(2, SIX)]) == expected


def test_equal_messages_keep_their_numbers() -> None:
    """Where all hosts say the same, the cause says it word for word."""
    causes = group_problems([failed(0, SEVEN), failed(1, SEVEN)])
    assert [cause.message for cause in causes] == ["7 GPUs seen, 8 promised"]


def test_commonest_cause_comes_first() -> None:
    """Causes are ordered by their number of hosts, then by appearance."""
    other = replace(SEVEN, code="disk_full", message="no space")
    causes = group_problems([failed(0, other), failed(1, SEVEN), failed(2, SIX)])
    assert [(cause.code, len(cause.hosts)) for cause in causes] == [
        ("gpu_count_mismatch", 2),
        ("disk_full", 1),
    ]


@pytest.mark.parametrize("other", [replace(SEVEN, code="other"), replace(SEVEN, step="other")])
def test_different_codes_and_steps_stay_apart(other: Problem) -> None:
    """The same words in another step, or under another code, are another cause."""
    assert len(group_problems([failed(0, SEVEN), failed(1, other)])) == 2


def test_later_outcome_replaces_the_earlier_one() -> None:
    """A host that was tried again counts once, with how it ended last."""
    causes = Causes()
    causes.put(failed(0, SEVEN))
    causes.put(failed(1, SEVEN))
    assert [len(cause.hosts) for cause in causes.causes()] == [2]
    causes.put(failed(0, None))
    assert [cause.hosts for cause in causes.causes()] == [(HostName("rey1-a01-g02"),)]
    causes.put(failed(1, None))
    assert causes.causes() == ()


def test_unchanged_causes_are_not_built_again() -> None:
    """Asking twice gives the very same records, since a display asks four times a second."""
    causes = Causes()
    causes.put(failed(0, SEVEN))
    assert causes.causes()[0] is causes.causes()[0]


def test_one_and_many_are_one_cause() -> None:
    """A noun that is counted is the same noun; the plural is shown."""
    one = replace(SEVEN, message="1 GPU seen, 8 promised")
    for problems in ((one, SEVEN), (SEVEN, one)):
        causes = group_problems(failed(index, problem) for index, problem in enumerate(problems))
        assert [cause.message for cause in causes] == ["… GPUs seen, … promised"]


def test_clones_are_named_in_their_group() -> None:
    """Those of one image say the same, and are shown whole; of several images none is shown in part."""
    doubled = Finding("machine_id_doubled", Severity.BLOCK, "the same machine-id (m) on g1 and g2", "")
    other = replace(doubled, message="the same machine-id (n) on g3, g4 and g5")
    g1, g2, g3 = HostName("g1"), HostName("g2"), HostName("g3")
    (group,) = group_findings({g1: (doubled,), g2: (doubled,)})
    assert group.message == "the same machine-id (m) on g1 and g2"
    groups = group_findings(
        {g1: (doubled,), g2: (doubled,), g3: (replace(other, message=doubled.message.replace("g2", "g3")),)}
    )
    assert [group.message for group in groups] == ["the same machine-id (m) on …"]


NAT = Finding("nat", Severity.WARN, "120 hosts behind 1 address", "raise the limit")


def test_findings_are_grouped_by_code_and_shape() -> None:
    """Hosts with the same finding stand together, whatever its numbers; another code stands apart."""
    first, second, third = (streams.host_name(index) for index in range(3))
    other = replace(NAT, code="clock", severity=Severity.INFO)
    found = {first: (other,), second: (NAT, NAT), third: (replace(NAT, message="7 hosts behind 2 address"),)}
    assert group_findings(found) == (
        FindingGroup(Severity.WARN, "nat", "… hosts behind … address", "raise the limit", (second, third)),
        FindingGroup(Severity.INFO, "clock", NAT.message, "raise the limit", (first,)),
    )
