"""Who fetches from whom: first by push, then from seeds with free slots; what fails is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.model.names import Digest, HostName
from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source
from ionetctl.distribution.scheduler import (
    FAILURES,
    IDLE_LIMIT_S,
    LEASE_S,
    MARGIN_S,
    PUSH,
    SERVING_LIMIT_S,
    SLOTS,
    Scheduler,
)
from tests.distribution.simulation import Simulation, Site

NOMAD = Digest("a" * 64)
PLUGIN = Digest("b" * 64)
BOTH = frozenset({NOMAD, PLUGIN})
PUSH_AND_SERVE = replace(PUSH, serves=True)
FETCHED = Obtained(is_whole=True)
FAILED = Obtained(is_whole=False, is_sources_fault=True)
NO_ROOM = Obtained(is_whole=False)


def asks(
    name: str, rack: str | None = "a01", files: frozenset[Digest] = BOTH, *, can_serve: bool = True
) -> Request:
    return Request(HostName(name), rack, files, can_serve)


def url(name: str) -> str:
    return f"http://{name}/token"


def serving(request: Request, unit: str = "unit") -> Obtained:
    seed = Seed(request.host, request.files, url(request.host), unit)
    return Obtained(is_whole=True, seed=seed)


def from_seed(name: str, *, serves: bool = False) -> Source:
    return Source(Origin.PEER, url(name), HostName(name), serves)


def with_seed(name: str = "first", at_s: float = 0.0, **fields: object) -> Scheduler:
    """A scheduler whose rack has one seed."""
    scheduler = Scheduler()
    request = asks(name, **fields)  # type: ignore[arg-type]
    assert scheduler.assign(request, at_s) == PUSH_AND_SERVE
    scheduler.settle(request.host, serving(request), at_s)
    return scheduler


def test_first_of_a_rack_is_pushed_and_the_others_wait_for_it() -> None:
    """The second host waits for the first, and fetches from it once that serves; another rack has a first of its own."""
    scheduler, first, second = Scheduler(), asks("first"), asks("second")
    assert scheduler.assign(first, 0.0) == PUSH_AND_SERVE
    assert scheduler.assign(second, 0.0) is None
    assert scheduler.assign(asks("other", "a02"), 0.0) == PUSH_AND_SERVE
    scheduler.settle(first.host, serving(first), 1.0)
    assert scheduler.assign(second, 1.0) == from_seed("first")


def test_host_without_neighbours_is_pushed() -> None:
    """Where nobody knows what a host is beside, it is no seed either."""
    assert Scheduler().assign(asks("lonely", None), 0.0) == PUSH


def test_rack_that_cannot_serve_is_pushed() -> None:
    """A host that cannot serve is waited for by nobody."""
    scheduler = Scheduler()
    assert scheduler.assign(asks("first", can_serve=False), 0.0) == PUSH
    assert scheduler.assign(asks("second", can_serve=False), 0.0) == PUSH


def test_seed_serves_a_few_at_a_time() -> None:
    """Beyond its slots hosts wait; one that is done makes room, and so does one that is not heard of any more."""
    scheduler = with_seed()
    for number in range(SLOTS):
        assert scheduler.assign(asks(f"peer{number}"), 0.0) == from_seed("first")
    assert scheduler.assign(asks("late"), 0.0) is None
    scheduler.settle(HostName("peer0"), FETCHED, 1.0)
    assert scheduler.assign(asks("late"), 1.0) == from_seed("first")
    assert scheduler.assign(asks("later"), 1.0) is None
    assert scheduler.assign(asks("later"), LEASE_S, may_wait=False) == from_seed("first")


def test_least_busy_seed_is_chosen() -> None:
    """Peers are spread over the seeds."""
    scheduler = with_seed()
    scheduler.assign(asks("second"), 0.0)
    scheduler.settle(HostName("second"), serving(asks("second")), 0.0)
    chosen = [scheduler.assign(asks(f"peer{number}"), 0.0) for number in range(4)]
    assert [source.seed for source in chosen if source] == ["first", "second", "first", "second"]


def test_peer_becomes_a_seed_where_more_wait_than_can_be_served() -> None:
    """Seeds multiply while they are too few for those who wait, and no longer."""
    scheduler, first = Scheduler(), asks("first")
    scheduler.assign(first, 0.0)
    waiting = [asks(f"peer{number}") for number in range(12)]
    assert [scheduler.assign(each, 0.0) for each in waiting] == [None] * 12
    scheduler.settle(first.host, serving(first), 1.0)
    serves = [source.serves for each in waiting if (source := scheduler.assign(each, 1.0))]
    assert serves == [True, True, False, False]


def test_host_that_cannot_serve_does_not_become_a_seed() -> None:
    """It fetches all the same."""
    scheduler = with_seed()
    first, *others = (asks(f"peer{number}", can_serve=False) for number in range(3 * SLOTS))
    for each in others:
        scheduler.assign(each, 0.0)
    assert scheduler.assign(first, 0.0) in (None, from_seed("first"))
    scheduler.settle(others[0].host, FETCHED, 0.0)
    assert scheduler.assign(first, 0.0) == from_seed("first")


def test_impatient_host_is_pushed() -> None:
    """Who has waited long enough gets the files from the controller, and serves them too."""
    scheduler = Scheduler()
    scheduler.assign(asks("first"), 0.0)
    assert scheduler.assign(asks("second"), 0.0) is None
    assert scheduler.assign(asks("second"), 200.0, may_wait=False) == PUSH_AND_SERVE


def test_first_host_that_fails_is_replaced() -> None:
    """A push that came to nothing, or is not heard of any more, leaves the rack to the next host."""
    scheduler = Scheduler()
    scheduler.assign(asks("first"), 0.0)
    scheduler.settle(HostName("first"), NO_ROOM, 1.0)
    assert scheduler.assign(asks("second"), 1.0) == PUSH_AND_SERVE
    assert scheduler.assign(asks("third"), 1.0) is None
    assert scheduler.assign(asks("third"), 1.0 + LEASE_S) == PUSH_AND_SERVE


def test_seed_that_fails_several_peers_is_given_up() -> None:
    """Two in a row; what a peer cannot do is not the seed's fault."""
    scheduler = with_seed()
    for number, obtained in enumerate((FAILED, FETCHED, FAILED, NO_ROOM)):
        assert scheduler.assign(asks(f"peer{number}"), 0.0) == from_seed("first")
        scheduler.settle(HostName(f"peer{number}"), obtained, 0.0)
    assert scheduler.assign(asks("last"), 0.0) == from_seed("first")
    scheduler.settle(HostName("last"), FAILED, 0.0)
    assert scheduler.assign(asks("next"), 0.0) == PUSH_AND_SERVE


@pytest.mark.parametrize("has_served", [False, True])
def test_rack_whose_hosts_do_not_reach_each_other_is_pushed(*, has_served: bool) -> None:
    """After some seeds that served nobody, no more are tried; one that did serve shows that it can be done."""
    scheduler = Scheduler()
    for number in range(FAILURES):
        seed = asks(f"seed{number}")
        assert scheduler.assign(seed, 0.0) == PUSH_AND_SERVE
        scheduler.settle(seed.host, serving(seed), 0.0)
        for peer, obtained in enumerate([FETCHED] * has_served + [FAILED] * FAILURES):
            name = HostName(f"peer{number}-{peer}")
            scheduler.assign(asks(name), 0.0)
            scheduler.settle(name, obtained, 0.0)
    assert scheduler.assign(asks("last"), 0.0) == (PUSH_AND_SERVE if has_served else PUSH)


def test_seed_is_asked_for_what_it_has() -> None:
    """Fewer files than it has will do, others will not."""
    scheduler = with_seed(files=frozenset({NOMAD}))
    assert scheduler.assign(asks("same", files=frozenset({NOMAD})), 0.0) == from_seed("first")
    assert scheduler.assign(asks("more"), 0.0) == PUSH_AND_SERVE
    assert scheduler.assign(asks("same", files=frozenset({NOMAD})), 0.0) == from_seed("first")


def test_seed_does_not_fetch_from_itself() -> None:
    """A host that is tried again gets its files from elsewhere; both its servers are known."""
    scheduler = with_seed()
    assert scheduler.assign(asks("first"), 0.0) == PUSH_AND_SERVE
    scheduler.settle(HostName("first"), serving(asks("first"), "another"), 0.0)
    assert [seed.unit for seed in scheduler.seeds(0.0)] == ["unit", "another"]


@pytest.mark.parametrize("at_s", [IDLE_LIMIT_S - MARGIN_S, SERVING_LIMIT_S - MARGIN_S])
def test_seed_near_its_end_is_not_asked(at_s: float) -> None:
    """Its host ends it when nobody asks for a while, and in any case after its limit."""
    scheduler = with_seed()
    assert scheduler.assign(asks("second"), at_s + 1) == PUSH_AND_SERVE


def test_seed_in_use_is_not_idle() -> None:
    """Each peer that is done begins its time anew."""
    scheduler = with_seed()
    scheduler.assign(asks("second"), 800.0)
    scheduler.settle(HostName("second"), FETCHED, 800.0)
    assert scheduler.assign(asks("third"), 1600.0) == from_seed("first")


def test_seeds_are_told_until_their_limit() -> None:
    """Those too that are given up, since they may still listen."""
    scheduler = with_seed()
    for number in range(FAILURES):
        scheduler.assign(asks(f"peer{number}"), 0.0)
        scheduler.settle(HostName(f"peer{number}"), FAILED, 0.0)
    assert [seed.host for seed in scheduler.seeds(SERVING_LIMIT_S - 1)] == ["first"]
    assert scheduler.seeds(SERVING_LIMIT_S) == ()


def test_unknown_host_settles_nothing() -> None:
    """What nobody was assigned changes nothing."""
    scheduler = Scheduler()
    scheduler.settle(HostName("unknown"), serving(asks("unknown")), 0.0)
    scheduler.withdraw(asks("unknown"))
    assert scheduler.seeds(0.0) == ()


def test_large_fleet_costs_the_controller_little() -> None:
    """5,000 hosts in racks of 40: at most 3 % of the bytes of a push leave the controller, on a slow line too."""
    for site in (Site(), Site(uplink_mb_s=4.0)):
        done = Simulation(site).run()
        assert done.pushed + done.fetched == 5000
        assert done.egress <= 0.03


def test_dead_seeds_cost_pushes_of_their_peers_alone() -> None:
    """Where every tenth seed is gone, its few peers are pushed, and all hosts end with the files."""
    done = Simulation(Site(racks=25, dying=10)).run()
    assert done.failed > 0
    assert done.pushed + done.fetched == 1000
    assert done.egress <= 0.1


def test_rounds_grow_with_the_logarithm() -> None:
    """Ten times the hosts in one rack take a few rounds more, not ten times as long."""
    small, large = (
        Simulation(Site(racks=1, rack_hosts=hosts, concurrency=hosts)).run().end_s for hosts in (40, 400)
    )
    assert large < 2 * small
