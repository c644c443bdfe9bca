"""What is kept of a host is enough to plan its next change: as if somebody had looked at it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.installed import Installed
from ionetctl.core.observed import Driver, MachineFacts, MigInstance, Rig, SeenGpu
from ionetctl.plan.bundle import build_bundle
from ionetctl.plan.difference import PlanContext, drivers_lost, make_plan
from ionetctl.plan.installation import facts_of, has_door, installation
from tests.support.sample import (
    BARE,
    HOST,
    NODE_ID,
    NONCE,
    OWN_KEYS,
    REGION,
    SIGNERS,
    VERIFYING,
    converged,
    subject,
)

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings

CARD = SeenGpu(0, "NVIDIA H100 80GB HBM3", "GPU-1", 81_559, power_default_w=700.0)
SLICED = replace(
    CARD,
    is_mig_on=True,
    mig=(MigInstance("MIG-1", "1g.10gb", 9_856), MigInstance("MIG-2", "2g.20gb", 19_968)),
)
RIG = MachineFacts(
    verifies_signatures=True,
    cpu_model="AMD EPYC 7402",
    product="Supermicro H12",
    virtualization="none",
    driver=Driver("550.54.15"),
    rig=Rig("hiveos", "0.6", "12345", "rig-7"),
)
SEEN = {
    "two cards": VERIFYING,
    "no card": replace(VERIFYING, gpus=()),
    "unknown cards": replace(VERIFYING, gpus=None),
    "sliced": replace(VERIFYING, gpus=(SLICED,)),
    "limited power": replace(VERIFYING, gpus=(replace(CARD, power_default_w=None, power_limit_w=300.0),)),
    "a rig": replace(VERIFYING, machine=RIG, cuda_version="12.4", gpus=(CARD,)),
    "driver by NVML": replace(VERIFYING, driver_version="550.54.15", gpus=(CARD,)),
}


def kept(facts: Facts, host: Host = HOST, region: RegionSettings = REGION) -> Facts:
    """The facts as they come back from the record of a host that has its bundle."""
    wanted = subject(host, facts, region=region, signers=SIGNERS)
    bundle = build_bundle(wanted)
    has = converged(bundle, facts)
    recorded = installation(bundle, has, has.manifest, wanted.drivers)
    read = msgspec.json.decode(msgspec.json.encode(recorded), type=Installed)
    assert has.nomad.stamp is not None
    return facts_of(read, NODE_ID, has.nomad.stamp, 0)


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize("region", [REGION, OWN_KEYS], ids=["sent keys", "own keys"])
def test_host_that_has_its_bundle_needs_nothing(seen: Facts, region: RegionSettings) -> None:
    """Whatever its hardware, and whoever made its key."""
    facts = kept(seen, region=region)
    wanted = subject(HOST, facts, region=region, signers=SIGNERS)
    plan = make_plan(build_bundle(wanted), facts, PlanContext(NONCE, None, is_known=True))
    assert (plan.changes, plan.stamp) == ((), facts.nomad.stamp)
    assert drivers_lost(wanted.drivers, facts) == ()


def test_change_is_planned_as_by_a_survey() -> None:
    """The same changes of the same files, here for another value in the host's meta and a GPU that is held back."""
    changed = replace(HOST, meta={"power": "two"}, reserve=replace(HOST.reserve, gpus=("1",)))
    bundle = build_bundle(subject(HOST, VERIFYING, signers=SIGNERS))
    surveyed = converged(bundle, VERIFYING)
    plans = [
        make_plan(
            build_bundle(subject(changed, facts, signers=SIGNERS)),
            facts,
            PlanContext(NONCE, None, is_known=True),
        )
        for facts in (surveyed, kept(VERIFYING))
    ]
    assert plans[0] == plans[1]
    assert host_paths.NVIDIA_CONFIG in {change.path for change in plans[1].changes}


def test_driver_that_is_taken_away_is_known() -> None:
    """Those that jobs could use are kept."""
    assert drivers_lost(("docker",), kept(VERIFYING)) == ("exec",)


def test_record_is_small_and_has_no_secret() -> None:
    """A host of eight GPUs; the private key's digest is all that is known of it."""
    facts = replace(
        VERIFYING, gpus=tuple(replace(CARD, index=index, uuid=f"GPU-{index:036}") for index in range(8))
    )
    bundle = build_bundle(subject(HOST, facts, signers=SIGNERS))
    has = converged(bundle, facts)
    text = msgspec.json.encode(installation(bundle, has, has.manifest, ("docker",)))
    assert len(text) < 4096
    assert b"PEM" not in text


def test_door_is_seen_by_its_script() -> None:
    """Hosts without one cannot be changed so, and nothing is kept of them."""
    doors = [has_door(build_bundle(subject(HOST, facts, signers=SIGNERS))) for facts in (VERIFYING, BARE)]
    assert doors == [True, False]
