"""The same calls against the lab's region and a real Nomad: the stand-in cannot drift from what the adapter needs."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import RegionError, TrustError
from ionetctl.core.model.inventory import Issuer, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import NodeId, RegionName
from ionetctl.core.model.secret import SecretRef
from ionetctl.nomad import NomadRegion
from ionetctl.nomad.responses import DEFAULT_HEARTBEATS
from tests.e2e.real_region import Address, RealRegion, nomad_binary
from tests.lab.running import running_region

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

EU = RegionName("eu-north")
NO_NODE = NodeId("11111111-1111-1111-1111-111111111111")
TOKEN = SecretRef("env", "TOKEN")


class LoopbackRegion(RealRegion):
    """A real server that says outright that it is on loopback, which Nomad would not take for meant."""

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "advertise": dict.fromkeys(("http", "rpc", "serf"), self.address.host)}


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def settings(pki: Path, api: str) -> RegionSettings:
    client = ReadyPair(str(pki / "cli.pem"), SecretRef("file", str(pki / "cli-key.pem")))
    node = Issuer(str(pki / "ca.pem"), SecretRef("file", str(pki / "ca-key.pem")))
    tls = RegionTls(str(pki / "ca.pem"), f"server.{EU}.nomad", client, node)
    return RegionSettings(EU, (api,), ("127.0.0.1:4647",), TOKEN, tls)


class Place:
    """A region to ask, as an inventory would describe it."""

    def __init__(self, pki: Path, api: str, token: str, every_right: str = "") -> None:
        self.pki = pki
        self.settings = settings(pki, api)
        self.token = token
        self.every_right = every_right
        """A token that may read jobs too."""

    def open(self, change: Callable[[RegionSettings], RegionSettings] = lambda same: same) -> NomadRegion:
        return NomadRegion.open(change(self.settings), self._reveal)

    def _reveal(self, ref: SecretRef) -> str:
        return self.token if ref == TOKEN else Path(ref.locator).read_text()


@pytest.fixture(params=["lab", pytest.param("nomad", marks=pytest.mark.nomad)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "lab":
        async with running_region(tmp_path / "lab") as lab:
            yield Place(lab.pki, lab.api_url, lab.token)
        return
    program = nomad_binary()
    if program is None:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD")
    http, rpc, serf = free_ports(3)
    with LoopbackRegion(program, tmp_path, Address("127.0.0.1", http, rpc, serf)) as real:
        yield Place(tmp_path, real.api, real.token)


async def test_region_is_asked_and_answers(place: Place) -> None:
    """Status, empty lists by every filter that is used, a token with the end that the region allows."""
    async with place.open() as region:
        status = await region.status()
        assert (status.name, status.enforcement, {"all", "default", "gpu"} <= status.pools) == (
            EU,
            "strict",
            True,
        )
        assert [(one.status, one.is_leader) for one in status.servers] == [("alive", True)]
        assert status.heartbeats == DEFAULT_HEARTBEATS
        assert status.certificate_expires_at is not None
        stamp = 'Meta["unique.ionet_bundle"] matches "-(0a1b2c3d4e5f|ffffffffffff)$"'
        assert [list(await region.nodes(expression, with_devices=True)) for expression in (None, stamp)] == [
            [],
            [],
        ]
        assert list(await region.allocations(NO_NODE)) == []
        token = await region.introduce("rig-001", "gpu", 100_000)
        assert timedelta(minutes=25) < token.expires_at - datetime.now(UTC) < timedelta(minutes=31)


async def test_region_refuses_alike(place: Place) -> None:
    """A bad filter, a token it does not know, another server name, a region that nobody knows."""
    async with place.open() as region:
        with pytest.raises(RegionError, match="failed to read filter expression") as refused:
            await region.nodes("bogus ==")
    place.token = "00000000-0000-0000-0000-000000000000"
    async with place.open() as region:
        with pytest.raises(RegionError) as forbidden:
            await region.nodes()
    async with place.open(
        lambda same: replace(same, tls=replace(same.tls, server_name="server.mars.nomad"))
    ) as region:
        with pytest.raises(TrustError) as untrusted:
            await region.nodes()
    codes = [caught.value.code for caught in (refused, forbidden, untrusted)]
    assert codes == ["region_refused", "region_forbidden", "region_untrusted"]


async def test_region_of_another_name_is_not_found_alike(place: Place) -> None:
    """Its servers are members of no such region."""
    async with place.open(lambda same: replace(same, name=RegionName("mars"))) as region:
        with pytest.raises(RegionError) as caught:
            await region.status()
    assert caught.value.code == "region_no_path"
