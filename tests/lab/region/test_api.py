"""The region's API beyond the recorded calls: writes, failure modes, access."""

from __future__ import annotations

import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from ionetctl.lab.region.api.application import FAILURE_MODES
from ionetctl.lab.region.api.http_responses import go_json_error
from ionetctl.lab.region.process import ControlFile, apply_control
from ionetctl.lab.region.state.allocation_records import Work
from ionetctl.lab.region.state.region_state import METADATA_DELAY_S, RegistrationError
from tests.lab.running import RunningRegion, new_rig

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def region(tmp_path: Path, region: RunningRegion) -> RunningRegion:
    """The region with one node, ``rig-1``."""
    rig = new_rig(tmp_path, "rig-1", region)
    rig.introduce(await region.introduce("rig-1"))
    await rig.run_until("node registration complete")
    return region


def node_id(region: RunningRegion) -> str:
    (found,) = region.state.nodes
    return found


async def test_without_a_client_certificate_nobody_gets_in(region: RunningRegion) -> None:
    """The API asks for a certificate; with one the same call is answered."""
    bare = ssl.create_default_context(cafile=str(region.pki / "ca.pem"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=bare)) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{region.api_url}/v1/regions")
    assert (await region.call("GET", "/v1/regions")).status == 200


async def test_a_right_that_a_token_lacks_is_refused(region: RunningRegion) -> None:
    """``node:read`` allows reading nodes, and no introduction tokens."""
    token = region.state.add_token("reader", ["node:read"])
    read = await region.call("GET", "/v1/nodes", headers={"X-Nomad-Token": token})
    mint = await region.call(
        "POST", "/v1/acl/identity/client-introduction-token", json={}, headers={"X-Nomad-Token": token}
    )
    assert (read.status, mint.status, await mint.text()) == (200, 403, "Permission denied")


async def test_a_purged_node_is_gone(region: RunningRegion) -> None:
    """The list is empty, and a second purge is refused as Nomad refuses it."""
    found = node_id(region)
    statuses = [(await region.call("POST", f"/v1/node/{found}/purge")).status for _ in range(2)]
    assert (statuses, await (await region.call("GET", "/v1/nodes")).json()) == ([200, 500], [])


async def test_a_heartbeat_of_a_purged_node_is_refused(region: RunningRegion) -> None:
    """The answer makes it register again."""
    found = node_id(region)
    region.state.purge(found)
    with pytest.raises(RegistrationError, match="node not found"):
        region.state.heartbeat(found, "secret", "", time.time())


async def test_a_heartbeat_with_another_secret_is_refused(region: RunningRegion) -> None:
    """The node id alone is not enough."""
    with pytest.raises(RegistrationError, match="Permission denied"):
        region.state.heartbeat(node_id(region), "another", "", time.time())


async def test_eligibility_has_two_values(region: RunningRegion) -> None:
    """Any other is refused, and changes nothing."""
    path = f"/v1/node/{node_id(region)}/eligibility"
    refused = await region.call("POST", path, json={"Eligibility": "perhaps"})
    assert (refused.status, region.state.nodes[node_id(region)]["SchedulingEligibility"]) == (500, "eligible")


async def test_allocations_of_a_node(region: RunningRegion) -> None:
    """Those of the node, each with its job; the region's list has them by pages, of one namespace or of all."""
    found = node_id(region)
    works = (Work("ray", namespace="blue"), Work("door", "exec", "ops", status="complete"))
    first, second = (region.state.allocate(found, work, time.time()) for work in works)
    region.token = region.state.add_token("jobs", ["node:read", "read-job"])
    of_node = await (await region.call("GET", f"/v1/node/{found}/allocations")).json()
    assert {each["ID"]: each["Job"]["TaskGroups"][0]["Tasks"][0]["Driver"] for each in of_node} == {
        first: "docker",
        second: "exec",
    }
    blue = await (await region.call("GET", "/v1/allocations", params={"namespace": "blue"})).json()
    assert [(each["ID"], each["AllocatedResources"]) for each in blue] == [(first, None)]
    everywhere = {"namespace": "*", "per_page": "1"}
    page = await region.call("GET", "/v1/allocations", params=everywhere)
    following = {**everywhere, "next_token": page.headers["X-Nomad-Nexttoken"]}
    last = await region.call("GET", "/v1/allocations", params=following)
    assert (
        {each["ID"] for each in (*await page.json(), *await last.json())},
        last.headers.get("X-Nomad-Nexttoken"),
    ) == (
        {first, second},
        None,
    )
    running = await region.call(
        "GET", "/v1/allocations", params={"namespace": "*", "filter": 'ClientStatus == "running"'}
    )
    assert [each["ID"] for each in await running.json()] == [first]
    region.token = region.state.add_token("nodes", ["node:read"])
    untold = await region.call("GET", f"/v1/node/{found}/allocations")
    refused = await region.call("GET", "/v1/allocations", params={"namespace": "*"})
    assert (await untold.json(), refused.status) == ([], 403)


async def test_use_of_a_client_that_is_down(region: RunningRegion) -> None:
    """No server has a connection to it; the control is one that is up."""
    found = node_id(region)
    up = await region.call("GET", "/v1/client/stats", params={"node_id": found})
    region.state.nodes[found]["Status"] = "down"
    down = await region.call("GET", "/v1/client/stats", params={"node_id": found})
    assert (up.status, down.status, await down.text()) == (200, 404, "No path to node")


async def metadata(region: RunningRegion, node: str, meta: object = None) -> tuple[int, Any]:
    """Status and answer of reading a node's metadata, or of changing it."""
    body = None if meta is None else json.dumps({"NodeID": node, "Meta": meta})
    verb = "GET" if meta is None else "POST"
    answer = await region.call(verb, "/v1/client/metadata", params={"node_id": node}, data=body)
    text = await answer.text()
    return answer.status, json.loads(text) if answer.content_type == "application/json" else text


async def test_changed_metadata_is_in_node_documents_later(region: RunningRegion) -> None:
    """As with Nomad, the list of nodes shows the change some seconds later."""
    found = node_id(region)
    _, told = await metadata(region, found, {"ionet_admission": "released", "rack": None, "nothing": None})
    before = dict(region.state.nodes[found]["Meta"])
    region.state.update(time.time() + METADATA_DELAY_S)
    assert told == {
        "Dynamic": {"ionet_admission": "released", "rack": None},
        "Meta": {"ionet_admission": "released"},
        "Static": {"rack": "a01"},
    }
    assert (before, region.state.nodes[found]["Meta"]) == ({"rack": "a01"}, {"ionet_admission": "released"})


async def test_dynamic_metadata_replaces_the_configurations(region: RunningRegion) -> None:
    """It stays after a new registration and changes of the configuration."""
    found = node_id(region)
    await metadata(region, found, {"rack": "b02"})
    node = {**region.state.nodes[found], "Meta": {"rack": "c03", "tier": "x"}}
    region.state.register(node, region.state._secrets[found], "", time.time())
    assert region.state.nodes[found]["Meta"] == {"rack": "b02", "tier": "x"}


@pytest.mark.parametrize(
    ("node", "meta", "answer"),
    [
        ("none", {"a": "b"}, (500, "Unknown node none")),
        ("", {}, (400, "missing required Meta object")),
        (
            "",
            {"bad key!": "x"},
            (400, '"bad key!" is invalid; metadata keys must be valid dotted hcl identifiers'),
        ),
    ],
)
async def test_metadata_that_cannot_be_changed(
    region: RunningRegion, node: str, meta: object, answer: tuple[int, str]
) -> None:
    """With Nomad's text for each refusal."""
    assert await metadata(region, node or node_id(region), meta) == answer


async def test_metadata_of_a_node_that_is_down_is_unavailable(region: RunningRegion) -> None:
    """Its agent has it and cannot be reached."""
    found = node_id(region)
    region.state.nodes[found]["Status"] = "down"
    assert [(await metadata(region, found, meta))[0] for meta in (None, {"a": "b"})] == [404, 404]


async def test_eligibility_of_an_unknown_node(region: RunningRegion) -> None:
    """Status 500, as with Nomad; reading an unknown node is status 404."""
    answer = await region.call("POST", "/v1/node/none/eligibility", data='{"Eligibility": "eligible"}')
    assert (answer.status, await answer.text()) == (500, "node not found")


async def test_gzip_is_honoured(region: RunningRegion) -> None:
    """Only a client that accepts it gets it."""
    encodings = [
        (await region.call("GET", "/v1/nodes", headers={"Accept-Encoding": accepted})).headers.get(
            "Content-Encoding"
        )
        for accepted in ("gzip", "identity")
    ]
    assert encodings == ["gzip", None]


@pytest.mark.parametrize("mode", sorted(FAILURE_MODES))
async def test_an_outage_can_be_rehearsed(region: RunningRegion, mode: str) -> None:
    """With a failure mode every call fails; without it the API works again."""
    apply_control({"api": mode}, region.api, region.rpc)
    broken = await region.call("GET", "/v1/nodes")
    apply_control({}, region.api, region.rpc)
    assert (broken.status, await broken.text()) == (FAILURE_MODES[mode][0], FAILURE_MODES[mode][2])
    assert (await region.call("GET", "/v1/nodes")).status == 200


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, (500, "No cluster leader")), ({"stale": "true"}, (403, "Permission denied"))],
)
async def test_without_a_leader(
    region: RunningRegion, params: dict[str, str], expected: tuple[int, str]
) -> None:
    """A stale read is refused with another text, as with Nomad."""
    apply_control({"has_leader": False}, region.api, region.rpc)
    response = await region.call("GET", "/v1/nodes", params=params)
    leader = await region.call("GET", "/v1/status/leader")
    health = await region.call("GET", "/v1/agent/health")
    assert ((response.status, await response.text()), leader.status, health.status) == (expected, 500, 500)


async def test_old_log_answers_stale_reads_alone(region: RunningRegion) -> None:
    """The headers say that such an answer is none; a consistent read has the node."""
    apply_control({"old_log": True}, region.api, region.rpc)
    stale = await region.call("GET", "/v1/nodes", params={"stale": "true"})
    consistent = await region.call("GET", "/v1/nodes")
    assert [
        (len(await one.json()), one.headers["X-Nomad-KnownLeader"], one.headers["X-Nomad-LastContact"])
        for one in (stale, consistent)
    ] == [(0, "false", "9223372036854"), (1, "true", "0")]


async def test_a_missing_introduction_is_a_warning_where_enforcement_warns(
    tmp_path: Path, region: RunningRegion
) -> None:
    """The node is registered, and the servers' log has a warning."""
    apply_control({"enforcement": "warn"}, region.api, region.rpc)
    rig = new_rig(tmp_path, "rig-2", region)
    await rig.run_until("node registration complete")
    assert region.state.server_log == ["node rig-2: registered without introduction"]


async def test_a_region_that_drops_connections(tmp_path: Path, region: RunningRegion) -> None:
    """Connections are accepted and closed; the agent logs EOF."""
    apply_control({"deaf": True}, region.api, region.rpc)
    rig = new_rig(tmp_path, "rig-2", region)
    await rig.run_until("rpc error: EOF")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/nodes?filter=Bogus.x==1", 400), ("/v1/nothing", 404), ("/v1/node/pool/gpu", 200)],
)
async def test_other_answers(region: RunningRegion, path: str, status: int) -> None:
    """An unknown field, an unknown path, an existing pool."""
    assert (await region.call("GET", path)).status == status


@pytest.mark.parametrize("body", [[1], "text"])
async def test_a_body_that_is_no_object_is_refused(region: RunningRegion, body: Any) -> None:
    """With the reason."""
    response = await region.call("POST", "/v1/acl/identity/client-introduction-token", data=json.dumps(body))
    assert (response.status, (await response.text()).startswith("json: cannot unmarshal")) == (400, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "EOF"),
        ("nonsense", "invalid character 'o' in literal null (expecting 'u')"),
        ("tru", "unexpected EOF"),
        ("x", "invalid character 'x' looking for beginning of value"),
    ],
)
def test_gos_words_for_what_is_not_json(text: str, words: str) -> None:
    """For errors in the first value."""
    assert go_json_error(text) == words


def test_the_control_file_is_read_when_it_changes(tmp_path: Path) -> None:
    """Its values are merged with the defaults; incomplete JSON is ignored; without the file the defaults apply again."""
    path = tmp_path / "control.json"
    control = ControlFile(path, {"enforcement": "strict"})
    found = [control.read_changed()]
    for text in ('{"api": ', '{"api": "html", "enforcement": "warn"}', None):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        found += [control.read_changed(), control.read_changed()]
    orders = {"enforcement": "warn", "api": "html"}
    assert found == [None, None, None, orders, None, {"enforcement": "strict"}, None]
