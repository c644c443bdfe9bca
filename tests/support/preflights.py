"""A preflight of four hosts in two racks, each with something else to say; for the tests of its views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl.core import events
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.summary.summary_fold import summarize
from tests.support.streams import Stream

if TYPE_CHECKING:
    from ionetctl.summary.rollout_summary import Summary

BLOCKED = Finding("gpu_count_mismatch", Severity.BLOCK, "7 GPUs seen, 8 promised", "reseat the card")
RISER = Finding("pcie_width_low", Severity.WARN, "GPU 3 runs at x1", "look at the riser")
WAIVED = Finding(
    "swap_on", Severity.WAIVED, "8192 MiB of swap", "swapoff -a", 5, Severity.WARN, "we page to NVMe"
)
DOUBLE = Finding("mac_doubled", Severity.WARN, "it has the MAC of g1", "")
GPUS = ("nvidia.rtx.4090.24gb",) * 8
_FIT = Problem("surveyed", "rollout", "looked at", "", 0)
_MISSING = Problem("gpu_count_mismatch", "survey", "7 GPUs seen, 8 promised", "reseat the card", 5)
_GONE = Problem("connect_timeout", "survey", "no answer within 10 s", "is it on?", 4)
_ENDINGS = {
    "g1": (Result.SKIPPED, _FIT),
    "g2": (Result.FAILED, _MISSING),
    "h1": (Result.UNREACHABLE, _GONE),
    "h2": (Result.SKIPPED, Problem("not_begun", "rollout", "interrupted", "", 0)),
}


def _entry(name: str, rack: str | None) -> events.HostEntry:
    return events.HostEntry(
        HostName(name), "10.0.0.1", RegionName("eu-north"), "rey1", rack, "gpu", 8, "rtx-4090"
    )


def _surveyed(name: str, gpus: tuple[str, ...], *findings: Finding) -> events.HostSurveyed:
    return events.HostSurveyed(
        host=HostName(name),
        os="Ubuntu 24.04",
        architecture="x86_64",
        gpus_seen=len(gpus),
        machine_id=None,
        node_id=None,
        findings=findings,
        gpus=gpus,
        driver_version="550.54.15",
        rack="a01",
    )


def _finished(name: str) -> events.HostFinished:
    result, problem = _ENDINGS[name]
    outcome = Outcome(
        HostName(name), "10.0.0.1", RegionName("eu-north"), "rey1", result, gpus_expected=8, problem=problem
    )
    return events.HostFinished(host=HostName(name), outcome=outcome)


def preflight() -> Summary:
    """Fit with a warning of its own and one of the fleet, blocked, unreachable, not begun."""
    say = Stream().say
    started = events.RolloutStarted(
        rollout="r-1",  # type: ignore[arg-type]  # any text does
        inventory="site.yaml",
        inventory_digest="ab" * 32,
        owner="ops@ctl",
        version="0",
        hosts=(_entry("g1", "a01"), _entry("g2", "a01"), _entry("h1", "b07"), _entry("h2", None)),
        regions=(),
        is_check=True,
    )
    happened: list[events.AnyEvent] = [
        started,
        _surveyed("g1", GPUS, RISER, WAIVED),
        _surveyed("g2", GPUS[:7], BLOCKED),
        events.HostJudged(host=HostName("g1"), findings=(DOUBLE,)),
        *(_finished(name) for name in _ENDINGS),
        events.RolloutFinished(exit_code=int(ExitCode.FAILED)),
    ]
    return summarize(say(event) for event in happened)
