"""``region check`` against regions that serve: what is read of inventory, files and API, and what is made of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.app.check_region import inspect_regions
from ionetctl.core.errors import ConfigurationError, ExitCode, UsageError
from ionetctl.core.settings import Settings
from ionetctl.placement.readiness import Inspection, RegionHosts, UnansweredRegion, region_findings
from ionetctl.report.region import region_row
from tests.e2e.real_region import Address, nomad_binary
from tests.lab.running import RunningRegion, running_region
from tests.nomad.test_region_contract import LoopbackRegion, free_ports
from tests.support.clock import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INVENTORY = """\
version: 1
datacenter: rey1
naming: {naming}
regions:
{regions}
nomad: {{version: 2.0.5, device_plugin_version: 1.1.0}}
defaults: {{node_pool: {pool}}}
hosts:
{hosts}
"""
REGION = """\
  {name}:
    api: ["{api}"]
    servers: ["127.0.0.1:4647"]
    token: {{file: {token}}}
    capacity: {capacity}
    tls:
      ca: {pki}/ca.pem
      client: {{cert: {pki}/cli.pem, key: {{file: {pki}/cli-key.pem}}}}
      {node}: {{cert: {pki}/ca.pem, key: {{file: {pki}/ca-key.pem}}}}
"""
COMMAND = """{command: [sh, -c, 'test -z "$KEY$OTHER" && echo x']}"""
NOBODY = "https://127.0.0.1:1"
SETTINGS = Settings.load({})


@dataclass
class Site:
    """An inventory's file, and the regions that it describes so far."""

    directory: Path
    regions: str = ""
    naming: str = "as-written"
    pool: str = "gpu"

    def describe(
        self, name: str, pki: Path, api: str, token: str, *, capacity: int = 100, node: str = "issuer"
    ) -> None:
        """Describe one region more."""
        secret = self.directory / f"{name}.token"
        secret.touch(mode=0o600)
        secret.write_text(token)
        self.regions += REGION.format(name=name, pki=pki, api=api, token=secret, capacity=capacity, node=node)

    def inventory(self, **hosts: str) -> str:
        """The inventory with hosts, each in the region that is given for it."""
        lines = "\n".join(
            f"  - {{name: {name}, address: 10.0.0.{number}, region: {region}}}"
            for number, (name, region) in enumerate(hosts.items(), 1)
        )
        path = self.directory / "site.yaml"
        path.write_text(
            INVENTORY.format(naming=self.naming, regions=self.regions, pool=self.pool, hosts=lines)
        )
        return str(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
async def region(site: Site, tmp_path: Path) -> AsyncIterator[RunningRegion]:
    """A rehearsed region, described in the inventory."""
    async with running_region(tmp_path / "eu") as running:
        site.describe("eu-north", running.pki, running.api_url, running.token)
        yield running


async def inspected(inventory: str) -> Inspection:
    """What was found of the inventory's one region, which answers."""
    (found,) = await inspect_regions(inventory, (), SETTINGS)
    assert isinstance(found, Inspection)
    return found


def known(region: RunningRegion, **nodes: str) -> None:
    """Let the region know nodes, each with its status."""
    region.state.enforcement = "none"
    for name, status in nodes.items():
        node = {"ID": name, "Name": name.replace("_", "-"), "Datacenter": "rey1", "NodePool": "gpu"}
        more = {"NodeClass": "", "HTTPAddr": "10.0.0.1:4646", "Attributes": {}, "Drivers": {}}
        region.state.register({**node, **more}, "secret", "", START.timestamp())
        region.state.nodes[name]["Status"] = status


async def test_region_and_hosts_are_held_against_each_other(site: Site, region: RunningRegion) -> None:
    """Nodes count whatever their status; hosts are matched by name."""
    known(region, h1="ready", other="down")
    found = await inspected(site.inventory(h1="eu-north", h2="eu-north", h3="auto"))
    assert (found.nodes, found.known, found.left) == ({"ready": 1, "down": 1}, 2, 98)
    assert found.hosts == RegionHosts(2, 1, 1, frozenset({"gpu"}), 2, "rey1")


@pytest.mark.parametrize(("naming", "joining"), [("unique", 1), ("as-written", 2)])
async def test_suffix_is_part_of_a_name_where_names_are_unique(
    site: Site, region: RunningRegion, naming: str, joining: int
) -> None:
    """Otherwise it is another node's name."""
    site.naming = naming
    known(region, h1_0a1b2c3d="ready")
    found = await inspected(site.inventory(h1="eu-north", h2="eu-north"))
    assert found.hosts.joining == joining


@pytest.mark.usefixtures("region")
async def test_certificates_are_those_of_the_api_and_of_the_files(site: Site) -> None:
    """The CA outlives what it signed."""
    found = await inspected(site.inventory(h1="eu-north"))
    lasting = {one.what: one.ends_at - found.at > timedelta(days=1_000) for one in found.certificates}
    assert lasting == {"API": False, "CA": True, "issuer": True, "client": False}
    assert [finding.code for finding in region_findings(found)] == ["issuer_unconstrained"]


async def test_ready_pair_is_named_as_one(site: Site, tmp_path: Path) -> None:
    """It ends for all nodes at once."""
    async with running_region(tmp_path / "eu") as running:
        site.describe("eu-north", running.pki, running.api_url, running.token, node="node")
        found = await inspected(site.inventory(h1="eu-north"))
    assert [one.what for one in found.certificates] == ["API", "CA", "node", "client"]


async def test_regions_that_answer_stand_beside_those_that_do_not(site: Site, region: RunningRegion) -> None:
    """In the inventory's order; one that hosts are not meant for is checked too."""
    site.describe("us-east", region.pki, region.api_url, region.token)
    found = await inspect_regions(site.inventory(h1="eu-north"), (), SETTINGS)
    assert [(region_row(one)["region"], isinstance(one, UnansweredRegion)) for one in found] == [
        ("eu-north", False),
        ("us-east", True),
    ]
    silence = found[1]
    assert isinstance(silence, UnansweredRegion)
    assert (silence.code, silence.exit_code) == ("region_untrusted", ExitCode.TRUST)


async def test_only_the_chosen_regions_are_asked(site: Site, region: RunningRegion) -> None:
    """The other one would not answer."""
    site.describe("us-east", region.pki, NOBODY, region.token)
    (found,) = await inspect_regions(site.inventory(h1="eu-north"), ["eu-north"], SETTINGS)
    assert isinstance(found, Inspection)


@pytest.mark.usefixtures("region")
async def test_region_that_is_none_is_refused(site: Site) -> None:
    """Before any is asked; the known ones are named."""
    with pytest.raises(UsageError, match="mars is none of the regions") as caught:
        await inspect_regions(site.inventory(h1="eu-north"), ["mars"], SETTINGS)
    assert (caught.value.code, caught.value.hint) == (
        "region_unknown",
        "described in the inventory: eu-north",
    )


async def test_file_that_cannot_be_read_ends_the_check(site: Site, region: RunningRegion) -> None:
    """What is wrong here is no region's fault."""
    (region.pki / "ca.pem").write_text("gone")
    with pytest.raises(ConfigurationError) as caught:
        await inspect_regions(site.inventory(h1="eu-north"), (), SETTINGS)
    assert caught.value.code == "certificate_unreadable"


async def test_command_of_a_secret_gets_no_other_secret(site: Site) -> None:
    """Not even one that is not asked for here; the next error shows that the command did not fail."""
    site.describe("eu-north", site.directory / "nowhere", NOBODY, "unused")
    site.regions = re.sub(r"token: {.*}", f"token: {COMMAND}", site.regions)
    site.regions = re.sub(r"key: {file: .*/ca-key.pem}", "key: {env: KEY}", site.regions)
    site.regions = site.regions.replace("client:", "# client:")
    source = site.inventory(h1="eu-north")
    for environ, code in (
        ({"KEY": "k"}, "certificate_unreadable"),
        ({"OTHER": "k"}, "secret_command_failed"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            await inspect_regions(source, (), Settings.load({"PATH": os.environ["PATH"]} | environ))
        assert caught.value.code == code


@pytest.mark.nomad
@pytest.mark.usefixtures("region")
async def test_real_region_is_told_as_the_rehearsed_one(site: Site, tmp_path: Path) -> None:
    """The same document, but for addresses, names, times, and the limit that the rehearsal raises."""
    program = nomad_binary()
    if program is None:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD")
    rehearsed = region_row(await inspected(site.inventory(h1="eu-north")))
    http, rpc, serf = free_ports(3)
    with LoopbackRegion(program, tmp_path / "real", Address("127.0.0.1", http, rpc, serf)) as real:
        site.regions = ""
        site.describe("eu-north", tmp_path / "real", real.api, real.token)
        told = region_row(await inspected(site.inventory(h1="eu-north")))
    assert comparable(told) == comparable(rehearsed)


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what is each region's own."""
    servers = [{**server, "name": "", "address": ""} for server in row["servers"]]
    certificates = [{**one, "expires_at": "", "days_left": 0} for one in row["certificates"]]
    connections = {**row["connections"], "per_client": 0}
    return {**row, "servers": servers, "certificates": certificates, "connections": connections}
