"""A host whose closing was cut off is closed only where the account that had the key refuses it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.app.closed_hosts import ClosedHosts
from ionetctl.app.open_inventory import Site
from ionetctl.core.events import HostJudged, KeyClosed, SshOpened
from ionetctl.history.catalog import Closure, ClosureState
from ionetctl.rollout.options import Goal, RolloutOptions
from tests.support.clock import ManualClock
from tests.support.fakes import LOGIN, Emitted, FakeConnector, FakeHost, FakeRegion
from tests.support.sample import HOST, view
from tests.support.sites import site_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.login_key import LoginKey

assert LOGIN.key is not None
CLOSURE = Closure(
    HOST.name, HOST.address, ClosureState.CLOSING, "miner", f"{LOGIN.key.type} {LOGIN.key.blob}"
)


@dataclass
class Accounts(FakeConnector):
    """A host that lets the key in as ``keyed``, and as nobody else."""

    keyed: str = ""
    tried: list[tuple[str | None, str]] = field(default_factory=list)

    @asynccontextmanager
    async def try_key(self, host: Host, key: LoginKey) -> AsyncIterator[FakeHost | None]:
        assert key == LOGIN.key
        self.tried.append((host.ssh.user, host.ssh.become))
        yield self.hosts[host.name] if host.ssh.user == self.keyed else None


@pytest.mark.parametrize(
    ("keyed", "told"), [("miner", [SshOpened]), ("admin", [KeyClosed]), ("root", [KeyClosed])]
)
@pytest.mark.parametrize("ssh", [{"user": "miner"}, {"user": "admin"}, {"user": "miner", "become": "root"}])
async def test_account_that_had_the_key_is_tried(ssh: dict[str, Any], keyed: str, told: list[type]) -> None:
    """Not the one that the inventory names by now, which may never have had it."""
    host = replace(HOST, ssh=replace(HOST.ssh, **ssh))
    ways = Accounts({HOST.name: FakeHost((), (), FakeRegion())}, keyed=keyed)
    emit = Emitted()
    nobody: Any = None
    site = Site(nobody, (host,), nobody, nobody, ManualClock())
    options = RolloutOptions("site.yaml", goal=Goal.SURVEY)
    closed = ClosedHosts(site, emit, options, {}, {(HOST.name, HOST.address): CLOSURE})
    outcomes = await closed.look((host,), ways)
    assert ways.tried == [("miner", "auto")]
    assert [type(event) for event in emit.events if isinstance(event, KeyClosed | SshOpened)] == told
    assert len(outcomes) == (told == [KeyClosed])


@pytest.mark.parametrize(
    ("drivers", "signers", "said"),
    [
        (("docker",), (), []),
        (("docker", "exec"), ("key",), []),
        (
            ("docker", "exec"),
            (),
            [
                "it is closed to SSH, and jobs may still use exec there (a maintenance door needs it, and would stay open)"
            ],
        ),
        (("docker", "qemu"), ("key",), ["it is closed to SSH, and jobs may still use qemu there"]),
    ],
    ids=["as asked", "door", "door taken out", "driver taken out"],
)
async def test_closed_host_that_keeps_its_door_is_named(
    drivers: tuple[str, ...], signers: tuple[str, ...], said: list[str]
) -> None:
    """What the inventory no longer asks for cannot be taken from it; its signers go on to be heeded, and nobody else says so."""
    region, emit = FakeRegion(), Emitted()
    region.show(replace(view(), drivers_healthy=drivers), "digest-nonce")
    closure = replace(CLOSURE, state=ClosureState.CLOSED)
    site, options = site_of(region, "auto", *signers), RolloutOptions("site.yaml", goal=Goal.ENROLL)
    closed = ClosedHosts(site, emit, options, {}, {(HOST.name, HOST.address): closure})
    await closed.look((HOST,), FakeConnector({}))
    judged = [event for event in emit.events if isinstance(event, HostJudged)]
    assert [finding.message for event in judged for finding in event.findings] == said


@pytest.mark.parametrize("goal", [Goal.PLAN, Goal.ENROLL])
@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("2.0.5", []),
        ("2.0.4", ["it is closed to SSH, and its node stays at Nomad 2.0.4; the inventory names 2.0.5"]),
    ],
)
async def test_closed_host_with_another_nomad_is_said_to_be_outdated(
    goal: Goal, runs: str, said: list[str]
) -> None:
    """It is unchanged, as nobody may connect to it: what the inventory asks for by now would else stay undone in silence."""
    region, emit = FakeRegion(), Emitted()
    region.show(replace(view(), version=runs), "digest-nonce")
    options = RolloutOptions("site.yaml", goal=goal)
    closure = replace(CLOSURE, state=ClosureState.CLOSED)
    site = site_of(region, "auto")
    closed = ClosedHosts(site, emit, options, {}, {(HOST.name, HOST.address): closure})
    ((_, outcome),) = await closed.look((HOST,), FakeConnector({}))
    judged = [event for event in emit.events if isinstance(event, HostJudged)]
    assert (outcome.result.value, outcome.problem) == ("unchanged", None)
    assert [finding.message for event in judged for finding in event.findings] == said
    assert {(event.host, finding.code) for event in judged for finding in event.findings} <= {
        (HOST.name, "closed_outdated")
    }
