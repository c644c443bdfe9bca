"""How an error, a finding or the region's word becomes an outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import (
    ConfigurationError,
    ExitCode,
    HostError,
    HostFailedError,
    HostLockedError,
    HostTrustError,
    HostUnreachableError,
    HostUnverifiedError,
    IonetctlError,
    RegionError,
    TrustError,
)
from ionetctl.core.model.host import GpuPromise, Reserve
from ionetctl.core.model.node import Device
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.host import outcomes
from tests.support.sample import BARE, HOST, NODE_ID, bundle, converged, view

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts


@pytest.mark.parametrize(
    ("error", "result", "step", "exit_code"),
    [
        (HostUnreachableError("connect_timeout", "m"), Result.UNREACHABLE, "apply", 4),
        (HostFailedError("disk_full", "m"), Result.FAILED, "apply", 5),
        (HostTrustError("host_key_changed", "m"), Result.FAILED, "apply", 6),
        (HostLockedError("host_locked", "m"), Result.FAILED, "apply", 7),
        (HostUnverifiedError("not_registered", "m"), Result.UNVERIFIED, "confirm", 8),
        (RegionError("region_refused", "m"), Result.UNVERIFIED, "confirm", 8),
        (TrustError("artifact_digest_mismatch", "m"), Result.FAILED, "apply", 6),
        (ConfigurationError("artifact_missing", "m"), Result.FAILED, "apply", 5),
        (ConfigurationError("issuer_refused", "m"), Result.FAILED, "apply", 5),
        (ConfigurationError("issuer_unfit", "m"), Result.FAILED, "apply", 5),
    ],
)
def test_error_becomes_an_outcome(error: IonetctlError, result: Result, step: str, exit_code: int) -> None:
    """Every error earns its host a result, a place and an exit code that counts among hosts' endings."""
    outcome = outcomes.failed(HOST, "apply", error)
    assert outcome == Outcome(
        HOST.name,
        HOST.address,
        HOST.region,
        HOST.datacenter,
        result,
        problem=Problem(error.code, step, "m", "", exit_code),
    )


def test_failure_keeps_what_the_survey_saw() -> None:
    """Node id and GPUs are told even of a host that failed."""
    facts = converged(bundle())
    outcome = outcomes.failed(HOST, "apply", HostFailedError("disk_full", "m"), facts)
    assert (outcome.node_id, outcome.gpus_seen, outcome.gpus_probed) == (NODE_ID, None, 2)


@pytest.mark.parametrize(
    ("exit_code", "kind"),
    [
        (ExitCode.FAILED, HostFailedError),
        (ExitCode.TRUST, HostTrustError),
        (ExitCode.LOCKED, HostLockedError),
    ],
)
def test_finding_becomes_the_error_it_earns(exit_code: ExitCode, kind: type[HostError]) -> None:
    """A blocking finding is an error of its own exit code, with the same words."""
    error = outcomes.finding_error(Finding("c", Severity.BLOCK, "message", "hint", int(exit_code)))
    assert (type(error), error.code, error.message, error.hint) == (kind, "c", "message", "hint")


REGIONS_FAILURES = pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (RegionError("region_silent", "m", "h"), 8),
        (TrustError("region_untrusted", "m", "h"), 6),
        (ConfigurationError("vault_unavailable", "m", "h"), 8),
        (ConfigurationError("issuer_forbidden", "m", "h"), 8),
    ],
)
LEFT = pytest.mark.parametrize(
    ("facts", "result"), [(BARE, Result.SKIPPED), (converged(bundle()), Result.UNVERIFIED)]
)


@REGIONS_FAILURES
@LEFT
def test_region_that_cannot_be_worked_with_is_no_failure_of_the_host(
    error: IonetctlError, exit_code: int, facts: Facts, result: Result
) -> None:
    """The region is named, and what is installed already is unverified."""
    outcome = outcomes.failed(HOST, "apply", error, facts)
    problem = Problem(error.code, "region", "region eu-north: m", "h", exit_code)
    assert (outcome.result, outcome.problem, outcome.is_regions_fault) == (result, problem, True)


@REGIONS_FAILURES
@LEFT
def test_host_that_is_left_for_its_region_says_that_nothing_was_changed(
    error: IonetctlError, exit_code: int, facts: Facts, result: Result
) -> None:
    """The region's problem keeps its exit code, and the host its result."""
    problem = Problem(error.code, "region", "region eu-north: m", "h", exit_code)
    left = outcomes.left_for_region(HOST, problem, is_installed=facts.nomad.is_ours)
    assert left.problem is not None
    assert (left.result, left.problem.message, left.problem.exit_code) == (
        result,
        "region eu-north: m; nothing was changed on the host",
        exit_code,
    )


def test_confirmed_host_shows_what_the_region_sees() -> None:
    """Node id and GPUs are the region's, not the survey's."""
    devices = (Device("nvidia", "gpu", "RTX 4090", ("GPU-1",), 1),)
    outcome = outcomes.confirmed(HOST, Result.ENROLLED, view(devices=devices), BARE, "stamp-1")
    assert (outcome.result, outcome.node_id, outcome.gpus_seen, outcome.stamp, outcome.problem) == (
        Result.ENROLLED,
        NODE_ID,
        1,
        "stamp-1",
        None,
    )


def test_gpus_seen_are_the_regions_alone() -> None:
    """The probe's number has a field of its own; both are told apart where the region was not asked for devices."""
    asked = outcomes.confirmed(HOST, Result.ENROLLED, view(devices=()), BARE, "s")
    not_asked = outcomes.confirmed(HOST, Result.ENROLLED, view(devices=None), BARE, "s")
    assert [(one.gpus_seen, one.gpus_probed, one.gpus_counted) for one in (asked, not_asked)] == [
        (0, 2, 0),
        (None, 2, 2),
    ]


def test_unknown_gpus_stay_unknown() -> None:
    """Nobody's word is no number."""
    facts = replace(BARE, gpus=None)
    assert outcomes.confirmed(HOST, Result.ENROLLED, view(devices=None), facts, "s").gpus_seen is None


def test_skipped_host_earns_nothing() -> None:
    """A host that nobody came to is no failure."""
    outcome = outcomes.skipped(HOST, "not_begun", "m", "h")
    assert (outcome.result, outcome.problem) == (
        Result.SKIPPED,
        Problem("not_begun", "rollout", "m", "h", 0),
    )


@pytest.mark.parametrize(
    ("count", "reserved", "expected"),
    [(None, (), None), (2, (), 2), (2, ("1",), 1), (2, ("GPU-1",), 1), (0, (), 0), (1, ("0", "1"), 0)],
)
def test_expected_gpus_are_those_promised_less_those_held_back(
    count: int | None, reserved: tuple[str, ...], expected: int | None
) -> None:
    """What is held back is not expected in the region; with or without a survey."""
    host = replace(HOST, gpus=GpuPromise(None, count), reserve=Reserve(gpus=reserved))
    assert (outcomes.gpus_expected(host, BARE), outcomes.gpus_expected(host)) == (expected, expected)
