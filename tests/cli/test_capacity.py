"""``ionetctl capacity`` from outside: what goes to which stream, for a fleet that a journal enrolled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.core import events
from ionetctl.core.events import Envelope, HostEntry
from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.history.journal import Journal

if TYPE_CHECKING:
    from tests.cli.conftest import RunIonetctl

ROLLOUT: Final = RolloutId("20261123T011226-k3f9qa")
EU: Final = RegionName("eu-north")
MODELS: Final = {"g1": "rtx-4090", "g2": "rtx-4090", "g3": "rtx-6090"}


@pytest.fixture
def fleet(environment: dict[str, str]) -> None:
    """Three nodes of two GPUs each, as an earlier rollout recorded them."""
    hosts = tuple(
        HostEntry(HostName(name), "10.20.1.1", EU, "rey1", "a01", "gpu", 2, model)
        for name, model in MODELS.items()
    )
    history: list[events.AnyEvent] = [
        events.RolloutStarted(
            rollout=ROLLOUT,
            inventory="site.yaml",
            inventory_digest="ab" * 32,
            owner="ops@ctl",
            version="0.1.0",
            hosts=hosts,
            regions=(),
        ),
        *map(enrolled, hosts),
        events.RolloutFinished(exit_code=0),
    ]
    rollouts = Path(environment["IONETCTL_STATE_DIR"]) / "rollouts"
    rollouts.mkdir(parents=True)
    asyncio.run(record(rollouts, history))


def enrolled(host: HostEntry) -> events.HostFinished:
    outcome = Outcome(
        host.name, host.address, host.region, host.datacenter, Result.ENROLLED,
        node_id=NodeId(f"00000000-0000-4000-8000-{int(host.name[1:]):012d}"), gpus_expected=2, gpus_seen=2,
    )  # fmt: skip
    return events.HostFinished(host=host.name, outcome=outcome, node_pool="gpu", rack="a01", stamp="s")


async def record(rollouts: Path, history: list[events.AnyEvent]) -> None:
    journal = Journal.create(rollouts, ROLLOUT)
    await journal.take([Envelope(i, "2026-11-23T01:12:26.000Z", event) for i, event in enumerate(history, 1)])
    await journal.close()


@pytest.mark.usefixtures("fleet")
def test_models_are_summed(ionetctl: RunIonetctl) -> None:
    """One line a model on standard output; what no table knows is reported on standard error."""
    ended = ionetctl("capacity", "--offline")
    assert (ended.exit_code, ended.stdout) == (0, "nvidia.rtx.4090.24gb: 4\nnvidia.rtx.6090: 2\n")
    assert ("nvidia.rtx.6090 is no product" in ended.stderr, "nvidia.rtx.4090" in ended.stderr) == (
        True,
        False,
    )


@pytest.mark.usefixtures("fleet")
def test_virtual_node_is_printed(ionetctl: RunIonetctl) -> None:
    """With --format k8s the same sums are a node's resources, as YAML or as JSON."""
    human = ionetctl("capacity", "--offline", "--format", "k8s", "--limit", "g[1-2]")
    machine = ionetctl("capacity", "--offline", "--format", "k8s", "--limit", "g[1-2]", "-o", "json")
    amounts = {"ionet.io/nvidia.rtx.4090.24gb": "4", "nvidia.com/gpu": "4"}
    assert machine.document == {"capacity": amounts, "allocatable": amounts}
    assert human.stdout == (
        'capacity:\n  ionet.io/nvidia.rtx.4090.24gb: "4"\n  nvidia.com/gpu: "4"\n'
        'allocatable:\n  ionet.io/nvidia.rtx.4090.24gb: "4"\n  nvidia.com/gpu: "4"\n'
    )


@pytest.mark.usefixtures("fleet")
def test_nodes_that_no_region_shows_are_not_counted(ionetctl: RunIonetctl) -> None:
    """Online only what a region shows is there: these nodes' region is known to nobody, so nothing is printed."""
    online, offline = ionetctl("capacity", "-o", "json"), ionetctl("capacity", "--offline", "-o", "json")
    assert [ended.document["total"]["schedulable"]["gpus"] for ended in (online, offline)] == [{}, {}]
    assert offline.document["total"]["recorded"]["gpus"] == {"nvidia.rtx.4090.24gb": 4, "nvidia.rtx.6090": 2}


def test_empty_fleet_is_no_error(ionetctl: RunIonetctl) -> None:
    """Before the first rollout nothing goes to standard output, and standard error says where to begin."""
    human, machine = ionetctl("capacity"), ionetctl("capacity", "-o", "json")
    assert (human.exit_code, human.stdout, "ionetctl enroll" in human.stderr) == (0, "", True)
    assert (machine.document["schema"], machine.document["regions"]) == ("ionetctl.capacity/1", {})
