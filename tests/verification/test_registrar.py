"""Whether a node counts: the registrar's waiting and asking, the judgement of nodes and regions."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ConfigurationError, HostUnverifiedError, RegionError, TrustError
from ionetctl.core.model.inventory import Introduction, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import NodeId, RegionName
from ionetctl.core.model.node import Device, IntroductionToken, NodeDetail, NodeView, RegionStatus
from ionetctl.core.model.secret import SecretRef
from ionetctl.verification.registrar import (
    FIRST_POLL_S,
    POLL_S,
    QUERIES,
    Expectation,
    Registrar,
    check_region,
    find_stamped,
    introduces,
    judge,
)
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NONCE = "0a1b2c3d4e5f"
STAMP = f"0123456789abcdef-{NONCE}"
OTHER_STAMP = "0123456789abcdef-ffffffffffff"
GPU = Expectation("gpu", "rey1")
EIGHT = Expectation("gpu", "rey1", 8)


def node(name: str = "n-1", *, gpus: int = 8, healthy: int | None = None, **changes: str) -> NodeView:
    """A node that is as ``EIGHT`` expects, but for the changes."""
    ids = tuple(f"GPU-{index}" for index in range(gpus))
    device = Device("nvidia", "gpu", "RTX", ids, gpus if healthy is None else healthy)
    view = NodeView(
        id=NodeId(name),
        name=name,
        address="10.0.0.1",
        datacenter="rey1",
        node_pool="gpu",
        node_class="",
        status="ready",
        eligibility="eligible",
        version="2.0.5",
        devices=(device,),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


@dataclass
class FakeRegion:
    """Shows nodes by stamp, through a filter as the real one does; ``asked`` is what it was asked."""

    stamped: dict[str, list[NodeView]] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    failure: RegionError | TrustError | None = None
    on_question: Callable[[int], None] = lambda _: None

    async def nodes(
        self, filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        assert filter_expression is not None
        self.asked.append((filter_expression, with_devices))
        self.on_question(len(self.asked))
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        match = re.fullmatch(r'Meta\["unique\.ionet_bundle"\] matches "(.*)"', filter_expression)
        assert match is not None
        shown = [
            view for stamp, views in self.stamped.items() if re.search(match[1], stamp) for view in views
        ]
        return shown if with_devices else [replace(view, devices=None) for view in shown]

    async def status(self) -> RegionStatus:
        raise NotImplementedError

    async def introduce(self, name: str, pool: str, ttl_s: int) -> IntroductionToken:
        raise NotImplementedError

    async def node(self, node: NodeId) -> NodeDetail | None:
        raise NotImplementedError(node)

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        raise NotImplementedError(node, is_eligible)

    async def annotate(self, node: NodeId, meta: Mapping[str, str | None]) -> None:
        raise NotImplementedError(node, meta)

    async def allocations(self, node: NodeId) -> Sequence[str]:
        raise NotImplementedError


@pytest.fixture
def region() -> FakeRegion:
    return FakeRegion()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# --- the registrar ---------------------------------------------------------------------------------------------------


async def test_node_with_its_stamp_is_confirmed(region: FakeRegion, clock: ManualClock) -> None:
    """At the first look, without waiting."""
    region.stamped[STAMP] = [node()]
    view = await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 60)
    assert (view, clock.slept) == (node(), [])


async def test_node_is_waited_for(region: FakeRegion, clock: ManualClock) -> None:
    """It comes at the third look."""

    def appear(question: int) -> None:
        if question == 3:
            region.stamped[STAMP] = [node()]

    region.on_question = appear
    view = await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 60)
    assert (view.id, clock.slept) == ("n-1", [FIRST_POLL_S, 2 * FIRST_POLL_S])


async def test_node_that_takes_its_time_is_asked_for_less_often(
    region: FakeRegion, clock: ManualClock
) -> None:
    """Soon at first, then at the poll's pace, so that a slow start costs no storm of questions."""
    with pytest.raises(HostUnverifiedError):
        await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)
    assert clock.slept[:5] == [0.25, 0.5, 1.0, POLL_S, POLL_S]


async def test_slow_region_gets_a_rest(region: FakeRegion, clock: ManualClock) -> None:
    """A region that takes long to answer is not asked again at once."""

    def dawdle(_: int) -> None:
        clock.advance(0.2)

    region.on_question = dawdle
    with pytest.raises(HostUnverifiedError):
        await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 4)
    assert len(region.asked) <= 3


async def test_ready_with_an_old_stamp_does_not_count(region: FakeRegion, clock: ManualClock) -> None:
    """A stopped agent stays ready for a while: what is shown may be a memory."""
    region.stamped[OTHER_STAMP] = [node()]
    with pytest.raises(HostUnverifiedError) as caught:
        await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)
    assert (caught.value.code, clock.monotonic()) == ("not_registered", 10)


async def test_another_node_with_the_stamp_does_not_count(region: FakeRegion, clock: ManualClock) -> None:
    """A wave shares its nonce; the id tells the hosts apart."""
    region.stamped[STAMP] = [node("n-2")]
    with pytest.raises(HostUnverifiedError, match="does not show"):
        await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)


async def test_patience_that_is_no_multiple_of_the_poll_is_kept(
    region: FakeRegion, clock: ManualClock
) -> None:
    """The last sleep is as long as what is left."""
    with pytest.raises(HostUnverifiedError):
        await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, GPU, 3)
    assert clock.slept == [0.25, 0.5, 1, 1.25]


async def test_waiters_share_one_question(region: FakeRegion, clock: ManualClock) -> None:
    """A thousand hosts of a wave cost one query a poll."""
    ids = [NodeId(f"n-{index}") for index in range(1000)]
    region.stamped[STAMP] = [node(name) for name in ids]
    registrar = Registrar(region, clock)
    views = await asyncio.gather(*(registrar.confirm(name, STAMP, EIGHT, 60) for name in ids))
    assert ([view.id for view in views], len(region.asked)) == (ids, 1)


async def test_latecomer_of_another_wave_is_asked_for_at_once(region: FakeRegion, clock: ManualClock) -> None:
    """What a recent look did not ask for, it cannot tell."""
    region.stamped = {STAMP: [node("n-1")], OTHER_STAMP: [node("n-2")]}
    registrar = Registrar(region, clock)
    await registrar.confirm(NodeId("n-1"), STAMP, GPU, 60)
    await registrar.confirm(NodeId("n-2"), OTHER_STAMP, GPU, 60)
    expected = [f'Meta["unique.ionet_bundle"] matches "-({nonce})$"' for nonce in (NONCE, "f" * 12)]
    assert ([expression for expression, _ in region.asked], clock.slept) == (expected, [])


async def test_devices_are_asked_for_only_where_needed(region: FakeRegion, clock: ManualClock) -> None:
    """Lists with devices weigh five times as much."""
    region.stamped = {STAMP: [node("n-1"), node("n-2")], OTHER_STAMP: [node("n-3")]}
    registrar = Registrar(region, clock)
    await asyncio.gather(
        registrar.confirm(NodeId("n-1"), STAMP, EIGHT, 60),
        registrar.confirm(NodeId("n-2"), STAMP, GPU, 60),
        registrar.confirm(NodeId("n-3"), OTHER_STAMP, GPU, 60),
    )
    assert [(expression[-16:-3], needed) for expression, needed in region.asked] == [
        (f"({NONCE}", True),
        (f"({'f' * 12}", False),
    ]


async def test_nobody_waiting_means_nobody_asking(region: FakeRegion, clock: ManualClock) -> None:
    """Those who are done are not asked about any more, those who gave up neither."""
    region.stamped[OTHER_STAMP] = [node("n-2")]
    registrar = Registrar(region, clock)
    with pytest.raises(HostUnverifiedError):
        await registrar.confirm(NodeId("n-1"), STAMP, GPU, 0)
    await registrar.confirm(NodeId("n-2"), OTHER_STAMP, GPU, 60)
    assert [NONCE in expression for expression, _ in region.asked] == [True, False]


@pytest.mark.parametrize(
    "failure", [RegionError("region_no_leader", "no", "hint"), TrustError("region_untrusted", "no", "hint")]
)
async def test_region_that_cannot_be_asked_fails_all_who_wait(
    region: FakeRegion, clock: ManualClock, failure: RegionError | TrustError
) -> None:
    """After one round of retries, not one for each of them, however long that took; each gets an error of its own."""
    region.failure = failure
    region.on_question = lambda _: clock.advance(90)
    registrar = Registrar(region, clock)
    results = await asyncio.gather(
        *(registrar.confirm(NodeId(f"n-{index}"), STAMP, GPU, 600) for index in range(50)),
        return_exceptions=True,
    )
    codes = {getattr(result, "code", None) for result in results}
    assert (codes, len({id(result) for result in results}), len(region.asked)) == ({failure.code}, 50, 1)


async def test_region_that_recovers_is_asked_again(region: FakeRegion, clock: ManualClock) -> None:
    """A failed look does not stay."""
    region.failure = RegionError("region_no_leader", "no")
    region.stamped[STAMP] = [node()]
    registrar = Registrar(region, clock)
    with pytest.raises(RegionError):
        await registrar.confirm(NodeId("n-1"), STAMP, EIGHT, 60)
    region.failure = None
    clock.advance(POLL_S)
    assert (await registrar.confirm(NodeId("n-1"), STAMP, EIGHT, 60)).id == "n-1"


async def test_cancelled_waiter_leaves_the_others_alone(region: FakeRegion, clock: ManualClock) -> None:
    """Even when it was the one who was asking."""
    region.stamped[STAMP] = [node("n-1"), node("n-2")]
    registrar = Registrar(region, clock)
    first = asyncio.create_task(registrar.confirm(NodeId("n-1"), STAMP, EIGHT, 60))
    second = asyncio.create_task(registrar.confirm(NodeId("n-2"), STAMP, EIGHT, 60))

    def cancel(question: int) -> None:
        if question == 1:
            first.cancel()

    region.on_question = cancel
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert (type(results[0]), getattr(results[1], "id", None)) == (asyncio.CancelledError, "n-2")


@pytest.mark.parametrize("stamp", ["", "0123-", '0123-"or', "0123-.*", "0123-ä"])
async def test_stamp_that_is_none_matches_nothing(region: FakeRegion, clock: ManualClock, stamp: str) -> None:
    """It was read from a host, and goes into a filter: neither quotes nor patterns come through."""
    region.stamped[STAMP] = [node()]
    with pytest.raises(HostUnverifiedError):
        await Registrar(region, clock).confirm(NodeId("n-1"), stamp, GPU, 0)
    assert [expression for expression, _ in region.asked] == [
        'Meta["unique.ionet_bundle"] matches "-(none)$"'
    ]


# --- the judgement of a node -----------------------------------------------------------------------------------------

SHORTFALLS = [
    (None, "not_registered"),
    (node(node_pool="default", datacenter="dc1", status="down"), "wrong_node_pool"),
    (node(datacenter="dc1", status="down"), "wrong_datacenter"),
    (node(status="initializing", eligibility="ineligible"), "node_not_ready"),
    (node(status="down"), "node_not_ready"),
    (node(status="unheard-of"), "node_not_ready"),
    (node(eligibility="ineligible", gpus=7), "node_ineligible"),
    (node(gpus=7), "gpu_count_mismatch"),
    (node(gpus=9), "gpu_count_mismatch"),
    (node(healthy=7), "gpu_unhealthy"),
    (replace(node(), devices=None), "gpu_count_mismatch"),
    (replace(node(), devices=(Device("intel", "qat", "X", ("1",) * 8, 8),)), "gpu_count_mismatch"),
    (node(), None),
]


@pytest.mark.parametrize(
    ("view", "code"), SHORTFALLS, ids=[f"{code}-{i}" for i, (_, code) in enumerate(SHORTFALLS)]
)
def test_most_specific_reason_is_told(view: NodeView | None, code: str | None) -> None:
    """Place before state, state before eligibility, eligibility before GPUs."""
    word = judge(view, EIGHT)
    assert (word.code if isinstance(word, HostUnverifiedError) else None) == code


def test_eligibility_may_be_left_to_others() -> None:
    """Where it is decided elsewhere, an ineligible node is as expected."""
    view = node(eligibility="ineligible")
    assert judge(view, replace(EIGHT, may_be_ineligible=True)) == view


def test_gpus_nobody_promised_are_not_counted() -> None:
    """What is not known cannot be wrong; a promise of none is one."""
    view = node(gpus=3)
    assert judge(view, GPU) == view
    assert isinstance(judge(view, replace(GPU, gpus=0)), HostUnverifiedError)


async def test_reason_of_the_last_look_is_raised(region: FakeRegion, clock: ManualClock) -> None:
    """A node that registered and lost a card on the way."""
    region.stamped[STAMP] = [node(gpus=7)]
    with pytest.raises(HostUnverifiedError, match="sees 7 GPUs, 8 are expected") as caught:
        await Registrar(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)
    assert caught.value.code == "gpu_count_mismatch"


# --- hosts that nothing was done to ----------------------------------------------------------------------------------


async def test_nodes_with_their_stamps_are_found(region: FakeRegion) -> None:
    """Whatever their state; those with another stamp are not among them."""
    region.stamped = {STAMP: [node("n-1"), node("n-2", status="down")], OTHER_STAMP: [node("n-3")]}
    stamps = dict.fromkeys((NodeId("n-1"), NodeId("n-2"), NodeId("n-3")), STAMP)
    found = await find_stamped(region, stamps)
    assert {name: view.status for name, view in found.items()} == {"n-1": "ready", "n-2": "down"}


async def test_strangers_of_the_same_wave_are_not_told(region: FakeRegion) -> None:
    """Only those who were asked about."""
    region.stamped[STAMP] = [node("n-1"), node("n-2")]
    assert list(await find_stamped(region, {NodeId("n-1"): STAMP})) == ["n-1"]


async def test_devices_come_along_where_wanted(region: FakeRegion) -> None:
    """For those who compare GPUs."""
    region.stamped[STAMP] = [node()]
    found = await find_stamped(region, {NodeId("n-1"): STAMP}, with_devices=True)
    assert found[NodeId("n-1")].gpu_count == 8


async def test_nobody_to_ask_about_asks_nothing(region: FakeRegion) -> None:
    """An empty fleet costs no query."""
    assert (await find_stamped(region, {}), region.asked) == ({}, [])


@pytest.mark.parametrize(("nonces", "expected"), [(1, 1), (QUERIES, QUERIES), (QUERIES + 1, 17), (1000, 32)])
async def test_many_nonces_share_queries(region: FakeRegion, nonces: int, expected: int) -> None:
    """One query each up to 32; beyond that they are asked for together, and all are found."""
    stamps = {NodeId(f"n-{index}"): f"0123456789abcdef-{index:012x}" for index in range(nonces)}
    region.stamped = {stamp: [node(name)] for name, stamp in stamps.items()}
    assert (len(await find_stamped(region, stamps)), len(region.asked)) == (nonces, expected)


# --- the judgement of a region ---------------------------------------------------------------------------------------

STATUS = RegionStatus(RegionName("eu-north"), "2.0.5", "strict", frozenset({"all", "default", "gpu"}))


def settings(introduction: Introduction = "auto") -> RegionSettings:
    ref = SecretRef("env", "X")
    tls = RegionTls("ca.pem", "server.eu-north.nomad", None, ReadyPair("cert.pem", ref))
    return RegionSettings(RegionName("eu-north"), ("https://a",), ("a:4647",), ref, tls, introduction)


@pytest.mark.parametrize("client", ["2.0.5", "2.0.4", "1.11.0", "2.0.5-rc.1"])
def test_region_that_fits_is_taken(client: str) -> None:
    """Clients may be as old as they like, and no newer."""
    check_region(STATUS, settings(), client, ["gpu", "default"])


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("2.0.6", "2.0.5"),
        ("2.1.0-beta.1", "2.0.5"),
        ("2.0.5", "2.0.5-rc.1"),
        ("2.0.5", "1.11.3+ent"),
        ("10.0.0", "9.9.9"),
    ],
)
def test_client_newer_than_its_servers_is_refused(client: str, server: str) -> None:
    """Numbers are compared as numbers; a pre-release comes before its release."""
    with pytest.raises(ConfigurationError) as caught:
        check_region(replace(STATUS, server_version=server), settings(), client, [])
    assert (caught.value.code, server in caught.value.hint) == ("client_newer_than_servers", True)


@pytest.mark.parametrize(
    ("pool", "said"), [("gpus", "did you mean gpu? Otherwise create it"), ("rigs", "Create it")]
)
def test_missing_node_pool_is_refused(pool: str, said: str) -> None:
    """With the nearest that there is."""
    with pytest.raises(ConfigurationError) as caught:
        check_region(STATUS, settings(), "2.0.5", ["gpu", pool])
    assert (caught.value.code, caught.value.hint.startswith(said)) == ("node_pool_missing", True)


@pytest.mark.parametrize("server", ["1.10.5", "1.6.5", "1.11.0-beta.1"])
def test_required_introduction_needs_a_region_that_has_it(server: str) -> None:
    """It came with 1.11.0."""
    with pytest.raises(ConfigurationError) as caught:
        check_region(replace(STATUS, server_version=server), settings("required"), "1.6.5", [])
    assert caught.value.code == "introduction_unsupported"


def test_required_introduction_is_fine_where_there_is_one() -> None:
    """Whatever its enforcement."""
    check_region(replace(STATUS, server_version="1.11.0"), settings("required"), "1.11.0", [])


@pytest.mark.parametrize(
    ("mode", "enforcement", "server", "expected"),
    [
        ("auto", "strict", "2.0.5", True),
        ("auto", "warn", "2.0.5", True),
        ("auto", "none", "2.0.5", False),
        ("auto", None, "2.0.5", True),
        ("auto", None, "1.10.5", False),
        ("off", "strict", "2.0.5", False),
        ("required", "none", "2.0.5", True),
    ],
)
def test_nodes_are_introduced_where_it_helps(
    mode: Introduction,
    enforcement: str | None,
    server: str,
    expected: bool,  # noqa: FBT001  (a case's column)
) -> None:
    """``auto`` looks at version and setting; where it may not look, it tries."""
    status = replace(STATUS, enforcement=enforcement, server_version=server)
    assert introduces(status, settings(mode)) is expected
