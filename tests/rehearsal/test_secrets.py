"""No secret is printed or written where it does not belong: all output and files of a verbose enrolment are searched.

The control tests show that the search finds a secret that is there, in every form that it looks for.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

SSH_PASSWORD: Final = "hunter2-over-ssh"
SUDO_PASSWORD: Final = "swordfish-for-sudo"
JWT: Final = re.compile(rb"eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}")
LOGGING_SUDO: Final = """#!/bin/sh
# Logs what every user of the host could see of a command, then runs the stand-in for sudo.
{ printf '%s\\n' "$@"; env; } >>"$IONET_ROOT/run/lab/seen"
exec "${0%/*}/../real/sudo" "$@"
"""


@dataclass(frozen=True, slots=True)
class VerboseEnrolment:
    """An enrolment with all options that produce output."""

    admin: Admin
    rehearsal: Rehearsal
    secrets: dict[str, bytes]
    first: CommandResult
    texts: list[str]


def found(content: bytes, secrets: dict[str, bytes]) -> set[str]:
    """The names of the secrets that occur in ``content``, plain or in base64, and ``introduction`` for any JWT."""
    names = {name for name, secret in secrets.items() if any(form in content for form in forms(secret))}
    return names | ({"introduction"} if JWT.search(content) else set())


def forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it is, and as it stands within base64 at any offset."""
    yield secret
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret)
        yield encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4]


def key_body(path: Path) -> bytes:
    """A line from the middle of a PEM file: no header, and nothing that other keys have too."""
    return path.read_bytes().splitlines()[1][24:60]


def logged(rehearsal: Rehearsal) -> None:
    """Let every host log arguments and environment of the commands that run as root."""
    programs = rehearsal.directory / "bin"
    (programs / "common/sudo").rename(programs / "real/sudo")
    (programs / "common/sudo").write_text(LOGGING_SUDO)
    (programs / "common/sudo").chmod(0o755)


@pytest.fixture(scope="module")
def enrolment(
    raise_fleet: RaiseFleet, new_admin: NewAdmin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VerboseEnrolment]:
    document = json.dumps({"sudo": SUDO_PASSWORD})
    admin = replace(new_admin(RIG_PASSWORD=SSH_PASSWORD), stdin=document)
    with raise_fleet(6, "auth=1", "sudo=1", "start-fails=1", "no-route=1") as rehearsal:
        rehearsal.install_wrapper()
        logged(rehearsal)
        reports = tmp_path_factory.mktemp("reports")
        identity = "identity: ./id_ed25519"
        inventory = rehearsal.edited(
            "enrolment",
            (
                identity,
                f"{identity}, password: {{command: [printenv, RIG_PASSWORD]}}, become_password: {{stdin: sudo}}",
            ),
        )
        options = ("--max-failures=100%", "--timeout=12", "-vv", "--diff")
        files = tuple(f"--report={kind}={reports}/report.{kind}" for kind in ("junit", "csv"))
        ends = [
            admin.enroll(inventory, *options, *files),
            admin.enroll(inventory, *options, "-o", "ndjson", "--check"),
            admin.run("rollouts", "show", "-o", "json", "-vv"),
            admin.run("render", str(inventory), rehearsal.sound[0]),
            admin.run("inventory", "show", str(inventory)),
            admin.run("status", "-o", "json", "-vv"),
            admin.run("lab", "down", f"--dir={reports}", "-vv"),
        ]
        pki = rehearsal.directory / "pki"
        secrets = {
            "api-token": (rehearsal.directory / "token").read_bytes().strip(),
            "ca-key": key_body(pki / "ca-key.pem"),
            "our-key": key_body(pki / "cli-key.pem"),
            "ssh-key": key_body(rehearsal.directory / "id_ed25519"),
            "ssh-password": SSH_PASSWORD.encode(),
            "sudo-password": SUDO_PASSWORD.encode(),
        }
        for host in rehearsal.hosts:
            key = rehearsal.tree(host) / "etc/nomad.d/tls/client-key.pem"
            if key.exists():
                secrets[f"key-of-{host}"] = key_body(key)
        texts = [text for end in ends for text in (end.stdout, end.stderr)]
        texts += [path.read_text() for path in reports.iterdir()]
        yield VerboseEnrolment(admin, rehearsal, secrets, ends[0], texts)


def test_enrolment_had_the_risky_cases(enrolment: VerboseEnrolment) -> None:
    """The cases that could reveal secrets have occurred: refused logins, minted tokens, failed starts."""
    codes = {(host["error"] or {}).get("code") for host in enrolment.first.document["hosts"]}
    assert codes == {None, "auth_failed", "sudo_password_wrong", "start_failed", "servers_unreachable"}
    assert "token_minted" in enrolment.admin.journals()[0].read_text()
    assert len([name for name in enrolment.secrets if name.startswith("key-of")]) == 3


def test_nothing_secret_is_printed(enrolment: VerboseEnrolment) -> None:
    """Neither on standard output, nor on standard error, nor in reports."""
    hits = [found(text.encode(), enrolment.secrets) for text in enrolment.texts]
    assert hits == [set()] * len(enrolment.texts)


def test_nothing_secret_is_kept_by_the_admin(enrolment: VerboseEnrolment) -> None:
    """Neither in journal, catalog, cache and known hosts, nor anywhere else in the home directory."""
    kept = [path for path in enrolment.admin.home.rglob("*") if path.is_file()]
    assert {path.name: found(path.read_bytes(), enrolment.secrets) for path in kept} == {
        path.name: set() for path in kept
    }
    assert {"catalog.sqlite", enrolment.admin.journals()[0].name} <= {path.name for path in kept}


def test_hosts_get_nothing_but_their_own_key(enrolment: VerboseEnrolment) -> None:
    """A host has its own key in one file of mode 0600, and its identity in the agent's state."""
    hits = {
        (host, str(path.relative_to(enrolment.rehearsal.tree(host))), name)
        for host in enrolment.rehearsal.hosts
        for path in enrolment.rehearsal.tree(host).rglob("*")
        if path.is_file() and not path.is_symlink()
        for name in found(path.read_bytes(), enrolment.secrets)
    }
    keys = {
        (name.removeprefix("key-of-"), "etc/nomad.d/tls/client-key.pem", name)
        for name in enrolment.secrets
        if name.startswith("key-of-")
    }
    identities = {
        (host, "opt/nomad/data/client/state.db", "introduction") for host in enrolment.rehearsal.sound
    }
    assert hits == keys | identities
    modes = {(enrolment.rehearsal.tree(host) / path).stat().st_mode & 0o777 for host, path, _ in keys}
    assert modes == {0o600}


def test_no_command_on_a_host_shows_a_secret(enrolment: VerboseEnrolment) -> None:
    """No arguments and no environment of a command there has one."""
    noted = list((enrolment.rehearsal.directory / "hosts").glob("*/run/lab/seen"))
    assert [found(path.read_bytes(), enrolment.secrets) for path in noted] == [set()] * 4
    assert all(
        b"IONET_ROOT=" in path.read_bytes() and b"ionetctl-start-" in path.read_bytes() for path in noted
    )


@pytest.mark.parametrize(
    "secret", ["api-token", "ca-key", "our-key", "ssh-key", "ssh-password", "sudo-password"]
)
@pytest.mark.parametrize("shift", range(3))
def test_searcher_finds_what_is_there(enrolment: VerboseEnrolment, secret: str, shift: int) -> None:
    """The control: each secret is found as it is and in base64 at any offset, and nothing else is."""
    planted = enrolment.secrets[secret]
    hidden = base64.b64encode(b"x" * shift + planted + b" and more")
    texts = (b'{"message": "it was ' + planted + b'"}', hidden, b"nothing of the kind")
    assert [found(text, enrolment.secrets) for text in texts] == [{secret}, {secret}, set()]


def test_searcher_finds_introductions(enrolment: VerboseEnrolment) -> None:
    """The control for tokens, which differ each time: a node's identity is recognised as a JWT."""
    state = enrolment.rehearsal.tree(enrolment.rehearsal.sound[0]) / "opt/nomad/data/client/state.db"
    assert found(state.read_bytes(), enrolment.secrets) == {"introduction"}
