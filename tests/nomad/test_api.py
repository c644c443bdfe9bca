"""The region's adapter, over real TLS: recorded answers of a real region, and everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ionetctl.core.errors import ConfigurationError, IonetctlError, RegionError, TrustError
from ionetctl.core.model.names import NodeId, RegionName
from ionetctl.core.model.node import Device, Heartbeats, NodeView, RegionServer, RegionStatus
from ionetctl.core.model.secret import SecretRef
from ionetctl.nomad import CallLimits, NomadRegion, Wait
from ionetctl.nomad.http import BODY_LIMIT_BYTES, CONNECTIONS, Endpoint, RegionHttp
from ionetctl.nomad.responses import introduction_token
from ionetctl.nomad.tls import client_context
from tests.support import pki
from tests.support.clock import ManualClock
from tests.support.region_server import EU, SERVER_NAME, TOKEN, Answer, RegionSite, ScriptedApi, recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

NODES = "/v1/nodes"
SELF = "/v1/agent/self"
MEMBERS = "/v1/agent/members"
LEADER = "/v1/status/leader"
POOLS = "/v1/node/pools"
MINT = "/v1/acl/identity/client-introduction-token"
NOBODY = "https://127.0.0.1:1"
NO_NODES = Answer([])
FORBIDDEN = Answer.recorded("nodes: no token")
STATUS = {
    SELF: [Answer.recorded("agent self (cut to what matters)")],
    MEMBERS: [Answer.recorded("members")],
    LEADER: [Answer.recorded("leader")],
    POOLS: [Answer.recorded("pools")],
}

Script = "Mapping[str, Sequence[Answer]]"


@pytest.fixture
def site(tmp_path: Path) -> RegionSite:
    return RegionSite(tmp_path)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def asking(
    site: RegionSite,
    answers: Mapping[str, Sequence[Answer]],
    clock: ManualClock | None = None,
    limits: CallLimits | None = None,
    name: RegionName = EU,
) -> AsyncIterator[tuple[NomadRegion, ScriptedApi]]:
    """A region that answers so, and what it saw."""
    async with site.serving(answers) as (url, api):
        settings = site.settings(url, name=name)
        async with NomadRegion.open(settings, site.reveal, limits, (clock or ManualClock()).sleep) as region:
            yield region, api


def opened(site: RegionSite, *api: str, clock: ManualClock | None = None) -> NomadRegion:
    """The region at some addresses."""
    return NomadRegion.open(site.settings(*api), site.reveal, sleep=(clock or ManualClock()).sleep)


async def refused(
    code: str, asked: Awaitable[object], kind: type[IonetctlError] = RegionError
) -> IonetctlError:
    """The error of a call; the token is nowhere in it."""
    with pytest.raises(kind) as caught:
        await asked
    error = caught.value
    assert (error.code, TOKEN in f"{error.message} {error.hint} {error!r}") == (code, False)
    return error


# --- what a real region said -----------------------------------------------------------------------------------------


async def test_nodes_are_read_as_recorded(site: RegionSite) -> None:
    """A row of a real region's list becomes a record; devices that were not asked for are unknown."""
    async with asking(site, {NODES: [Answer.recorded("nodes: filter on meta and status")]}) as (region, _):
        expected = NodeView(
            id=NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53"),
            name="gpu3",
            address="127.0.0.1",
            datacenter="rey1",
            node_pool="default",
            node_class="nvidia.rtx.4090.24gb",
            status="ready",
            eligibility="ineligible",
            version="2.0.5",
            drivers_healthy=("exec", "mock_driver"),
            devices=None,
        )
        assert (await region.nodes())[0] == expected


async def test_devices_are_read_as_recorded(site: RegionSite) -> None:
    """Two groups of GPUs, one entry per name, with their UUIDs, health and memory."""
    async with asking(site, {NODES: [Answer.recorded("nodes: with resources")]}) as (region, _):
        (node,) = await region.nodes(with_devices=True)
    uuid = "GPU-11111111-2222-3333-4444-00000000000"
    assert node.devices == (
        Device("nvidia", "gpu", "NVIDIA GeForce RTX 4090", (f"{uuid}1", f"{uuid}2"), 2, 24564),
        Device("nvidia", "gpu", "NVIDIA GeForce RTX 3080", (f"{uuid}3",), 1, 10240),
    )


async def test_pages_are_followed_to_the_end(site: RegionSite) -> None:
    """Each page's header names the next one; the last has none."""
    pages = ["nodes: first page", "nodes: next page"]
    last = Answer.recorded("nodes: filter matches nothing")
    async with asking(site, {NODES: [*map(Answer.recorded, pages), last]}) as (region, api):
        names = [node.name for node in await region.nodes()]
    tokens = [recording(page)["response"]["headers"]["x-nomad-nexttoken"] for page in pages]
    assert (len(names), [seen.query.get("next_token") for seen in api.seen]) == (3, [None, *tokens])


async def test_nodes_are_asked_for_as_cheaply_as_can_be(site: RegionSite) -> None:
    """Stale, by pages of 1000, with filter and resources where wanted, for this region."""
    async with asking(site, {NODES: [NO_NODES]}) as (region, api):
        await region.nodes('Status == "ready"', with_devices=True)
    (seen,) = api.seen
    assert seen.query == {
        "per_page": "1000",
        "stale": "true",
        "filter": 'Status == "ready"',
        "resources": "true",
        "region": EU,
    }


async def test_nodes_are_asked_for_with_the_token(site: RegionSite) -> None:
    """The region's ACL decides what is shown."""
    async with asking(site, {NODES: [NO_NODES]}) as (region, api):
        await region.nodes()
    (seen,) = api.seen
    assert seen.token == TOKEN


async def test_status_is_read_as_recorded(site: RegionSite) -> None:
    """Version, enforcement, pools, limits, servers and heartbeats of a real region."""
    async with asking(site, STATUS) as (region, _):
        status = await region.status()
    assert replace(status, certificate_expires_at=None) == RegionStatus(
        EU,
        "2.0.5",
        "strict",
        frozenset({"all", "default", "newpool"}),
        connections_per_client=100,
        servers=(RegionServer("srv-eu-north.eu-north", "10.77.0.1:4647", "2.0.5", "alive", is_leader=True),),
        heartbeats=Heartbeats(min_ttl_s=10, max_per_second=50, failover_ttl_s=300, grace_s=10),
    )


async def test_status_tells_when_the_certificate_of_the_api_ends(site: RegionSite) -> None:
    """It is the one of the handshake, whatever files there are."""
    began = datetime.now(UTC).replace(microsecond=0)
    serving = site.serving(STATUS, begins=began, lasts=timedelta(days=20))
    async with serving as (url, _), opened(site, url) as region:
        assert (await region.status()).certificate_expires_at == began + timedelta(days=20)


async def test_heartbeats_are_those_that_the_region_has_set(site: RegionSite) -> None:
    """Nomad writes durations in nanoseconds."""
    ns = 1_000_000_000
    server = {
        "MinHeartbeatTTL": 20 * ns,
        "MaxHeartbeatsPerSecond": 25.0,
        "FailoverHeartbeatTTL": 500 * ns,
        "HeartbeatGrace": 15 * ns,
    }
    told = Answer({"config": {"Region": EU, "Server": server}})
    async with asking(site, {**STATUS, SELF: [told]}) as (region, _):
        status = await region.status()
    assert status.heartbeats == Heartbeats(min_ttl_s=20, max_per_second=25, failover_ttl_s=500, grace_s=15)


@pytest.mark.parametrize(
    ("leader", "expected"),
    [
        ("10.77.0.1:4647", [True, False]),
        ("[2001:db8::2]:4647", [False, True]),
        ("10.9.9.9:4647", [False, False]),
    ],
)
async def test_leader_is_the_server_of_that_address(
    site: RegionSite, leader: str, expected: list[bool]
) -> None:
    """An IPv6 address stands in brackets; a server that nobody lists is no leader of theirs."""
    rows = [
        {
            "Name": name,
            "Status": "alive",
            "Tags": {"region": EU, "build": "2.0.5", "rpc_addr": host, "port": "4647"},
        }
        for name, host in (("b", "2001:db8::2"), ("a", "10.77.0.1"))
    ]
    script = {**STATUS, MEMBERS: [Answer({"Members": rows})], LEADER: [Answer(leader)]}
    async with asking(site, script) as (region, _):
        assert [server.is_leader for server in (await region.status()).servers] == expected


async def test_status_without_agent_rights_knows_no_enforcement(site: RegionSite) -> None:
    """node:read and node_pool:read are enough for the rest."""
    async with asking(site, {**STATUS, SELF: [FORBIDDEN]}) as (region, _):
        status = await region.status()
    assert (status.server_version, status.enforcement, status.connections_per_client) == ("2.0.5", None, None)


def members(*servers: tuple[str, str, str]) -> Answer:
    """Servers by region, status and version."""
    rows = [
        {"Status": status, "Tags": {"region": region, "build": build}} for region, status, build in servers
    ]
    return Answer({"Members": rows})


async def test_status_gives_the_oldest_living_server(site: RegionSite) -> None:
    """A client must not be newer than any server of its region; other regions and the dead do not count."""
    servers = members(
        ("eu-north", "alive", "2.0.5"),
        ("eu-north", "alive", "1.11.1"),
        ("eu-north", "left", "1.6.5"),
        ("us-west", "alive", "1.5.0"),
    )
    async with asking(site, {**STATUS, MEMBERS: [servers]}) as (region, _):
        assert (await region.status()).server_version == "1.11.1"


async def test_status_of_a_region_before_introductions(site: RegionSite) -> None:
    """Nomad before 1.11 has no such setting."""
    old = Answer({"config": {"Region": EU, "Server": {}}})
    async with asking(site, {**STATUS, SELF: [old]}) as (region, _):
        status = await region.status()
    assert (status.enforcement, status.connections_per_client) == (None, None)


async def test_configuration_of_another_region_s_server_does_not_count(site: RegionSite) -> None:
    """Lists are forwarded to the region that is asked for; an agent tells of itself alone."""
    async with asking(
        site, {**STATUS, MEMBERS: [members(("us-west", "alive", "2.0.4"))]}, name=RegionName("us-west")
    ) as (region, _):
        assert (await region.status()).enforcement is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (members(("us-west", "alive", "2.0.5")), "region_no_path"),
        (members((EU, "alive", "new")), "region_nonsense"),
    ],
)
async def test_region_without_usable_servers_is_refused(site: RegionSite, answer: Answer, code: str) -> None:
    """Its name is not Nomad's, or what it says is no version."""
    async with asking(site, {**STATUS, MEMBERS: [answer]}) as (region, _):
        await refused(code, region.status())


async def test_introduction_is_asked_for_with_a_duration_text(site: RegionSite) -> None:
    """A number would be nanoseconds: the token would have expired on arrival, with status 200."""
    async with asking(site, {MINT: [Answer.recorded("token: minted")]}) as (region, api):
        await region.introduce("gpu9", "default", 120)
    (seen,) = api.seen
    assert json.loads(seen.body) == {"NodeName": "gpu9", "NodePool": "default", "TTL": "120s"}


async def test_introduction_is_posted_to_the_region(site: RegionSite) -> None:
    """The call names its region."""
    async with asking(site, {MINT: [Answer.recorded("token: minted")]}) as (region, api):
        await region.introduce("gpu9", "default", 120)
    (seen,) = api.seen
    assert (seen.method, seen.query) == ("POST", {"region": EU})


@pytest.mark.parametrize(
    "name", ["token: minted", "token: TTL above the maximum (clamped silently)"], ids=["asked for", "clamped"]
)
async def test_introduction_ends_when_the_region_says(site: RegionSite, name: str) -> None:
    """The token's own claim counts, not what was asked for."""
    async with asking(site, {MINT: [Answer.recorded(name)]}) as (region, _):
        token = await region.introduce("gpu9", "default", 120)
    ends_s = {"token: minted": 1795390992}.get(name, 1795392672)
    assert token.expires_at == datetime.fromtimestamp(ends_s, UTC)


async def test_introduction_shows_in_no_repr(site: RegionSite) -> None:
    """The token is there to be used; its repr tells its end alone."""
    async with asking(site, {MINT: [Answer.recorded("token: minted")]}) as (region, _):
        token = await region.introduce("gpu9", "default", 120)
    assert (token.jwt.startswith("eyJ"), "eyJ" in repr(token)) == (True, False)


async def test_region_without_introductions_says_so(site: RegionSite) -> None:
    """Nomad before 1.11 does not know the path."""
    async with asking(site, {MINT: [Answer(b"Invalid path", 404)]}) as (region, _):
        await refused("introduction_unsupported", region.introduce("gpu9", "gpu", 60))


async def test_introduction_without_the_right_names_it(site: RegionSite) -> None:
    """The policy needs node:write."""
    async with asking(site, {MINT: [Answer.recorded("token: no permission")]}) as (region, _):
        error = await refused("region_forbidden", region.introduce("gpu9", "gpu", 60))
    assert "node:write" in error.message


async def test_introduction_without_the_right_is_asked_for_once(site: RegionSite) -> None:
    """Another try would be refused too."""
    async with asking(site, {MINT: [Answer.recorded("token: no permission")]}) as (region, api):
        await refused("region_forbidden", region.introduce("gpu9", "gpu", 60))
    assert len(api.seen) == 1


@pytest.mark.parametrize(
    "jwt",
    [
        "",
        "eyJ",
        "a.b",
        "a.b.c",
        "a.b\nc.d",
        "a.eyJleHAiOiJ4In0.c",
        "a.eyJleHAiOjk5OTk5OTk5OTk5OTk5OTl9.c",
        "a.W10.c",
    ],
)
def test_token_that_is_none_is_nonsense(jwt: str) -> None:
    """It goes into a line of a conversation and a file: nothing else may come through, and nothing of it is shown."""
    with pytest.raises(RegionError) as caught:
        introduction_token(jwt)
    shown = caught.value.message.replace("introduction token", "")
    assert (caught.value.code, jwt in shown and jwt != "") == ("region_nonsense", False)


ALLOCATIONS_PATH = "/v1/node/bfbc1015-4058-f3b4-baef-e92ffc4ecb53/allocations"
ALLOCATIONS = [
    {"Name": "ray.worker[0]", "ClientStatus": "running"},
    {"Name": "ray.worker[1]", "ClientStatus": "complete"},
    {"Name": "ray.worker[2]", "ClientStatus": "pending"},
]


async def test_allocations_are_those_that_run(site: RegionSite) -> None:
    """Those that are running or will be are named; those that ended are not."""
    async with asking(site, {ALLOCATIONS_PATH: [Answer(ALLOCATIONS)]}) as (region, _):
        running = await region.allocations(NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53"))
    assert [each.name for each in running] == ["ray.worker[0]", "ray.worker[2]"]


async def test_allocations_tell_the_drivers_of_their_own_group(site: RegionSite) -> None:
    """Of a job's groups the allocation has one; a region that leaves the job out tells none."""
    groups = [
        {"Name": "worker", "Tasks": [{"Driver": "docker"}, {"Driver": "exec"}]},
        {"Name": "head", "Tasks": [{"Driver": "raw_exec"}]},
        {"Name": "none", "Tasks": None},
    ]
    rows = [
        {"Name": name, "ClientStatus": "running", "TaskGroup": group, "Job": job}
        for name, group, job in (
            ("a", "worker", {"TaskGroups": groups}),
            ("b", "none", {"TaskGroups": groups}),
            ("c", "worker", {"TaskGroups": None}),
            ("d", "worker", None),
        )
    ]
    async with asking(site, {ALLOCATIONS_PATH: [Answer(rows)]}) as (region, _):
        running = await region.allocations(NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53"))
    assert [(each.name, sorted(each.drivers)) for each in running] == [
        ("a", ["docker", "exec"]),
        ("b", []),
        ("c", []),
        ("d", []),
    ]


async def test_allocations_are_asked_for_over_the_regions_own_connection(site: RegionSite) -> None:
    """By python-nomad, with client certificate, token and region."""
    async with asking(site, {ALLOCATIONS_PATH: [Answer(ALLOCATIONS)]}) as (region, api):
        await region.allocations(NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53"))
    (seen,) = api.seen
    assert (seen.token, seen.query, seen.peer) == (TOKEN, {"region": EU}, "cli.eu-north.nomad")


async def test_allocations_fail_as_everything_does(site: RegionSite) -> None:
    """Not with an error of the library's."""
    async with asking(site, {"/v1/node/n-1/allocations": [FORBIDDEN]}) as (region, _):
        await refused("region_forbidden", region.allocations(NodeId("n-1")))


# --- trust -----------------------------------------------------------------------------------------------------------


async def test_server_name_counts_and_the_address_does_not(site: RegionSite) -> None:
    """A certificate for server.eu-north.nomad alone is right at https://127.0.0.1."""
    async with asking(site, {NODES: [NO_NODES]}) as (region, api):
        await region.nodes()
    assert [seen.host.partition(":")[0] for seen in api.seen] == ["127.0.0.1"]


OTHER_NAMES = pytest.mark.parametrize(
    "names", [["127.0.0.1", "localhost"], ["server.us-west.nomad", "127.0.0.1"]]
)


@OTHER_NAMES
async def test_certificate_of_another_name_is_refused(site: RegionSite, names: list[str]) -> None:
    """Though it bears the very address, and the region's CA signed it; the hint has the name that it lacks."""
    async with site.serving({NODES: [NO_NODES]}, names=names) as (url, _), opened(site, url) as region:
        error = await refused("region_untrusted", region.nodes(), TrustError)
    assert SERVER_NAME in error.hint


@OTHER_NAMES
async def test_server_of_another_name_is_sent_no_token(site: RegionSite, names: list[str]) -> None:
    """No request reaches it."""
    async with site.serving({NODES: [NO_NODES]}, names=names) as (url, api), opened(site, url) as region:
        await refused("region_untrusted", region.nodes(), TrustError)
    assert api.seen == []


async def test_foreign_ca_is_refused(site: RegionSite) -> None:
    """The hint names the setting."""
    async with (
        site.serving({NODES: [NO_NODES]}, signer=pki.root()) as (url, _),
        opened(site, url) as region,
    ):
        error = await refused("region_untrusted", region.nodes(), TrustError)
    assert "tls.ca" in error.hint


async def test_server_of_a_foreign_ca_is_sent_no_token(site: RegionSite) -> None:
    """No request reaches it."""
    async with (
        site.serving({NODES: [NO_NODES]}, signer=pki.root()) as (url, api),
        opened(site, url) as region,
    ):
        await refused("region_untrusted", region.nodes(), TrustError)
    assert api.seen == []


async def test_expired_certificate_is_refused(site: RegionSite) -> None:
    """The hint names the clock as well."""
    begins = datetime.now(UTC) - timedelta(days=2)
    serving = site.serving({NODES: [NO_NODES]}, begins=begins, lasts=timedelta(days=1))
    async with serving as (url, _), opened(site, url) as region:
        error = await refused("region_untrusted", region.nodes(), TrustError)
    assert "clock" in error.hint


async def test_foreign_ca_is_not_passed_over(site: RegionSite) -> None:
    """Somebody who answers in the region's place is no reason to try the next address."""
    script = {NODES: [NO_NODES]}
    async with (
        site.serving(script, signer=pki.root()) as (bad, _),
        site.serving(script) as (good, api),
        opened(site, bad, good) as region,
    ):
        await refused("region_untrusted", region.nodes(), TrustError)
    assert api.seen == []


async def test_client_certificate_is_presented(site: RegionSite) -> None:
    """Its key came from a secret source."""
    async with asking(site, {NODES: [NO_NODES]}) as (region, api):
        await region.nodes()
    assert [seen.peer for seen in api.seen] == ["cli.eu-north.nomad"]


async def test_missing_client_certificate_is_explained(site: RegionSite, clock: ManualClock) -> None:
    """The API wants one (verify_https_client), and the inventory names none: its alert comes while we read."""
    async with site.refusing_strangers() as url:
        settings = site.settings(url, with_client=False)
        async with NomadRegion.open(settings, site.reveal, sleep=clock.sleep) as region:
            error = await refused("client_certificate_refused", region.nodes())
    assert "tls.client" in error.hint


async def test_plain_http_is_nonsense(site: RegionSite) -> None:
    """The port of something else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with NomadRegion.open(site.settings(url), site.reveal) as region:
            error = await refused("region_nonsense", region.nodes())
    assert "does not speak TLS" in error.message


def test_client_key_is_in_no_file(site: RegionSite) -> None:
    """OpenSSL reads it from a pipe: nothing is written anywhere."""
    client_context(site.settings(NOBODY).tls, site.reveal)
    files = {path.name for path in site.directory.iterdir()}
    assert [name for name in files if site.client.key_pem in (site.directory / name).read_text()] == []


def test_client_key_leaves_nothing_open(site: RegionSite) -> None:
    """The pipe's descriptors are closed."""
    before = set(Path("/dev/fd").iterdir())
    client_context(site.settings(NOBODY).tls, site.reveal)
    assert set(Path("/dev/fd").iterdir()) - before == set()


def unusable(site: RegionSite, code: str, key_pem: str | None = None) -> None:
    if key_pem is not None:
        site.secrets[SecretRef("env", "CLI_KEY")] = key_pem
    with pytest.raises(ConfigurationError) as caught:
        NomadRegion.open(site.settings(NOBODY), site.reveal)
    secret = site.secrets[SecretRef("env", "CLI_KEY")]
    assert (caught.value.code, secret in caught.value.message and secret != "") == (code, False)


@pytest.mark.parametrize(
    "key_pem",
    ["", "nonsense", pki.key_pem(pki.root().key, b"passphrase")],
    ids=["empty", "nonsense", "encrypted"],
)
def test_client_key_that_cannot_be_used_is_refused(site: RegionSite, key_pem: str) -> None:
    """An encrypted one too: nobody is asked for a passphrase in the middle of a rollout."""
    unusable(site, "key_unreadable", key_pem)


def test_client_pair_of_two_halves_is_refused(site: RegionSite) -> None:
    """Key and certificate must belong together."""
    unusable(site, "pair_mismatch", pki.root().key_pem)


def test_client_pair_that_openssl_refuses_is_refused(site: RegionSite) -> None:
    """A key of 1024 bits is too weak for it."""
    weak = pki.root(key=rsa.generate_private_key(65537, 1024))  # noqa: S505  (that is the point)
    pki.write(site.directory / "cli.pem", weak)
    unusable(site, "certificate_unreadable", weak.key_pem)


@pytest.mark.parametrize("name", ["ca.pem", "cli.pem"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\x00", None])
def test_certificate_file_that_cannot_be_read_is_refused(
    site: RegionSite, name: str, content: bytes | None
) -> None:
    """Missing, empty or not PEM."""
    if content is None:
        (site.directory / name).unlink()
    else:
        (site.directory / name).write_bytes(content)
    unusable(site, "certificate_unreadable")


@pytest.mark.parametrize("address", ["http://127.0.0.1:4646", "https://", "nonsense", "https://[::1", ""])
def test_address_that_is_not_https_is_refused(site: RegionSite, address: str) -> None:
    """A token never goes over a plain connection."""
    with pytest.raises(ConfigurationError) as caught:
        NomadRegion.open(site.settings(address), site.reveal)
    assert caught.value.code == "region_api_invalid"


@pytest.mark.parametrize("token", ["two\nlines", "sp ace", "tök", "\x00"])
def test_token_that_no_header_takes_is_refused(site: RegionSite, token: str) -> None:
    """An HTTP library's own error would show it."""
    site.secrets[SecretRef("env", "TOKEN")] = token
    with pytest.raises(ConfigurationError) as caught:
        NomadRegion.open(site.settings(NOBODY), site.reveal)
    assert (caught.value.code, token in caught.value.message) == ("secret_malformed", False)


# --- what may pass and what does not ---------------------------------------------------------------------------------


async def test_next_address_takes_over_at_once(site: RegionSite, clock: ManualClock) -> None:
    """And keeps the calls that follow: a dead address is not tried again each time."""
    async with (
        site.serving({NODES: [NO_NODES]}) as (url, api),
        opened(site, NOBODY, url, clock=clock) as region,
    ):
        await region.nodes()
        slept = list(clock.slept)
        await region.nodes()
    assert (len(api.seen), slept, clock.slept) == (2, [0.0], [0.0])


async def test_address_that_failed_gets_its_turn_again(site: RegionSite, clock: ManualClock) -> None:
    """When the second one fails too."""
    script = {NODES: [NO_NODES, Answer(b"", 500), NO_NODES]}
    async with site.serving(script) as (url, api), opened(site, url, NOBODY, clock=clock) as region:
        await region.nodes()
        await region.nodes()
    assert len(api.seen) == 3


PASSING = pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer.recorded("any call while the region has no leader"), "region_no_leader"),
        (Answer.recorded("nodes: unknown region"), "region_no_path"),
        (Answer.recorded("the 101st connection from one address"), "region_rate_limited"),
        (Answer(b"rpc error: EOF", 500), "region_failing"),
        (Answer(b"<html>Bad Gateway</html>", 502, {"Content-Type": "text/html"}), "region_failing"),
        (Answer(b"<html>Welcome</html>", 200, {"Content-Type": "text/html"}), "region_nonsense"),
        (Answer(b"no gzip", 200, {"Content-Encoding": "gzip"}), "region_nonsense"),
    ],
    ids=["no leader", "no path", "429", "500", "502", "HTML", "broken gzip"],
)


@PASSING
async def test_what_may_pass_is_tried_again_within_bounds(
    site: RegionSite, clock: ManualClock, answer: Answer, code: str
) -> None:
    """As often as the limits say, and the error is that of the last try."""
    async with asking(site, {NODES: [answer]}, clock, CallLimits(attempts=4)) as (region, api):
        await refused(code, region.nodes())
    assert (len(api.seen), len(clock.slept)) == (4, 3)


@PASSING
async def test_waits_between_tries_are_bounded(
    site: RegionSite, clock: ManualClock, answer: Answer, code: str
) -> None:
    """None of the three is longer than the limits say."""
    limits = CallLimits(attempts=4, first_wait_s=1, longest_wait_s=2)
    async with asking(site, {NODES: [answer]}, clock, limits) as (region, _):
        await refused(code, region.nodes())
    assert [0 <= wait <= 2 for wait in clock.slept] == [True] * 3


@pytest.mark.parametrize(
    "name",
    [
        "any call while the region has no leader",
        "nodes: unknown region",
        "the 101st connection from one address",
    ],
)
async def test_what_passes_is_forgotten(site: RegionSite, clock: ManualClock, name: str) -> None:
    """One refusal, then the answer."""
    async with asking(site, {NODES: [Answer.recorded(name), Answer.recorded("nodes: all")]}, clock) as (
        region,
        _,
    ):
        assert len(await region.nodes()) == len(recording("nodes: all")["response"]["body"])


@pytest.mark.parametrize(
    ("answer", "code", "asked"),
    [
        (FORBIDDEN, "region_forbidden", 2),
        (Answer.recorded("nodes: unknown token"), "region_forbidden", 2),
        (Answer.recorded("nodes: bad filter"), "region_refused", 1),
        (Answer(b"", 404), "region_not_found", 1),
        (Answer(b"", 302, {"Location": "https://elsewhere.example/"}), "region_refused", 1),
    ],
    ids=["no token", "unknown token", "400", "404", "redirect"],
)
async def test_what_will_not_pass_is_not_tried_again(
    site: RegionSite, clock: ManualClock, answer: Answer, code: str, asked: int
) -> None:
    """A 403 is asked once more without ``stale``: a server without a leader says the same."""
    async with asking(site, {NODES: [answer]}, clock) as (region, api):
        await refused(code, region.nodes())
    assert (len(api.seen), clock.slept) == (asked, [])


async def test_leaderless_server_that_says_403_is_seen_through(site: RegionSite, clock: ManualClock) -> None:
    """Stale reads get 403 there, others the truth, which may pass."""
    script = {NODES: [FORBIDDEN, Answer.recorded("any call while the region has no leader"), NO_NODES]}
    async with asking(site, script, clock) as (region, api):
        await region.nodes()
    assert [seen.query.get("stale") for seen in api.seen] == ["true", None, None]


KNOWN = {"X-Nomad-Index": "481", "X-Nomad-KnownLeader": "true", "X-Nomad-LastContact": "0"}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Nomad-KnownLeader": "false"},
        {"X-Nomad-LastContact": "9223372036854"},
        {"X-Nomad-Index": "420"},
    ],
    ids=["no leader", "no contact", "index went back"],
)
async def test_answer_from_an_old_log_is_no_answer(site: RegionSite, headers: dict[str, str]) -> None:
    """A server that has just restarted is not believed: the leader is asked instead."""
    known = Answer.recorded("nodes: all")
    script = [
        replace(known, headers=KNOWN),
        Answer([], headers=KNOWN | headers),
        replace(known, headers=KNOWN),
    ]
    async with asking(site, {NODES: script}) as (region, api):
        before, after = await region.nodes(), await region.nodes()
    assert (before, [seen.query.get("stale") for seen in api.seen]) == (after, ["true", "true", None])


async def test_recent_stale_answer_is_believed(site: RegionSite) -> None:
    """A follower that heard of its leader a moment ago, and whose index did not go back, costs one request."""
    headers = KNOWN | {"X-Nomad-LastContact": "120"}
    async with asking(site, {NODES: [Answer([], headers=headers)]}) as (region, api):
        await region.nodes()
        await region.nodes()
    assert [seen.query.get("stale") for seen in api.seen] == ["true", "true"]


async def test_unreachable_region_is_said_to_be_so(site: RegionSite, clock: ManualClock) -> None:
    """The message has the address."""
    settings = site.settings(NOBODY)
    async with NomadRegion.open(settings, site.reveal, CallLimits(attempts=3), clock.sleep) as region:
        error = await refused("region_unreachable", region.nodes())
    assert NOBODY in error.message


async def test_unreachable_region_is_tried_as_often_as_the_limits_say(
    site: RegionSite, clock: ManualClock
) -> None:
    """Three tries have two waits between them."""
    settings = site.settings(NOBODY)
    async with NomadRegion.open(settings, site.reveal, CallLimits(attempts=3), clock.sleep) as region:
        await refused("region_unreachable", region.nodes())
    assert len(clock.slept) == 2


@asynccontextmanager
async def hanging_up(*, at_once: bool) -> AsyncIterator[str]:
    """Something that accepts and says nothing, hanging up at the first byte or never."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1 if at_once else -1)
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_first_address_that_swallows_packets_costs_little(site: RegionSite, clock: ManualClock) -> None:
    """The next one is asked long before the patience for an only address ends, and is asked first from then on."""
    limits = CallLimits(first_connect_s=0.05, connect_s=80.0)
    waits: list[Wait] = []

    async def waited(wait: Wait) -> None:
        waits.append(wait)

    async with hanging_up(at_once=False) as dead, site.serving({NODES: [NO_NODES]}) as (url, api):
        settings = site.settings(dead, url)
        async with NomadRegion.open(settings, site.reveal, limits, clock.sleep, waited) as region:
            await region.nodes()
            await region.nodes()
    assert (len(api.seen), clock.slept) == (2, [0.0])
    assert [(wait.address, wait.attempt, wait.error.code) for wait in waits] == [
        (dead, 1, "region_unreachable")
    ]


async def test_waiting_for_a_region_is_told(site: RegionSite, clock: ManualClock) -> None:
    """Which address, which attempt, how long yet and why, before each wait; not once nothing more is tried."""
    waits: list[Wait] = []

    async def waited(wait: Wait) -> None:
        assert len(clock.slept) == len(waits)
        waits.append(wait)

    failing = Answer(b"rpc error: EOF", 500)
    async with site.serving({NODES: [failing]}) as (url, _):
        opened = NomadRegion.open(
            site.settings(url), site.reveal, CallLimits(attempts=3), clock.sleep, waited
        )
        async with opened as region:
            await refused("region_failing", region.nodes())
    assert [(wait.address, wait.attempt, wait.error.code) for wait in waits] == [
        (url, 1, "region_failing"),
        (url, 2, "region_failing"),
    ]
    assert 0 <= waits[0].waited_s <= waits[1].waited_s


async def ask_once(site: RegionSite, *, at_once: bool) -> None:
    limits = CallLimits(attempts=2, connect_s=0.05)
    async with (
        hanging_up(at_once=at_once) as url,
        NomadRegion.open(site.settings(url), site.reveal, limits, ManualClock().sleep) as region,
    ):
        await refused("region_unreachable", region.nodes())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("at_once", [True, False], ids=["hangs up", "stays silent"])
def test_handshake_that_is_not_answered_ends(site: RegionSite, *, at_once: bool) -> None:
    """Neither is a matter of trust."""
    asyncio.run(ask_once(site, at_once=at_once))
    gc.collect()  # httpcore leaves the socket of a handshake that timed out to the collector


def test_recorded_ca_stands_for_its_file(site: RegionSite) -> None:
    """The catalog remembers the CA itself; the file may be gone."""
    settings = site.settings(NOBODY)
    (site.directory / "ca.pem").unlink()
    recorded = replace(settings.tls, ca_pem=site.root.pem)
    assert len(client_context(recorded, site.reveal).get_ca_certs()) == 1


def test_recorded_ca_that_is_none_is_refused(site: RegionSite) -> None:
    """With the way to make the record anew."""
    with pytest.raises(ConfigurationError) as caught:
        client_context(replace(site.settings(NOBODY).tls, ca_pem="nonsense"), site.reveal)
    assert (caught.value.code, "rebuild" in caught.value.hint) == ("certificate_unreadable", True)


@pytest.mark.parametrize(
    "limits",
    [CallLimits(attempts=2, silence_s=0.05), CallLimits(deadline_s=1.5)],
    ids=["silence", "deadline"],
)
async def test_request_that_is_not_answered_ends(site: RegionSite, limits: CallLimits) -> None:
    """Whichever bound comes first."""
    async with asking(site, {NODES: [Answer(status=0)]}, limits=limits) as (region, _):
        await refused("region_unreachable", region.nodes())


async def test_deadline_tells_the_last_reason(site: RegionSite) -> None:
    """Not that time ran out, which helps nobody."""

    async def outlast(_: float) -> None:
        raise TimeoutError

    script = {NODES: [Answer.recorded("any call while the region has no leader")]}
    async with (
        site.serving(script) as (url, _),
        NomadRegion.open(site.settings(url), site.reveal, sleep=outlast) as region,
    ):
        await refused("region_no_leader", region.nodes())


async def test_calls_that_fail_together_move_on_once(site: RegionSite, clock: ManualClock) -> None:
    """Two calls that find an address dead do not skip the one after it."""
    async with (
        site.serving({NODES: [NO_NODES]}) as (url, api),
        opened(site, NOBODY, url, NOBODY, clock=clock) as region,
    ):
        await asyncio.gather(region.nodes(), region.nodes())
    assert (len(api.seen), set(clock.slept)) == (2, {0.0})


async def test_status_fails_where_the_region_does(site: RegionSite, clock: ManualClock) -> None:
    """Only a 403 of the agent's configuration is taken as it is."""
    async with asking(site, {**STATUS, SELF: [Answer(b"", 500)]}, clock) as (region, _):
        await refused("region_failing", region.status())


# --- nonsense and bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b'[{"ID": 5}]',
        b'[{"ID": "a"}]',
        b"[" * 100_000,
        b'[{"X": ' + b"[" * 5000 + b"]" * 5000 + b"}]",
        b'[{"ID": "\xff"}]',
    ],
    ids=["nothing", "object", "null", "number", "half", "open", "deep", "bad UTF-8"],
)
async def test_json_of_another_shape_is_nonsense(site: RegionSite, body: bytes) -> None:
    """What does not fit is not guessed at."""
    async with asking(site, {NODES: [Answer(body)]}) as (region, _):
        await refused("region_nonsense", region.nodes())


STUB: dict[str, object] = {
    "ID": "n-1",
    "Name": "rig\x1b[31m-001\u202e",
    "Address": "10.0.0.1",
    "Datacenter": "rey1",
    "Status": "ready",
    "SchedulingEligibility": "eligible",
    "Drivers": None,
    "Tomorrow": {"unknown": []},
}


@pytest.mark.parametrize("resources", [{}, {"NodeResources": None}, {"NodeResources": {"Devices": None}}])
async def test_node_without_devices_has_none(site: RegionSite, resources: dict[str, object]) -> None:
    """Null and absent are the same, old servers lack fields, new ones have more."""
    async with asking(site, {NODES: [Answer([{**STUB, **resources}])]}) as (region, _):
        (node,) = await region.nodes(with_devices=True)
    assert (node.devices, node.gpu_count, node.node_pool, node.drivers_healthy) == ((), 0, "default", ())


async def test_names_of_nodes_are_made_harmless(site: RegionSite) -> None:
    """A node is called what its host says."""
    async with asking(site, {NODES: [Answer([STUB])]}) as (region, _):
        (node,) = await region.nodes()
    assert node.name == "rig-001"


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"Int": 24, "Unit": "GiB"}, 24576),
        ({"Int": 24, "Unit": "furlong"}, None),
        ({"Int": None, "Unit": "MiB"}, None),
        (None, None),
    ],
)
async def test_memory_in_units_we_know(
    site: RegionSite, memory: dict[str, object] | None, expected: int | None
) -> None:
    """Unknown stays unknown."""
    attributes = {"memory": memory} if memory else None
    device = {"Vendor": "nvidia", "Type": "gpu", "Name": "X", "Attributes": attributes, "Instances": None}
    async with asking(site, {NODES: [Answer([{**STUB, "NodeResources": {"Devices": [device]}}])]}) as (
        region,
        _,
    ):
        (node,) = await region.nodes(with_devices=True)
    assert node.devices == (Device("nvidia", "gpu", "X", (), 0, expected),)


async def test_answer_without_end_is_cut(site: RegionSite) -> None:
    """A page unpacks to 64 MiB at most, however small it travels."""
    bomb = gzip.compress(b" " * (BODY_LIMIT_BYTES + 1), 1)
    async with asking(site, {NODES: [Answer(bomb, 200, {"Content-Encoding": "gzip"})]}) as (region, _):
        error = await refused("region_nonsense", region.nodes())
    assert "more than 64 MB" in error.message


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br"])
async def test_compression_that_was_not_asked_for_is_not_decompressed(
    site: RegionSite, encoding: str, status: int
) -> None:
    """Compressed twice, 3.5 kB stand for 4 GB: the bound counts decompressed bytes, before they are there."""
    body = gzip.compress(gzip.compress(b"[" + b" " * 10_000_000 + b"]"))
    answer = Answer(body, status, {"Content-Encoding": encoding})
    async with asking(site, {NODES: [answer]}) as (region, _):
        error = await refused("region_nonsense", region.nodes())
    assert encoding in error.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"NOMAD 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n[",
    ],
    ids=["nothing", "no HTTP", "length", "long header", "cut", "chunk", "cut chunk"],
)
async def test_broken_http_may_pass(site: RegionSite, clock: ManualClock, raw: bytes) -> None:
    """It is tried again within the limits, and never taken for an answer."""
    async with site.answering(raw) as url:
        settings = site.settings(url)
        async with NomadRegion.open(settings, site.reveal, CallLimits(attempts=2), clock.sleep) as region:
            await refused("region_unreachable", region.nodes())
    assert len(clock.slept) == 1


LONG_REFUSAL = Answer(b"\x1b[31m" + b"no! " * 10_000, 400)


async def test_long_refusal_is_cut(site: RegionSite) -> None:
    """An error page is quoted, not repeated."""
    async with asking(site, {NODES: [LONG_REFUSAL]}) as (region, _):
        error = await refused("region_refused", region.nodes())
    assert len(error.message) < 400


async def test_quoted_refusal_is_made_harmless(site: RegionSite) -> None:
    """Its text is there without the control characters."""
    async with asking(site, {NODES: [LONG_REFUSAL]}) as (region, _):
        error = await refused("region_refused", region.nodes())
    assert ("no! " in error.message, "\x1b" in error.message) == (True, False)


async def test_connections_are_few_and_kept(site: RegionSite) -> None:
    """A server takes 100 of one address, and other tools of the site have some."""
    async with asking(site, {NODES: [NO_NODES]}) as (region, api):
        await asyncio.gather(*(region.nodes() for _ in range(50)))
    assert (len(api.seen), len(api.connections) <= CONNECTIONS) == (50, True)


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_token_is_in_no_log_and_no_error(site: RegionSite, caplog: pytest.LogCaptureFixture) -> None:
    """At the libraries' most talkative, over success and failures, with an API that echoes it; it did arrive."""
    caplog.set_level(logging.DEBUG)
    echo = Answer(f"your token {TOKEN} is bad".encode(), 500)
    async with asking(site, {NODES: [NO_NODES, echo], **STATUS}, ManualClock()) as (region, api):
        await region.nodes()
        await region.status()
        await refused("region_failing", region.nodes())
        shown = [record.getMessage() for record in caplog.records] + [repr(region), repr(vars(region))]
    assert (any(TOKEN in text for text in shown), {seen.token for seen in api.seen}) == (False, {TOKEN})


async def test_control_log_would_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    """The libraries do log at this level, and a token in a log would be found."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("aiohttp.client").debug("%s", TOKEN)
    assert TOKEN in caplog.text


def test_endpoint_shows_no_token() -> None:
    """Its repr has the addresses."""
    endpoint = Endpoint((NOBODY,), SERVER_NAME, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), TOKEN)
    assert (NOBODY in repr(endpoint), TOKEN in repr(endpoint)) == (True, False)


# --- the library below -----------------------------------------------------------------------------------------------


def descendants(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(found for child in kind.__subclasses__() for found in descendants(child))]


NOWHERE = ConnectionKey(
    "nowhere", 1, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)
ARGUMENTS: dict[type[Exception], tuple[object, ...]] = {
    aiohttp.ClientConnectorCertificateError: (NOWHERE, ValueError("why")),
    aiohttp.client_exceptions.UnixClientConnectorError: ("/nowhere", NOWHERE, OSError("why")),
    aiohttp.ClientConnectorError: (NOWHERE, OSError("why")),
    aiohttp.ServerFingerprintMismatch: (b"", b"", "nowhere", 1),
    aiohttp.ClientResponseError: (
        aiohttp.RequestInfo(URL(NOBODY), "GET", CIMultiDictProxy(CIMultiDict())),
        (),
    ),
}
"""What errors are made of that need more than a text."""


@pytest.mark.parametrize("kind", descendants(aiohttp.ClientError))
async def test_every_error_of_the_library_is_translated(
    site: RegionSite, kind: type[aiohttp.ClientError]
) -> None:
    """Those that a later version adds, too."""
    site_http = RegionHttp(
        Endpoint((NOBODY,), SERVER_NAME, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), TOKEN),
        CallLimits(),
        ManualClock().sleep,
    )
    arguments = next((ARGUMENTS[base] for base in kind.__mro__ if base in ARGUMENTS), ("why",))
    async with asking(site, {NODES: [NO_NODES]}):
        translated = getattr(site_http._translated(kind(*arguments), NOBODY), "error", None)
    await site_http.close()
    assert isinstance(translated, RegionError)
