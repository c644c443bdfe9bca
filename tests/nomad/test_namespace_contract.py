"""Which namespaces a token sees, and whose word is taken back: the lab's region, and a real Nomad where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.node import Namespace, SeenNamespaces
from ionetctl.placement.fences import fence_findings
from tests.e2e.real_region import Address, nomad_binary
from tests.lab.running import running_region
from tests.nomad.test_region_contract import LoopbackRegion, Place, free_ports
from tests.support.sample import EU_NORTH, NODE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL: Final = SeenNamespaces(
    (
        Namespace("default"),
        Namespace("ionet-maintenance", frozenset({"exec"})),
        Namespace("team", frozenset({"docker"})),
    ),
    are_all=True,
)
DRIVERS: Final = {"default": None, "ionet-maintenance": ("exec",), "team": ("docker",)}
SEE_ALL: Final = 'namespace "*" { capabilities = ["list-jobs"] }'
POLICIES: Final = {
    "all": SEE_ALL,
    "short": 'namespace "*" { policy = "read" }',
    "one": 'namespace "default" { capabilities = ["list-jobs"] }',
    "denied": f'{SEE_ALL} namespace "team" {{ policy = "deny" }}',
    "variables": f'{SEE_ALL} namespace "team" {{ variables {{ path "x/*" {{ capabilities = ["read"] }} }} }}',
    "none": 'node { policy = "read" }',
}
WORDS: Final = """namespace "ionet-maintenance" {
  variables { path "ionet/maintenance/*" { capabilities = ["read", "write", "list", "destroy"] } }
}"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackRegion]:
    program = nomad_binary()
    if program is None:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD")
    http, rpc, serf = free_ports(3)
    directory = tmp_path_factory.mktemp("region")
    with LoopbackRegion(program, directory, Address("127.0.0.1", http, rpc, serf)) as region:
        for name, drivers in DRIVERS.items():
            limits = {"EnabledTaskDrivers": drivers} if drivers else None
            region.call("PUT", f"/v1/namespace/{name}", {"Name": name, "Capabilities": limits})
        for name, rules in {**POLICIES, "words": WORDS}.items():
            region.call("PUT", f"/v1/acl/policy/{name}", {"Name": name, "Rules": rules})
        yield region


async def namespaces(real: LoopbackRegion, token: str) -> SeenNamespaces:
    async with Place(real.directory, real.api, token).open() as region:
        return await region.namespaces()


async def test_the_labs_region_shows_its_namespaces(tmp_path: Path) -> None:
    """All to a token with rights in all of them, none to one that has none."""
    async with running_region(tmp_path / "lab") as lab:
        lab.state.task_drivers = DRIVERS
        nodes_alone = lab.state.add_token("nodes", ["node:read"])
        seen = []
        for token in (lab.token, nodes_alone):
            async with Place(lab.pki, lab.api_url, token).open() as region:
                seen.append(await region.namespaces())
        other = await lab.call("GET", "/v1/acl/policy/nodes")
        unknown = await lab.call("GET", "/v1/namespaces", headers={"X-Nomad-Token": "x"})
    assert seen == [ALL, SeenNamespaces((), are_all=False)]
    assert (other.status, unknown.status) == (403, 403)


@pytest.mark.nomad
async def test_only_a_token_with_rights_everywhere_sees_all(real: LoopbackRegion) -> None:
    """By a role as by a policy; a rule that denies, or that is about variables alone, hides a namespace, and the list does not say so."""
    role = real.call("POST", "/v1/acl/role", {"Name": "seers", "Policies": [{"Name": "all"}]})
    by_role = real.call(
        "POST", "/v1/acl/token", {"Name": "seer", "Type": "client", "Roles": [{"ID": role["ID"]}]}
    )
    assert await namespaces(real, real.management_token) == ALL
    assert await namespaces(real, by_role["SecretID"]) == ALL
    found = {name: await namespaces(real, real.new_token(name)) for name in POLICIES}
    assert {name for name, seen in found.items() if seen.are_all} == {"all", "short"}
    assert (found["all"], found["short"]) == (ALL, ALL)
    hidden = {name: {one.name for one in seen.namespaces} for name, seen in found.items() if not seen.are_all}
    rest = {"default", "ionet-maintenance"}
    assert hidden == {"one": {"default"}, "denied": rest, "variables": rest, "none": set()}
    assert (await namespaces(real, real.new_token("variables", "all", "one"))).are_all is False


@pytest.mark.nomad
async def test_the_check_tells_what_is_open(real: LoopbackRegion) -> None:
    """Of a real region the one namespace without a fence."""
    seen = await namespaces(real, real.new_token("all"))
    assert [one.code for one in fence_findings(EU_NORTH, seen)] == ["namespace_unfenced"]


@pytest.mark.nomad
async def test_two_controllers_leave_each_others_words(real: LoopbackRegion) -> None:
    """Each takes back what it has put, and what has been put since stays."""
    async with Place(real.directory, real.api, real.new_token("words")).open() as region:
        door = region.door
        first = await door.put_word(NODE_ID, b"first")
        second = await door.put_word(NODE_ID, b"second")
        await door.take_back(NODE_ID, first)
        variable = f"/v1/var/ionet/maintenance/{NODE_ID}?namespace=ionet-maintenance"
        assert real.call("GET", variable)["Items"] == {"word": "second"}
        await door.take_back(NODE_ID, second)
        await door.take_back(NODE_ID, second)
        assert real.call("GET", "/v1/vars?namespace=ionet-maintenance") == []
        reader = Place(real.directory, real.api, real.new_token("all"))
        async with reader.open() as other:
            with pytest.raises(RegionError, match="variables:"):
                await other.door.put_word(NodeId(str(NODE_ID)), b"third")
