"""Calls recorded at a region of Nomad 2.0.5 are replayed: the stand-in's answers have the same shape."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from ionetctl.lab.region.state.allocation_records import Work
from ionetctl.lab.region.state.region_state import RegionState
from tests.lab.running import RunningRegion, client_context, new_rig, running_region

if TYPE_CHECKING:
    import aiohttp

RECORDINGS = json.loads((Path(__file__).parents[2] / "data/nomad/recordings.json").read_text())["calls"]
WITH_TOKEN = "token with node:write, agent:read, node_pool:read"
WITH_JOBS = "token with node:read, read-job"
NOMAD_HEADERS = (
    "content-type",
    "vary",
    "x-nomad-index",
    "x-nomad-knownleader",
    "x-nomad-lastcontact",
    "x-nomad-nexttoken",
)
CUT = ("agent self", "node: detail while drained")
"""Recordings that were shortened: they may lack keys that the stand-in has."""
FREE = {"Attributes", "Meta", "Drivers", "InstanceStats"}
"""Mappings whose keys belong to hosts and sites, not to Nomad's schema."""


def shape(value: Any, key: str = "") -> Any:
    """A value's shape: its keys and types, recursively; a list has the set of its elements' shapes."""
    if isinstance(value, dict):
        if key in FREE and all(isinstance(each, str | dict) for each in value.values()):
            return ("mapping of", *sorted({repr(shape(each)) for each in value.values()}))
        return {name: shape(each, name) for name, each in sorted(value.items())}
    if isinstance(value, list):
        return [*sorted({repr(shape(each)) for each in value})]
    return type(value).__name__


def test_shapes_tell_a_missing_key_and_a_changed_type() -> None:
    """The comparison finds a difference: the control of the tests below."""
    recorded = {"ID": "x", "Drain": False, "Devices": [{"Name": "a"}]}
    drifted = [
        {"ID": "x", "Drain": False, "Devices": [{}]},
        {"ID": 1, "Drain": False, "Devices": [{"Name": "a"}]},
        {"ID": "x", "Devices": [{"Name": "a"}]},
    ]
    assert [shape(each) == shape(recorded) for each in drifted] == [False, False, False]


async def populate(region: RunningRegion, folder: Path, seed: int) -> None:
    """Let agents register nodes of random sizes: gpu3 with two GPU models, the others without GPUs."""
    dice = random.Random(seed)  # noqa: S311 - sizes of nodes
    for name in ["gpu3", "gpu4", *(f"gpu{number}" for number in range(5, 5 + dice.randint(2, 5)))]:
        two_kinds = (
            *make_gpus(GPU_MODELS[0], name, dice.randint(1, 4)),
            *make_gpus(GPU_MODELS[2], name, 1, first=6),
        )
        rig = new_rig(folder, name, region, two_kinds if name == "gpu3" else ())
        rig.configure(meta='ionet_rollout = "r-1"')
        rig.introduce(await region.introduce(name))
        await rig.run_until("node registration complete")
        if name == "gpu3":
            [node_id] = region.state.nodes
            cards = {"NVIDIA GeForce RTX 4090": ["GPU-1"]}
            region.state.allocate(node_id, Work("sleepy", "raw_exec", gpus=cards), time.time())


async def replay(region: RunningRegion, call: dict[str, Any]) -> aiohttp.ClientResponse:
    """The recorded call, with the ids that our nodes happen to have."""
    request = call["request"]
    ids = {node["Name"]: node_id for node_id, node in region.state.nodes.items()}
    text = json.dumps([request["path"], request["params"], request["body"]])
    for recorded, ours in (
        ("bfbc1015-4058-f3b4-baef-e92ffc4ecb53", ids["gpu3"]),
        ("09aaab09-7cc6-293e-29b3-b58f701ade60", ids["gpu4"]),
        ("94f9782f-65be-c72b-966f-5d3cafa31b1d", min(ids.values())),
    ):
        text = text.replace(recorded, ours)
    path, params, body = json.loads(text)
    tokens = {
        WITH_TOKEN: region.token,
        WITH_JOBS: region.state.add_token("jobs", ("node:read", "read-job")),
        "unknown token": "11111111-1111-1111-1111-111111111111",
        "none": "",
    }
    headers = {"X-Nomad-Token": tokens[request["auth"]]} if tokens[request["auth"]] else {}
    data = body if isinstance(body, str) else None if body is None else json.dumps(body)
    response = await region.session.request(
        request["method"], region.api_url + path, params=params, data=data, headers=headers
    )
    await response.read()
    return response


async def body_of(response: aiohttp.ClientResponse) -> Any:
    return await response.json() if response.content_type == "application/json" else await response.text()


def jwt_claims(body: Any) -> Any:
    """The claims of a token in an answer, so that they are compared as well."""
    if not isinstance(body, dict) or "JWT" not in body:
        return body
    segment = body["JWT"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def cut_to(recorded: Any, ours: Any) -> Any:
    """``ours`` with only those keys that the recording has."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        return {key: cut_to(value, ours[key]) for key, value in recorded.items() if key in ours}
    return ours


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_region_answers_as_a_real_one(tmp_path: Path, seed: int) -> None:
    """The same status, headers, keys and types; the same text of refusals."""
    west = RegionState("us-west")
    async with running_region(tmp_path / "pki", peers={"us-west": west}) as region:
        await populate(region, tmp_path, seed)
        west.nodes.update(region.state.nodes)
        differences = {}
        for call in RECORDINGS:
            region.state.has_leader = "no leader" not in call["name"]
            if "101st" in call["name"]:
                continue
            response = await replay(region, call)
            recorded = call["response"]
            ours, theirs = jwt_claims(await body_of(response)), jwt_claims(recorded["body"])
            if call["name"].startswith(CUT):
                ours = cut_to(theirs, ours)
            if isinstance(theirs, str) and response.status != 200:
                found, expected = (response.status, ours), (recorded["status"], theirs)
            else:
                found, expected = (response.status, shape(ours)), (recorded["status"], shape(theirs))
            headers = {name: response.headers.get(name) for name in NOMAD_HEADERS}
            if recorded["headers"]:
                assert {name for name, value in headers.items() if value} == {
                    name for name in recorded["headers"] if name in NOMAD_HEADERS
                }, call["name"]
                assert headers["content-type"] == recorded["headers"]["content-type"], call["name"]
            if found != expected:
                differences[call["name"]] = (found, expected)
        assert differences == {}


async def test_the_101st_connection_of_one_address_is_refused(tmp_path: Path) -> None:
    """A hundred connections are served, one more gets the recorded answer and is closed."""
    recorded = next(call["response"] for call in RECORDINGS if "101st" in call["name"])
    async with running_region(tmp_path / "pki") as region, contextlib.AsyncExitStack() as stack:
        heads = [await ask_on_a_new_connection(region, stack) for _ in range(101)]
        statuses = [int(head.split()[1]) for head, _ in heads]
        assert statuses == [200] * 100 + [recorded["status"]]
        assert heads[-1] == (heads[-1][0], recorded["body"])
        assert "Connection: close" in heads[-1][0]


async def ask_on_a_new_connection(region: RunningRegion, stack: contextlib.AsyncExitStack) -> tuple[str, str]:
    """Head and body of an answer on a connection that stays open until ``stack`` ends."""
    address = URL(region.api_url)
    context = client_context(region.pki)
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    stack.callback(writer.close)
    writer.write(b"GET /v1/status/leader HTTP/1.1\r\nHost: region\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"Content-Length: (\d+)", head)
    assert length is not None
    return head, (await reader.readexactly(int(length.group(1)))).decode()
