"""Hosts that make their private keys themselves, ordinary ones and modelled ones: no controller ever has such a key."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.lab.host.standin_files import SYSTEM_LINK
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet, RaiseModelledFleet
    from tests.rehearsal.site import Admin, Rehearsal

OWN_KEYS: Final = ("ca-key.pem}}", "ca-key.pem}, key_on_host: true}")
WATCHED: Final = """
import sys
from cryptography.hazmat.primitives.asymmetric import ec

real = ec.generate_private_key

def noted(*arguments, **keywords):
    caller = sys._getframe(1).f_globals["__name__"]
    if caller.startswith("ionetctl"):
        with open({log!r}, "a") as log:
            log.write(caller + chr(10))
    return real(*arguments, **keywords)

ec.generate_private_key = noted
"""
KEY: Final = "etc/nomad.d/tls/client-key.pem"


@pytest.fixture
def watched(new_admin: NewAdmin, tmp_path: Path) -> tuple[Admin, Path]:
    """An admin whose processes note every private key that ionetctl makes in them, and where."""
    (tmp_path / "sitecustomize.py").write_text(WATCHED.format(log=str(tmp_path / "made")))
    return new_admin(PYTHONPATH=str(tmp_path)), tmp_path / "made"


@pytest.fixture(scope="module", params=["ordinary", "modelled"])
def fleet(
    request: pytest.FixtureRequest, raise_fleet: RaiseFleet, raise_modelled_fleet: RaiseModelledFleet
) -> Iterator[Rehearsal]:
    needs("openssl")
    raising = raise_fleet if request.param == "ordinary" else raise_modelled_fleet
    with raising(2) as rehearsal:
        yield rehearsal


def test_keys_are_made_on_hosts_from_the_change_on(fleet: Rehearsal, watched: tuple[Admin, Path]) -> None:
    """Enrolled the usual way first, which is the control; then the change is planned, carried out, and nothing is left to do."""
    admin, made = watched
    inventory = fleet.edited("own-keys", OWN_KEYS)
    assert admin.enroll(fleet.inventory).exit_code == 0
    assert made.read_text() == "ionetctl.credentials.signing_request\n" * 2
    made.unlink()
    assert admin.enroll(inventory, "--check").exit_code == 9
    changed = admin.enroll(inventory, "--engine=processes", "--workers=1")
    assert (changed.exit_code, set(changed.outcomes().values())) == (0, {"enrolled"}), changed.stdout
    again = admin.enroll(inventory)
    assert (again.exit_code, set(again.outcomes().values())) == (0, {"unchanged"}), again.stdout
    assert not made.exists()


def test_lost_key_is_made_anew(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """On its host again; what is in the journal names no byte of it."""
    needs("openssl")
    admin = new_admin()
    with raise_fleet(1) as rehearsal:
        inventory, (host,) = rehearsal.edited("own-keys", OWN_KEYS), rehearsal.hosts
        key = rehearsal.tree(host) / KEY
        assert admin.enroll(inventory).exit_code == 0
        first = key.read_text()
        key.unlink()
        assert admin.enroll(inventory, "-vv").outcomes() == {host: "enrolled"}
        second = key.read_text()
    said = "".join(journal.read_text() for journal in admin.journals())
    assert (first == second, first.splitlines()[1] in said, "certificate" in said) == (False, False, True)


def with_openssl(rehearsal: Rehearsal, host: str, script: str | None) -> None:
    """Let the host have this program as openssl; ``REAL`` in it is the machine's own. ``None``: it has none."""
    link = rehearsal.tree(host) / SYSTEM_LINK
    programs = rehearsal.directory / f"bin/system-of-{host}"
    shutil.copytree(link.resolve(), programs, symlinks=True)
    (programs / "openssl").unlink()
    if script is not None:
        (programs / "openssl").write_text("#!/bin/sh\n" + script.replace("REAL", needs("openssl")))
        (programs / "openssl").chmod(0o755)
    link.unlink()
    link.symlink_to(programs)


RSA: Final = """if [ "$1" = genpkey ]; then exec REAL genrsa -out f/key 2048; fi
exec REAL "$@"
"""
GIANT: Final = """REAL "$@" || exit
if [ "$1" = req ]; then head -c 9000 /dev/zero | tr '\\0' A >>f/request; fi
"""
NO_REQUEST: Final = """REAL "$@" || exit
if [ "$1" = req ]; then echo MAo= >f/request; fi
"""


def test_hosts_that_cannot_ask_as_they_should_are_refused(
    raise_fleet: RaiseFleet, new_admin: NewAdmin
) -> None:
    """Without openssl, with a key of another kind, with a request that is too large, with none; nothing of theirs is changed."""
    needs("openssl")
    admin = new_admin()
    with raise_fleet(5) as rehearsal:
        *strange, sound = rehearsal.hosts
        for host, script in zip(strange, (None, RSA, GIANT, NO_REQUEST), strict=True):
            with_openssl(rehearsal, host, script)
        assert admin.enroll(rehearsal.inventory, "--check", f"--limit={strange[0]}").exit_code == 9
        ended = admin.enroll(rehearsal.edited("own-keys", OWN_KEYS), "--max-failures=100%")
        assert [host for host in strange if (rehearsal.tree(host) / "etc/nomad.d/tls").exists()] == []
    assert (ended.exit_code, ended.outcomes()) == (5, {**dict.fromkeys(strange, "failed"), sound: "enrolled"})
    errors = [ended.host(host)["error"] for host in strange]
    assert [error["code"] for error in errors] == [
        *("openssl_missing", "csr_refused", "report_malformed", "csr_refused")
    ]
    assert "its key is RSA of 2048 bits, not EC P-256" in errors[1]["message"]
