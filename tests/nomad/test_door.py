"""The door's calls to a region: namespaces, the job, words in variables, answers in a log."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.node import Namespace, SeenNamespaces
from ionetctl.nomad import NomadRegion
from tests.support.clock import ManualClock
from tests.support.region_server import Answer, RegionSite, ScriptedApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from ionetctl.nomad.door import RegionDoor

NODE = NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53")
VARIABLE = f"/v1/var/ionet/maintenance/{NODE}"
ALLOCATIONS = f"/v1/node/{NODE}/allocations"
LOG = "/v1/client/fs/logs/a1"
NONE = Answer(b"variable not found", 404)


def said(document: Any) -> Answer:
    return Answer(document)


@asynccontextmanager
async def asking(
    directory: Path, answers: Mapping[str, Sequence[Answer]]
) -> AsyncIterator[tuple[RegionDoor, ScriptedApi]]:
    site = RegionSite(directory)
    async with (
        site.serving(answers) as (url, api),
        NomadRegion.open(site.settings(url), site.reveal, sleep=ManualClock().sleep) as region,
    ):
        yield region.door, api


TOKEN_SELF, POLICIES = "/v1/acl/token/self", "/v1/acl/policies"


def policy(*rules: tuple[str, list[str] | None]) -> Answer:
    """As Nomad shows one: shorthands spelled out, ``None`` for a rule that has none but for variables."""
    return said({"RulesJSON": {"Namespaces": [{"Name": n, "Capabilities": c} for n, c in rules] or None}})


async def test_fences_are_read(tmp_path: Path) -> None:
    """An empty list of drivers is no limit, as no list is none; a management token sees all."""
    listed = [
        {"Name": "default", "Capabilities": {"EnabledTaskDrivers": ["docker"], "DisabledTaskDrivers": None}},
        {"Name": "open", "Capabilities": None},
        {"Name": "half", "Capabilities": {"EnabledTaskDrivers": [], "DisabledTaskDrivers": ["raw_exec"]}},
    ]
    answers = {"/v1/namespaces": [said(listed)], TOKEN_SELF: [said({"Type": "management"})]}
    async with asking(tmp_path, answers) as (door, api):
        found = await door.namespaces()
    assert found == SeenNamespaces(
        (
            Namespace("default", frozenset({"docker"})),
            Namespace("open"),
            Namespace("half", None, frozenset({"raw_exec"})),
        ),
        are_all=True,
    )
    assert ["namespace" in seen.query for seen in api.seen] == [False, False]


LIST = ["list-jobs"]


@pytest.mark.parametrize(
    ("policies", "are_all"),
    [
        ([policy(("*", LIST))], True),
        ([policy(("*", LIST), ("ionet-maintenance", ["submit-job"]))], True),
        ([policy(("team", None)), policy(("*", LIST), ("team", LIST))], True),
        ([policy(("default", LIST))], False),
        ([policy(("*", LIST), ("team", ["deny"]))], False),
        ([policy(("*", LIST)), policy(("team", ["deny", "list-jobs"]))], False),
        ([policy(("*", LIST), ("team", None))], False),
        ([policy(("*", None))], False),
        ([policy()], False),
        ([], False),
        ([policy(("*", LIST)), said({"Rules": "…"})], False),
        ([policy(("*", LIST))] * 65, False),
    ],
    ids=["all", "more-in-one", "two-policies", "one", "denied", "denied-by-another", "variables-alone", "all-variables",
         "nothing", "no-policy", "unknown", "too-many"],
)  # fmt: skip
async def test_only_rights_in_all_namespaces_show_all(
    tmp_path: Path, policies: list[Answer], *, are_all: bool
) -> None:
    """What a list lacks says nothing: Nomad leaves out, without a word, what the token may not see."""
    names = [f"p{number}" for number in range(len(policies))]
    answers = {
        "/v1/namespaces": [said([])],
        TOKEN_SELF: [said({"Type": "client"})],
        POLICIES: [said([{"Name": name} for name in names])],
        **{f"/v1/acl/policy/{name}": [answer] for name, answer in zip(names, policies, strict=True)},
    }
    async with asking(tmp_path, answers) as (door, _):
        assert (await door.namespaces()).are_all is are_all


@pytest.mark.parametrize("name", ["a b", "$(id)", "", "x" * 129], ids=["space", "shell", "empty", "long"])
async def test_what_is_no_namespaces_name_is_no_answer(tmp_path: Path, name: str) -> None:
    """Names stand in commands that an admin is told to run."""
    async with asking(tmp_path, {"/v1/namespaces": [said([{"Name": name}])]}) as (door, _):
        with pytest.raises(RegionError) as caught:
            await door.namespaces()
    assert caught.value.code == "region_nonsense"


@pytest.mark.parametrize(
    ("lies_there", "index"),
    [(NONE, "0"), (said({"ModifyIndex": 7, "Items": {}}), "7")],
    ids=["nothing", "another"],
)
async def test_a_word_replaces_what_was_seen_and_nothing_else(
    tmp_path: Path, lies_there: Answer, index: str
) -> None:
    """It is written by the index of what lies there."""
    async with asking(tmp_path, {VARIABLE: [lies_there, said({"ModifyIndex": 9})]}) as (door, api):
        assert await door.put_word(NODE, b"word") == 9
    written = api.seen[1]
    assert (written.method, written.query["cas"], written.query["namespace"]) == (
        "PUT",
        index,
        "ionet-maintenance",
    )
    assert json.loads(written.body)["Items"] == {"word": "word"}


async def test_two_controllers_at_once_are_told_apart(tmp_path: Path) -> None:
    """The second one changes nothing, and hears so."""
    others = said({"ModifyIndex": 8, "Items": {"word": "another"}})
    for afterwards in (others, NONE):
        answers = {VARIABLE: [NONE, Answer(b"cas error", 409), afterwards]}
        async with asking(tmp_path, answers) as (door, _):
            with pytest.raises(RegionError) as caught:
                await door.put_word(NODE, b"word")
        assert caught.value.code == "region_conflict"


async def test_a_write_whose_answer_was_lost_is_known_again(tmp_path: Path) -> None:
    """The second attempt meets the word of the first."""
    mine = said({"ModifyIndex": 8, "Items": {"word": "word"}})
    answers = {VARIABLE: [NONE, Answer(b"EOF", 500), Answer(b"cas error", 409), mine]}
    async with asking(tmp_path, answers) as (door, _):
        assert await door.put_word(NODE, b"word") == 8


async def test_what_others_have_left_since_stays(tmp_path: Path) -> None:
    """It is removed by the index of what was put there, and nothing else is."""
    async with asking(tmp_path, {VARIABLE: [Answer(b"cas error", 409)]}) as (door, api):
        await door.take_back(NODE, 8)
    assert [(seen.method, seen.query["cas"]) for seen in api.seen] == [("DELETE", "8")]


async def test_a_token_that_may_not_remove_is_told(tmp_path: Path) -> None:
    """The word would stay."""
    async with asking(tmp_path, {VARIABLE: [Answer(b"Permission denied", 403)]}) as (door, _):
        with pytest.raises(RegionError) as caught:
            await door.take_back(NODE, 8)
    assert caught.value.code == "region_forbidden"


async def test_a_word_is_taken_back(tmp_path: Path) -> None:
    """Nothing of it stays."""
    nothing = Answer(b"", 200, {"content-type": "text/plain"})
    async with asking(tmp_path, {VARIABLE: [nothing]}) as (door, api):
        await door.take_back(NODE, 8)
    assert [(seen.method, seen.path) for seen in api.seen] == [("DELETE", VARIABLE)]


async def test_answers_are_the_log_of_the_doors_task(tmp_path: Path) -> None:
    """Of the door that runs, not of others that bear its name or have ended."""
    mine = {"ID": "a1", "JobID": "ionet-door", "Namespace": "ionet-maintenance", "ClientStatus": "running"}
    others = [{**mine, "ID": "a2", "ClientStatus": "lost"}, {**mine, "ID": "a3", "Namespace": "default"}]
    log = Answer(b"1\t17\tapplied\tx\ty\n", 200, {"content-type": "text/plain"})
    async with asking(tmp_path, {ALLOCATIONS: [said([*others, mine])], LOG: [log]}) as (door, api):
        answers = await door.answers(NODE)
    assert answers == "1\t17\tapplied\tx\ty\n"
    assert [seen.path for seen in api.seen] == [ALLOCATIONS, LOG]


async def test_no_log_yet_is_no_answer(tmp_path: Path) -> None:
    """And no door on the node is none; a token that may not read it is told."""
    mine = {"ID": "a1", "JobID": "ionet-door", "Namespace": "ionet-maintenance", "ClientStatus": "running"}
    async with asking(tmp_path, {ALLOCATIONS: [said([]), said([mine])], LOG: [NONE]}) as (door, _):
        assert [await door.answers(NODE), await door.answers(NODE)] == ["", ""]
    async with asking(tmp_path, {ALLOCATIONS: [said([mine])], LOG: [Answer(b"Permission denied", 403)]}) as (
        door,
        _,
    ):
        with pytest.raises(RegionError) as caught:
            await door.answers(NODE)
    assert caught.value.code == "region_forbidden"


@pytest.mark.parametrize(
    ("diff", "change", "registered"),
    [("Added", "added", 1), ("None", "unchanged", 0), ("Edited", "edited", 0)],
    ids=["absent", "same", "another"],
)
async def test_a_job_that_differs_is_left_alone(
    tmp_path: Path, diff: str, change: str, registered: int
) -> None:
    """Registered anew it would be stopped on ineligible nodes, and not started again."""
    answers = {
        "/v1/jobs/parse": [said({"ID": "ionet-door"})],
        "/v1/job/ionet-door/plan": [said({"Diff": {"Type": diff}})],
        "/v1/job/ionet-door": [said({"EvalID": "e"})],
    }
    async with asking(tmp_path, answers) as (door, api):
        assert await door.set_up_job("job {}") == change
    assert sum(seen.path == "/v1/job/ionet-door" for seen in api.seen) == registered
    assert json.loads(api.seen[0].body)["JobHCL"] == "job {}"
    assert {seen.query["namespace"] for seen in api.seen} == {"ionet-maintenance"}
