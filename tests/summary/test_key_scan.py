"""Which scanned keys may be pinned, which hosts share one, and how a scan ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.errors import ExitCode, HostError, HostTrustError, HostUnreachableError
from ionetctl.core.model.host import Host, SshSettings
from ionetctl.core.model.host_key import HostKey, SeenKey, Standing
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.report.key_scan import document, pins_text
from ionetctl.summary.key_scan import KeyScan, groups_alike
from ionetctl.ui.key_scan import MOST, scan_lines

GONE = HostUnreachableError("connect_refused", "h refuses", "is it on?")
CHANGED = HostTrustError("host_key_changed", "h presents\x1b[31m ::error::x", "find out why")
NEW = HostTrustError("host_key_unknown", "h presents", "pin it")


def key(letter: str) -> HostKey:
    return HostKey(f"ssh-ed25519 {letter * 8}", f"SHA256:{letter * 4}")


def seen(name: str, standing: Standing, letter: str = "", error: HostError | None = None) -> SeenKey:
    return SeenKey(HostName(name), f"{name}.example", standing, key(letter) if letter else None, error)


def scan(*keys: SeenKey, **pins: str) -> KeyScan:
    written = {str(one.host): "" for one in keys} | pins
    hosts = tuple(
        Host(HostName(name), name, RegionName("eu"), "dc", ssh=SshSettings(host_keys=(pin,) if pin else ()))
        for name, pin in written.items()
    )
    return KeyScan("site.yaml", "2026-11-27T04:00:00+00:00", "ann@desk", keys, hosts)


def under_ca(found: KeyScan) -> KeyScan:
    """The same, where the inventory names a CA for every host."""
    signed = SshSettings(host_authorities=("ssh-ed25519 CCCC",))
    return replace(found, hosts=tuple(replace(host, ssh=signed) for host in found.hosts))


NOBODY = scan()
FIRST = scan(
    seen("a", Standing.NEW, "A", NEW), seen("b", Standing.KNOWN, "B"), seen("c", Standing.PINNED, "C")
)
CLONES = scan(
    seen("a", Standing.NEW, "A", NEW), seen("b", Standing.PINNED, "A"), seen("c", Standing.NEW, "C", NEW)
)
ELSEWHERE = scan(seen("a", Standing.NEW, "A", NEW), z="SHA256:AAAA")
KNOWN = scan(seen("a", Standing.KNOWN, "A"), seen("b", Standing.CERTIFIED, "B"))
CERTIFIED = under_ca(KNOWN)
BAD = scan(seen("a", Standing.REFUSED, "A", CHANGED), seen("b", Standing.UNSEEN, error=GONE))


@pytest.mark.parametrize(
    ("found", "pinned", "troubled", "exit_code"),
    [
        (NOBODY, [], [], ExitCode.OK),
        (FIRST, ["a", "b"], [], ExitCode.OK),
        (CLONES, ["c"], ["a", "b"], ExitCode.TRUST),
        (ELSEWHERE, [], ["a"], ExitCode.TRUST),
        (BAD, [], ["a", "b"], ExitCode.TRUST),
        (KNOWN, ["a"], [], ExitCode.OK),
        (CERTIFIED, [], [], ExitCode.OK),
        (scan(seen("b", Standing.UNSEEN, error=GONE)), [], ["b"], ExitCode.UNREACHABLE),
    ],
)
def test_what_may_be_pinned(
    found: KeyScan, pinned: list[str], troubled: list[str], exit_code: ExitCode
) -> None:
    """New and known keys, but none that is another host's; a key that is merely new is no failure."""
    assert ([one.host for one in found.pins], [one.host for one in found.troubled]) == (pinned, troubled)
    assert found.exit_code == exit_code


def test_hosts_with_one_key_are_named_together() -> None:
    """A scanned one and one that it is pinned for, whether that was scanned or not; each group once."""
    assert (dict(CLONES.alike), list(groups_alike(CLONES))) == ({"a": ("b",), "b": ("a",)}, [("a", "b")])
    assert dict(ELSEWHERE.alike) == {"a": ("z",)}
    assert dict(FIRST.alike) == {}


def test_pins_can_be_read_and_say_what_they_are_worth() -> None:
    """Each pin with its fingerprint; what is not pinned stands in a comment, with why."""
    lines = pins_text(FIRST).splitlines()
    assert (
        lines[0] == "# Host keys for site.yaml, scanned 2026-11-27T04:00:00+00:00 by ann@desk. Not reviewed."
    )
    assert "Whoever sat between" in lines[1]
    assert lines[-3:] == [
        "pins:",
        '  "a": ssh-ed25519 AAAAAAAA  # SHA256:AAAA, new',
        '  "b": ssh-ed25519 BBBBBBBB  # SHA256:BBBB, known_hosts has it',
    ]
    assert pins_text(CLONES).splitlines()[-4:-2] == [
        "# not pinned: a: the same key as b (SHA256:AAAA)",
        "# not pinned: b: the same key as a (SHA256:AAAA)",
    ]
    assert pins_text(BAD).splitlines()[-3:] == [
        "# not pinned: a: host_key_changed (SHA256:AAAA)",
        "# not pinned: b: connect_refused",
        "pins: {}",
    ]


def test_what_people_see() -> None:
    """Clones first, then what went wrong, made harmless, and the sums; not every host of a large fleet."""
    assert [line.partition(":")[0] for line in scan_lines(CLONES)] == ["one host key on a, b", "3 hosts"]
    assert list(scan_lines(BAD)) == [
        "a: host_key_changed: h presents : :error: :x → find out why",
        "b: connect_refused: h refuses → is it on?",
        "2 hosts: 1 refused, 1 unseen",
    ]
    many = scan(*(seen(f"h{n}", Standing.UNSEEN, error=GONE) for n in range(MOST + 2)))
    assert list(scan_lines(many))[-2:] == ["and 2 more; -o json has them all", "22 hosts: 22 unseen"]


def test_what_the_inventorys_ca_does_not_vouch_for() -> None:
    """A key that only known_hosts has is left out, and that is told; nothing is told where there is no CA."""
    assert pins_text(CERTIFIED).splitlines()[-2:] == [
        "# not pinned: a: known_hosts has its key, the inventory's CA has not signed it (SHA256:AAAA)",
        "pins: {}",
    ]
    assert [line.partition(" →")[0] for line in scan_lines(CERTIFIED)] == [
        "a: not pinned: known_hosts has the key, the inventory's CA has not signed it",
        "2 hosts: 1 certified, 1 known",
    ]
    assert list(scan_lines(KNOWN)) == ["2 hosts: 1 certified, 1 known"]
    cloned = under_ca(scan(seen("a", Standing.KNOWN, "A"), seen("b", Standing.KNOWN, "A")))
    assert [line for line in pins_text(cloned).splitlines() if "not pinned" in line] == [
        "# not pinned: a: the same key as b (SHA256:AAAA)",
        "# not pinned: b: the same key as a (SHA256:AAAA)",
    ]


def test_document() -> None:
    """Every host with its key, what it is to us, and who has it too."""
    made = document(CLONES, "pins.yaml")
    assert (made["schema"], made["exit_code"], made["out"]) == ("ionetctl.trust-scan/1", 6, "pins.yaml")
    assert made["summary"] == {
        "hosts": 3,
        "pinned": 1,
        "certified": 0,
        "known": 0,
        "new": 2,
        "refused": 0,
        "unseen": 0,
        "alike": 2,
    }
    assert made["hosts"][0] == {
        "name": "a",
        "address": "a.example",
        "standing": "new",
        "key": "ssh-ed25519 AAAAAAAA",
        "fingerprint": "SHA256:AAAA",
        "alike": ["b"],
        "error": {"code": "host_key_unknown", "message": "h presents", "hint": "pin it", "exit_code": 6},
    }
    assert document(BAD)["hosts"][1]["key"] is None
    assert document(None, exit_code=ExitCode.CONFIGURATION)["exit_code"] == 3
