"""What becomes of the allocations on a host when its plan is carried out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.host import Prepare
from ionetctl.core.model.node import RunningAllocation
from ionetctl.core.model.plan import Action, Change, Fate
from ionetctl.plan.job_fates import job_fates
from ionetctl.plan.prepare_steps import CNI, CONTAINER_TOOLKIT, DOCKER, DRIVER, PERSISTENCE
from tests.support.sample import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

RESTART = Change(Action.RESTART, "nomad.service", "its configuration changes")
RUNNING = tuple(
    RunningAllocation(name, frozenset(drivers), name, "default")
    for name, drivers in (
        ("ray", ["docker"]),
        ("door", ["exec"]),
        ("old", ["java", "docker"]),
        ("odd", []),
    )
)
KEPT, LOST, UNTRIED = Fate.SURVIVES, Fate.LOST, Fate.UNTRIED


def prepared(*names: str) -> list[Change]:
    return [Change(Action.PREPARE, name, "it lacks it") for name in names]


@pytest.mark.parametrize(
    ("changes", "lost_drivers", "expected"),
    [
        ([], (), [KEPT, KEPT, KEPT, KEPT]),
        ([RESTART], (), [KEPT, KEPT, UNTRIED, UNTRIED]),
        ([RESTART], ("exec", "java"), [KEPT, LOST, LOST, UNTRIED]),
        ([], ("exec",), [KEPT, KEPT, KEPT, KEPT]),
        (prepared(PERSISTENCE), ("exec",), [KEPT, KEPT, KEPT, KEPT]),
        (prepared(CNI), ("exec",), [KEPT, LOST, UNTRIED, UNTRIED]),
        (prepared(CONTAINER_TOOLKIT, DRIVER), (), [KEPT, KEPT, UNTRIED, UNTRIED]),
        (prepared(DOCKER), (), [LOST, KEPT, LOST, LOST]),
    ],
    ids=[
        "nothing restarts",
        "agent restarts",
        "drivers are taken away",
        "later",
        "no restart",
        "restart by a preparation",
        "Docker is reloaded",
        "Docker is brought",
    ],
)
def test_fate_follows_from_what_is_restarted(
    changes: Sequence[Change], lost_drivers: Sequence[str], expected: list[Fate]
) -> None:
    """By the drivers of each allocation's tasks; where the region does not tell them, it is not guessed."""
    found = job_fates(RUNNING, HOST, changes, lost_drivers)
    assert ([job.fate for job in found], [job.allocation for job in found]) == (
        expected,
        ["ray", "door", "old", "odd"],
    )


def test_reboot_ends_everything() -> None:
    """Where what is installed may ask for it; the control installs nothing."""
    host = replace(HOST, prepare=Prepare(reboot=True))
    assert {job.fate for job in job_fates(RUNNING, host, prepared(DRIVER), ())} == {LOST}
    assert {job.fate for job in job_fates(RUNNING, host, prepared(PERSISTENCE), ())} == {KEPT}


def test_job_is_told_with_its_drivers_and_the_reason() -> None:
    """What a plan shows of it."""
    [job, *_] = job_fates(RUNNING[2:], HOST, [RESTART], ("java",))
    assert (job.job, job.namespace, job.drivers) == ("old", "default", ("docker", "java"))
    assert job.reason == "java is taken away: it fails at the restart, and its processes stay behind"
