"""A region that lies: about its pages, its numbers, its texts, and with our own token. Each lie is bounded and named."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.secret import SecretRef
from ionetctl.nomad import CallLimits, NomadRegion
from ionetctl.nomad.api import LIST_LIMIT_BYTES, PAGE_LIMIT
from ionetctl.nomad.http import Call, RegionHttp, Reply
from ionetctl.nomad.responses import introduction_token
from tests.nomad.test_api import MEMBERS, NODES, POOLS, SELF, STATUS, STUB, asking, refused
from tests.support.clock import ManualClock
from tests.support.hostile import hostile_in, texts_of
from tests.support.region_server import EU, TOKEN, Answer, RegionSite, recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HOSTILE = "\x1b[31m##vso[task.setvariable]x\u202e::error::y"
DISGUISES = {
    "as it is": TOKEN,
    "in capitals": TOKEN.upper(),
    "with what nobody sees": TOKEN[:9] + "\u200b" + TOKEN[9:],
    "with a colour": TOKEN[:9] + "\x1b[1m" + TOKEN[9:],
}


@pytest.fixture
def site(tmp_path: Path) -> RegionSite:
    return RegionSite(tmp_path)


@dataclass
class Pages:
    """Stands for the connections to a region whose list has these pages, the last one for ever: a body and what follows."""

    pages: Iterator[tuple[bytes, str]]
    headers: Mapping[str, str] = field(default_factory=dict)
    asked: int = 0
    certificate: bytes | None = None

    async def send(self, _: Call) -> Reply:
        self.asked += 1
        body, following = next(self.pages)
        return Reply(body, {"X-Nomad-NextToken": following, **self.headers})


def region_of(pages: Pages) -> NomadRegion:
    return NomadRegion(EU, cast("RegionHttp", pages))


def page(*names: object) -> bytes:
    return json.dumps([{**STUB, "ID": f"n-{name}"} for name in names]).encode()


async def nonsense(pages: Pages) -> str:
    """Why a list of nodes is no list of Nomad's."""
    with pytest.raises(RegionError) as caught:
        await region_of(pages).nodes()
    assert caught.value.code == "region_nonsense"
    return caught.value.message


# --- pages -----------------------------------------------------------------------------------------------------------


async def test_a_page_that_leads_to_itself_is_asked_for_once() -> None:
    """Not a hundred times."""
    pages = Pages((b"[]", "again") for _ in itertools.count())
    assert "leads to itself" in await nonsense(pages)
    assert pages.asked == 2


async def test_a_page_that_comes_again_is_found() -> None:
    """By its nodes, whatever it says that follows."""
    pages = Pages((page("a", "b"), f"token {number}") for number in itertools.count())
    assert "twice" in await nonsense(pages)
    assert pages.asked == 2


async def test_pages_without_end_end() -> None:
    """However new each of them is."""
    pages = Pages((page(number), f"token {number}") for number in itertools.count())
    assert f"more than {PAGE_LIMIT} pages" in await nonsense(pages)
    assert pages.asked == PAGE_LIMIT


async def test_all_pages_together_are_bounded() -> None:
    """Each may be as long as a page may be, and yet not all of them."""
    body = b"[" + b" " * (60 << 20) + b"]"
    pages = Pages((body, f"token {number}") for number in itertools.count())
    assert "more than 512 MB" in await nonsense(pages)
    assert pages.asked == LIST_LIMIT_BYTES // len(body) + 1


async def test_the_control_is_a_list_in_any_order() -> None:
    """Nothing depends on how the nodes are sorted."""
    pages = Pages(iter([(page("c", "a"), "n-b"), (page("b"), "")]))
    assert [node.id for node in await region_of(pages).nodes()] == ["n-c", "n-a", "n-b"]


@pytest.mark.parametrize("header", ["X-Nomad-Index", "X-Nomad-LastContact"])
async def test_a_number_without_end_counts_as_none(header: str) -> None:
    """Python refuses to read one of 5,000 digits."""
    pages = Pages(iter([(page("a"), ""), (page("a"), "")]), {header: "9" * 5000})
    assert len(await region_of(pages).nodes()) == 1


# --- texts -----------------------------------------------------------------------------------------------------------


async def test_what_a_region_says_of_itself_is_harmless(site: RegionSite) -> None:
    """Its servers, its pools, how it enforces introductions."""
    own = recording("agent self (cut to what matters)")["response"]["body"]
    own["config"]["Server"]["ClientIntroduction"] = {"Enforcement": HOSTILE}
    members = json.loads(STATUS[MEMBERS][0].content)
    for member in members["Members"]:
        member["Name"] = HOSTILE
    script = {**STATUS, SELF: [Answer(own)], MEMBERS: [Answer(members)], POOLS: [Answer([{"Name": HOSTILE}])]}
    async with asking(site, script) as (region, _):
        status = await region.status()
    assert [text for text in texts_of(status) if hostile_in(text, "")] == []
    assert "# #vso[" in (status.enforcement or "")


async def test_names_of_allocations_are_harmless(site: RegionSite) -> None:
    """Tenants choose them."""
    node = NodeId("n-1")
    answers = {f"/v1/node/{node}/allocations": [Answer([{"Name": HOSTILE, "ClientStatus": "running"}])]}
    async with asking(site, answers) as (region, _):
        (running,) = await region.allocations(node)
    assert (hostile_in(running.name, ""), "vso" in running.name) == ([], True)


def test_a_token_of_a_megabyte_is_nonsense() -> None:
    """It would be sent to every host."""
    with pytest.raises(RegionError, match="no JWT"):
        introduction_token("a.eyJleHAiOjE3NjQwMDAwMDB9." + "b" * 1_000_000)


# --- redirections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_is_named_and_not_followed(site: RegionSite, status: int) -> None:
    """Where it leads is said, without what it took along."""
    target = f"https://elsewhere.example/v1/nodes?token={TOKEN}"
    async with asking(site, {NODES: [Answer(b"", status, {"Location": target})]}) as (region, api):
        error = await refused("region_refused", region.nodes())
    assert "https://elsewhere.example/v1/nodes?token=***" in error.message
    assert ("not followed" in error.hint, len(api.seen)) == (True, 1)


# --- our own token ---------------------------------------------------------------------------------------------------


def shows_token(text: str) -> bool:
    """Whether the token can be read there, in capitals too."""
    return TOKEN.lower() in text.lower()


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("status", [302, 400, 500])
async def test_a_refusal_that_has_the_token_is_quoted_without(
    site: RegionSite, status: int, disguise: str
) -> None:
    """Also where what is taken out of it would have joined its halves."""
    said = f"bad token {DISGUISES[disguise]}, says the region"
    answer = Answer(said.encode(), status, {"Location": "/?" + TOKEN} if status == 302 else {})
    async with asking(site, {NODES: [answer]}, limits=CallLimits(attempts=1)) as (region, _):
        with pytest.raises(RegionError) as caught:
            await region.nodes()
    assert (shows_token(caught.value.message), "***" in caught.value.message) == (False, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX-Echo: a%s\x00\r\n\r\n[]",
        b"HTTP/1.1 %s\r\n\r\n[]",
        b"%s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n%s\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: %s\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n[]\r\n",
    ],
    ids=["header", "status", "line", "no header", "length", "encoding", "chunk"],
)
async def test_broken_http_that_has_the_token_is_told_without(site: RegionSite, raw: bytes) -> None:
    """The library quotes what it cannot read."""
    async with site.answering(raw % TOKEN.encode()) as url:
        limits = CallLimits(attempts=1)
        async with NomadRegion.open(site.settings(url), site.reveal, limits, ManualClock().sleep) as region:
            with pytest.raises(RegionError) as caught:
                await region.nodes()
    assert not shows_token(caught.value.message)


async def test_a_word_in_the_place_of_a_token_is_none(site: RegionSite) -> None:
    """Where a region has no ACLs, any word is sent: what it says is read as it is."""
    site.secrets[SecretRef("env", "TOKEN")] = "n"
    async with asking(site, {NODES: [Answer([STUB]), Answer(b"no reason", 400)]}) as (region, _):
        (node,) = await region.nodes()
        error = await refused("region_refused", region.nodes())
    assert (node.id, error.message.endswith("no reason")) == ("n-1", True)


async def test_an_answer_that_has_the_token_is_read_without(site: RegionSite) -> None:
    """What nodes are called, and what they say of themselves, is shown and recorded."""
    whole: dict[str, Any] = recording("node: detail with GPUs")["response"]["body"]
    whole |= {"Name": f"g1-{TOKEN}", "Meta": {TOKEN: TOKEN}}
    async with asking(
        site, {NODES: [Answer([{**STUB, "Name": TOKEN}])], "/v1/node/n-1": [Answer(whole)]}
    ) as (region, _):
        found = [*await region.nodes(), await region.node(NodeId("n-1"))]
    texts = [text for one in found for text in texts_of(one)]
    assert (any(map(shows_token, texts)), "g1-***" in texts) == (False, True)
