"""Hosts where nothing differs: what their region reports decides what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import HostUnverifiedError
from ionetctl.core.model.host import GpuPromise, Host
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.node import Device, NodeView
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.planner import Planner
from ionetctl.host.survey import Surveyed
from ionetctl.host.unchanged_hosts import (
    Converged,
    Held,
    Unconfirmed,
    Unfit,
    Verified,
    judge_converged,
    note_refusal,
)
from tests.support.fakes import Emitted, FakeConnector, FakeIssuer, FakeRegion, dependencies
from tests.support.sample import EU_NORTH, HOST, NONCE, bundle, converged, view

PROMISED = replace(HOST, gpus=GpuPromise(None, 2))


@dataclass
class Stage:
    """A region, and a host of it where nothing differs."""

    host: Host = HOST
    mark: Mark = Mark.RELEASED
    region: FakeRegion = field(default_factory=FakeRegion)

    def __post_init__(self) -> None:
        issuer, connector = FakeIssuer(), FakeConnector({})
        self.deps = dependencies(RolloutId("r-1"), connector, self.region, issuer, Emitted())
        surveyed = Surveyed(self.host, self.host.name, converged(bundle(self.host)), ())
        self.planned: PlannedHost = Planner(self.deps).plan_host(surveyed, NONCE, self.mark)

    async def judge(self, shown: NodeView | None) -> Converged:
        if shown is not None:
            self.region.show(shown, self.planned.plan.stamp)
        [case] = await judge_converged(self.deps.regions[EU_NORTH], [self.planned])
        return case


async def test_node_as_it_should_be_is_verified() -> None:
    """The region shows it with its stamp, and is asked once."""
    stage = Stage()
    assert await stage.judge(view()) == Verified(stage.planned, view())
    assert stage.region.queries == [(f'Meta["unique.ionet_bundle"] matches "-({NONCE})$"', True)]


async def test_node_that_proves_itself_and_is_held_is_to_be_released() -> None:
    """Only ionetctl's own mark lets it."""
    stage = Stage(mark=Mark.HELD)
    assert await stage.judge(view(eligibility="ineligible")) == Held(stage.planned)


@pytest.mark.parametrize(
    ("shown", "kind", "code"),
    [
        (None, Unconfirmed, "not_registered"),
        (view(status="down"), Unconfirmed, "node_not_ready"),
        (view(eligibility="ineligible"), Unfit, "node_ineligible"),
        (
            view(devices=(Device("nvidia", "gpu", "RTX 4090", ("GPU-1",), 1),)),
            Unconfirmed,
            "gpu_count_mismatch",
        ),
    ],
)
async def test_node_that_is_not_as_it_should_be(
    shown: NodeView | None, kind: type[Unfit | Unconfirmed], code: str
) -> None:
    """A restart is planned where it may help; GPUs are asked for where they are promised."""
    stage = Stage(PROMISED)
    case = await stage.judge(shown)
    assert isinstance(case, kind)
    assert isinstance(case.error, HostUnverifiedError)
    assert (case.error.code, stage.region.queries[0][1]) == (code, True)


@pytest.mark.parametrize(
    ("by_agent", "noted"),
    [("held", "short: docker_unhealthy"), ("released", "released")],
    ids=["held", "released"],
)
async def test_refusal_is_noted_only_at_a_node_that_its_agent_has_as_held(by_agent: str, noted: str) -> None:
    """The region shows a release seconds late: who made the node ineligible since then keeps the say over it."""
    stage, shown = Stage(mark=Mark.HELD), view(eligibility="ineligible")
    stage.region.meta[shown.id] = {host_paths.ADMISSION_KEY: by_agent}
    error = HostUnverifiedError("docker_unhealthy", "Docker is not healthy")
    await note_refusal(stage.deps, Unfit(stage.planned, shown, error))
    assert stage.region.meta[shown.id][host_paths.ADMISSION_KEY] == noted
