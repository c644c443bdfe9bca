"""A connection that drops in the middle of an upload: the same rollout's next attempt sends only the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Rehearsal

RECORDING_TAR: Final = '#!/bin/sh\ntee -a "$IONET_ROOT/run/lab/received" | /bin/tar "$@"\n'
MEMBER: Final = re.compile(rb"p/([0-9a-f]{64})\.([0-9]+)\0.{30,90}?\0([0-7]{11})\0", re.DOTALL)
"""A program's header in an archive (ustar): packed digest, the byte it begins with, and its size in octal."""
SCRIPTS_BYTES: Final = 120_000
"""Room for scripts, configuration and headers, of two archives."""


def recorded(rehearsal: Rehearsal, host: str) -> Path:
    """Where every archive that the host receives is recorded from now on, one after the other."""
    tar = rehearsal.tree(host) / "usr/bin/tar"
    tar.write_text(RECORDING_TAR)
    tar.chmod(0o755)
    return rehearsal.tree(host) / "run/lab/received"


def test_a_dropped_upload_goes_on(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """The host ends enrolled at the second attempt, and has received each byte of its programs once."""
    admin = new_admin()
    with raise_fleet(1, "drop=1") as rehearsal:
        host = rehearsal.host_with("drop")
        record = recorded(rehearsal, host)
        ended = admin.enroll(rehearsal.inventory)
        received = record.read_bytes()
        left = rehearsal.tree(host) / "var/lib/ionet/artifacts"
        assert not left.exists()
    assert (ended.exit_code, ended.host(host)["attempts"]) == (0, 2)
    starts: dict[bytes, list[tuple[int, int]]] = {}
    for digest, start, size in MEMBER.findall(received):
        starts.setdefault(digest, []).append((int(start), int(size, 8)))
    (first, rest) = next(members for members in starts.values() if len(members) == 2)
    assert first[0] == 0
    assert rest[0] > 0
    assert sum(rest) == first[1]
    programs = sum(members[0][1] for members in starts.values())
    assert programs < len(received) < programs + SCRIPTS_BYTES
