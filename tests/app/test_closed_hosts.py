"""A host whose closing was cut off is closed only where the account that had the key refuses it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.app.closed_hosts import ClosedHosts
from ionetctl.app.open_inventory import Site
from ionetctl.core.events import KeyClosed, SshOpened
from ionetctl.history.catalog import Closure, ClosureState
from ionetctl.rollout.options import Goal, RolloutOptions
from tests.support.clock import ManualClock
from tests.support.fakes import LOGIN, Emitted, FakeConnector, FakeHost, FakeRegion
from tests.support.sample import HOST

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
