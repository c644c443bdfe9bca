"""Recorded answers of a region in which any one value is absurd: each is refused as nonsense, or read like any other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import NodeId
from ionetctl.nomad.api import NomadRegion
from ionetctl.nomad.http import Call, RegionHttp, Reply
from ionetctl.placement.readiness import Inspection, RegionHosts
from ionetctl.report.region import document
from tests.support.absurd import absurd_documents
from tests.support.region_server import Answer
from tests.support.sample import EU_NORTH, REGION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

NODE: Final = NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53")
SELF: Final = "agent self (cut to what matters)"


@dataclass
class Http:
    """Answers each path with a body; stands for the connections to a region."""

    answers: Mapping[str, bytes]
    certificate: bytes | None = None
    seen: list[str] = field(default_factory=list)

    async def send(self, call: Call) -> Reply:
        self.seen.append(call.path)
        return Reply(self.answers[call.path], {})


async def checked(region: NomadRegion) -> None:
    """The region's status, and everything that is calculated and reported of it."""
    status = await region.status()
    assert status.server_version == "2.0.5"
    at = datetime(2026, 11, 26, tzinfo=UTC)
    found = Inspection(REGION, status, {}, RegionHosts(1, 1, 0), (), "2.0.5", at)
    msgspec.json.encode(document([found]))


async def listed(region: NomadRegion) -> None:
    """All nodes, with what a host's node is judged by."""
    msgspec.json.encode(await region.nodes(with_devices=True))


async def looked_at(region: NomadRegion) -> None:
    """One node."""
    msgspec.json.encode(await region.node(NODE))


async def introduced(region: NomadRegion) -> None:
    """A token."""
    token = await region.introduce("g1", "gpu", 60)
    token.expires_at.isoformat()


STATUS: Final = {
    "/v1/agent/self": SELF,
    "/v1/agent/members": "members",
    "/v1/status/leader": "leader",
    "/v1/node/pools": "pools",
}
USES: Final[dict[str, tuple[str, str, Callable[[NomadRegion], Awaitable[None]]]]] = {
    **{name: (path, name, checked) for path, name in STATUS.items()},
    "nodes": ("/v1/nodes", "nodes: with resources", listed),
    "node": (f"/v1/node/{NODE}", "node: detail with GPUs", looked_at),
    "token": ("/v1/acl/identity/client-introduction-token", "token: minted", introduced),
}


@pytest.mark.parametrize("name", USES)
async def test_any_value_of_an_answer_is_read_or_refused(name: str) -> None:
    """Each field of each answer, with numbers, texts, lists and mappings that no region gives."""
    path, recorded, use = USES[name]
    others = {other: Answer.recorded(title).content for other, title in STATUS.items()}
    holder: dict[str, Any] = {"body": Answer.recorded(recorded).body}
    await use(
        NomadRegion(EU_NORTH, cast("RegionHttp", Http(others | {path: Answer.recorded(recorded).content})))
    )
    refused = 0
    for where, text in absurd_documents(holder):
        body = text.removeprefix(b'{"body": ')[:-1]
        http = Http(others | {path: body})
        try:
            await use(NomadRegion(EU_NORTH, cast("RegionHttp", http)))
        except RegionError:
            refused += 1
        except Exception as error:
            raise AssertionError(where) from error
        assert path in http.seen
    assert refused > 0


@pytest.mark.parametrize(
    "server",
    [
        {"MinHeartbeatTTL": 10**400},
        {"MinHeartbeatTTL": -1},
        {"FailoverHeartbeatTTL": 1e300},
        {"MaxHeartbeatsPerSecond": 5e-324},
        {"MaxHeartbeatsPerSecond": -1},
    ],
    ids=["beyond a float", "negative", "no integer", "one in aeons", "negative rate"],
)
async def test_absurd_heartbeats_are_nonsense(server: dict[str, Any]) -> None:
    """Settings from which no interval can be calculated are not Nomad's."""
    answers = {path: Answer.recorded(title).content for path, title in STATUS.items()}
    body = msgspec.json.decode(answers["/v1/agent/self"])
    body["config"]["Server"] = "@"
    text = msgspec.json.encode(body).replace(b'"@"', str(server).replace("'", '"').encode())
    with pytest.raises(RegionError) as caught:
        await checked(NomadRegion(REGION.name, cast("RegionHttp", Http(answers | {"/v1/agent/self": text}))))
    assert caught.value.code == "region_nonsense"
