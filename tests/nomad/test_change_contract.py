"""A node changed while jobs run there, in the lab's region and in a real Nomad: both must take it alike."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from ionetctl.core import host_paths
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import RegionError
from ionetctl.core.model.node import DrainSpec, SystemJob
from ionetctl.host.release_node import release
from ionetctl.maintenance.drains import CancelDrain, Drain
from ionetctl.maintenance.meta_changes import SetMeta, UnsetMeta
from ionetctl.maintenance.node_actions import Exclude, Include, NodeWork
from ionetctl.maintenance.node_state import look
from ionetctl.maintenance.system_jobs import SystemJobs
from tests.e2e.real_node import RealNode
from tests.e2e.real_region import POLICY, Address, nomad_binary
from tests.nomad.test_node_contract import RegionWithClients, lab_with_a_node, only_node, until
from tests.nomad.test_region_contract import Place, free_ports
from tests.support.fakes import Emitted
from tests.support.sample import EU_NORTH, HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ionetctl.core.model.names import NodeId
    from ionetctl.maintenance.node_actions import NodeAction
    from ionetctl.maintenance.node_state import NodeState
    from ionetctl.nomad import NomadRegion

RIGHTS: Final = 'namespace "*" { capabilities = ["list-jobs", "read-job", "submit-job"] }'
EXCLUDE: Final = Exclude("ops@ctl", "2026-11-27T12:00:00Z", "fan noise")
SHORT: Final = Drain("ops@ctl", "new fans", DrainSpec(1.0))
ENDLESS: Final = replace(SHORT, spec=DrainSpec(0.0), waits=False)
BEFORE: Final = {"ionetctl_by": "ops@ctl", "ionetctl_eligibility": "eligible", "message": "new fans"}


@pytest.fixture(params=["lab", pytest.param("nomad", marks=pytest.mark.nomad)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A region with one node that came up ineligible, and a token that may submit jobs too."""
    if request.param == "lab":
        async with lab_with_a_node(tmp_path) as lab:
            lab.token = lab.every_right
            yield lab
        return
    program = nomad_binary()
    if program is None or os.geteuid() != 0:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD, or no root, which a client needs")
    http, rpc, serf, client_http = free_ports(4)
    with RegionWithClients(program, tmp_path / "region", Address("127.0.0.1", http, rpc, serf)) as real:
        real.call("POST", "/v1/acl/policy/ionetctl", {"Name": "ionetctl", "Rules": f"{POLICY}{RIGHTS}"})
        (tmp_path / "client").mkdir()
        with RealNode(program, real, tmp_path / "client", client_http):
            yield Place(real.directory, real.api, real.token)


def job(name: str, kind: str) -> dict[str, Any]:
    task = {
        "Name": "t",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sleep", "args": ["1000000"]},
        "Resources": {"CPU": 20, "MemoryMB": 16},
    }
    group = {"Name": "g", "Count": 1, "Tasks": [task]}
    place = {"Datacenters": ["*"], "NodePool": "gpu"}
    return {"ID": name, "Name": name, "Type": kind, **place, "TaskGroups": [group]}


class Stage:
    """The only node of a region, and the region."""

    def __init__(self, where: Place, region: NomadRegion, node: NodeId) -> None:
        self.where = where
        self.region = region
        self.node = node
        self.emit = Emitted()

    async def submit(self, *jobs: dict[str, Any]) -> None:
        context = ssl.create_default_context(cafile=self.where.pki / "ca.pem")
        context.load_cert_chain(self.where.pki / "cli.pem", self.where.pki / "cli-key.pem")
        [api] = self.where.settings.api
        headers = {"X-Nomad-Token": self.where.token}
        async with httpx.AsyncClient(
            verify=context, base_url=api, headers=headers, trust_env=False, timeout=30.0
        ) as client:
            for one in jobs:
                (await client.post("/v1/jobs", json={"Job": one})).raise_for_status()

    async def state(self) -> NodeState:
        return await look(self.region, HOST, self.node, at_jobs=True)

    async def do(self, action: NodeAction) -> NodeState:
        """Carry an action out; it leaves nothing to be done, and the state is as it is then."""
        before = await self.state()
        assert action.plan(before) != ()
        jobs = SystemJobs(EU_NORTH, self.region, self.emit)
        agreed = {(one.namespace, one.job) for one in before.allocations}
        await action.carry_out(
            NodeWork(self.region, before, self.emit, SystemClock(), 60.0, jobs, lambda: False, agreed)
        )
        after = await self.state()
        assert action.plan(after) == ()
        return after

    async def refusal(self, state: NodeState) -> tuple[str, str]:
        """Why the node is not released once it is held."""
        await self.region.annotate(self.node, {host_paths.ADMISSION_KEY: host_paths.HELD})
        reason = await release(self.region, state.view)
        assert reason is not None
        return reason.code, reason.message

    async def running(self, *names: str) -> None:
        """Wait until these jobs, and no other, have allocations there."""

        async def are() -> bool:
            return sorted(one.job for one in await self.region.allocations(self.node)) == sorted(names)

        await until(are, f"{names} run on the node")


async def test_node_with_jobs_is_changed_alike(place: Place) -> None:
    """Excluded, included, drained to its deadline, and let go of in a drain that has none."""
    async with place.open() as region:
        stage = Stage(place, region, await only_node(region))
        force = Include(force=True)
        await stage.do(force)
        await stage.submit(job("sys", "system"), job("svc", "service"), job("bat", "batch"))
        await stage.running("sys", "svc", "bat")
        kinds = {one.job: (one.job_type, one.namespace) for one in (await stage.state()).allocations}
        assert kinds == {
            "sys": ("system", "default"),
            "svc": ("service", "default"),
            "bat": ("batch", "default"),
        }
        assert [replace(one, datacenters=()) for one in await region.system_jobs()] == [
            SystemJob("sys", "default", (), "gpu")
        ]

        excluded = await stage.do(EXCLUDE)
        assert (excluded.is_eligible, str(excluded.exclusion)) == (
            False,
            "excluded by ops@ctl at 2026-11-27T12:00:00Z: fan noise",
        )
        await stage.running("sys", "svc", "bat")
        included = await stage.do(Include())
        assert (included.is_eligible, included.exclusion) == (True, None)

        drained = await stage.do(SHORT)
        last = drained.detail.drain
        assert last is not None
        assert (last.status, last.meta, last.spec, last.deadline_passed) == ("complete", BEFORE, None, True)
        assert (drained.is_eligible, drained.allocations) == (False, ())
        assert await stage.refusal(drained) == (
            "node_ineligible",
            f"the node is not eligible for jobs: it was drained at {last.started_at}",
        )
        assert (await stage.state()).mark_of_hold is None
        await stage.do(Include())
        await stage.running("sys", "svc")

        await stage.submit(job("later", "batch"))
        await stage.running("sys", "svc", "later")
        await stage.do(ENDLESS)
        on_its_way = await stage.state()
        assert on_its_way.drain is not None
        assert (on_its_way.drain.status, on_its_way.drain.spec) == ("draining", DrainSpec(0.0))
        with pytest.raises(RegionError) as refused:
            await region.set_eligibility(stage.node, is_eligible=True)
        assert refused.value.code == "node_draining"
        assert await stage.refusal(on_its_way) == ("node_draining", "the node is being drained")
        assert (await stage.state()).mark_of_hold == "held"
        await region.annotate(stage.node, {host_paths.ADMISSION_KEY: host_paths.RELEASED})
        let_go = await stage.do(CancelDrain())
        assert (let_go.is_eligible, let_go.drain) == (True, None)
        assert let_go.detail.drain is not None
        assert let_go.detail.drain.status == "canceled"
        await region.evaluate(stage.node)


async def test_metadata_is_set_and_removed_alike(place: Place) -> None:
    """The configuration's own keys are named, and hidden by a removal."""
    async with place.open() as region:
        stage = Stage(place, region, await only_node(region))
        first = await stage.state()
        assert first.meta.static["ionet_admission"] == "held"
        after = await stage.do(SetMeta({"colour": "red", "site.row": "7"}))
        assert after.meta.dynamic == {"colour": "red", "site.row": "7"}
        unset = await stage.do(UnsetMeta(("colour", "ionet_admission")))
        assert unset.meta.dynamic == {"site.row": "7", "ionet_admission": None}
        assert "ionet_admission" not in unset.meta.merged
