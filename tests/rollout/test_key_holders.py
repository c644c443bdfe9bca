"""A host that answers with another's SSH key is named together with that one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import asyncssh
import pytest

from ionetctl.checks import KnownMachine
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.host import Host, SshSettings
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Outcome, Problem, Result
from ionetctl.rollout.key_holders import KeyHolders
from tests.support.sample import HOST

KEY: Final = asyncssh.generate_private_key("ssh-ed25519")
FINGERPRINT: Final = KEY.get_fingerprint()
LINE: Final = " ".join(KEY.export_public_key().decode().split()[:2])
OTHER: Final = "SHA256:" + "x" * 43
MESSAGE: Final = f"a presents the ssh-ed25519 key {FINGERPRINT}, but the inventory pins {OTHER}"


def pinned(name: str, *keys: str) -> Host:
    return replace(HOST, name=HostName(name), ssh=SshSettings(host_keys=keys))


def noted(name: str, key: str | None) -> KnownMachine:
    return KnownMachine(name, "10.0.0.1", "id", None, MachineIdentity("10.0.0.1 port 22", key))


def refused(exit_code: int = 6) -> Outcome:
    problem = Problem("host_key_changed", "survey", MESSAGE, "find out why", exit_code)
    return Outcome(HostName("a"), "10.0.0.9", HOST.region, "rey1", Result.FAILED, problem=problem)


@pytest.mark.parametrize(
    ("holders", "added"),
    [
        (KeyHolders([pinned("a", OTHER), pinned("b", LINE)]), f"; {FINGERPRINT} is the key of b"),
        (KeyHolders([pinned("b", "SHA256:other", FINGERPRINT)]), f"; {FINGERPRINT} is the key of b"),
        (KeyHolders(known=[noted("b", FINGERPRINT)]), f"; {FINGERPRINT} is the key of b"),
        (KeyHolders([pinned("b", LINE)], [noted("b", FINGERPRINT)]), f"; {FINGERPRINT} is the key of b"),
        (KeyHolders([pinned("A", LINE)], [noted("b", None), KnownMachine("c", "", "")]), ""),
        (
            KeyHolders([pinned(f"h{number}", LINE) for number in range(9)]),
            "".join(f"; {FINGERPRINT} is the key of h{number}" for number in range(6)),
        ),
    ],
    ids=["pin", "fingerprint", "catalog", "pin and catalog", "its own", "many"],
)
def test_whose_key_it_is(holders: KeyHolders, added: str) -> None:
    """By a pin, written either way, or as the catalog noted it; its own is no news."""
    problem = holders.named(refused()).problem
    assert problem is not None
    assert problem.message == MESSAGE + added


def test_other_failures_are_as_they_were() -> None:
    """What is no matter of trust is not looked at, nor a host that did not fail."""
    holders = KeyHolders([pinned("b", LINE)])
    enrolled = replace(refused(), result=Result.ENROLLED, problem=None)
    assert [holders.named(one) for one in (refused(5), enrolled)] == [refused(5), enrolled]
