"""Closing real systemd hosts to the key that bootstrapped them: OpenSSH refuses it, and what cannot be closed is left alone."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.base_root import why_unavailable
from tests.e2e.machines import USER, Fleet
from tests.e2e.site import Site, site_of
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.machines import Machine
    from tests.e2e.site import Finished

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

KEYS = f"/home/{USER}/.ssh/authorized_keys"
OTHER = (
    "# of the site\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA other\n"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Four hosts that nobody has touched."""
    with (
        Fleet(4, tmp_path_factory.mktemp("hosts")) as hosts,
        site_of(hosts, tmp_path_factory.mktemp("site")) as site,
    ):
        yield site


def enroll(site: Site, machine: Machine, *options: str, identity: Path | None = None) -> Finished:
    """Enrol one host, to be closed."""
    ssh = {"user": USER, "identity": str(identity or site.fleet.identity), "close": "key"}
    site.write([machine], ssh=ssh)
    return site.enroll(*options)


def logs_in(site: Site, machine: Machine) -> str:
    """What OpenSSH's own client says to a login with the key."""
    options = (
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "LogLevel=ERROR",
    )
    argv = [needs("ssh"), "-F", "none", *(word for option in options for word in ("-o", option))]
    argv += ["-i", str(site.fleet.identity), f"{USER}@{machine.address}", "echo let in"]
    done = site.fleet.run_controller(argv, site.environment(), 60)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def test_host_is_closed_and_stays_verified(site: Site) -> None:
    """Exactly the key is gone; nobody connects to it again, and its region confirms it."""
    machine = site.fleet.machines[0]
    machine.run(f"printf '%s' '{OTHER}' >>{KEYS}")
    before = machine.run(f"stat -c '%a %U:%G' {KEYS}").stdout
    assert logs_in(site, machine) == "let in"
    done = enroll(site, machine)
    assert (done.exit_code, done.outcomes) == (0, {machine.name: "enrolled"}), done.stderr
    assert "Permission denied (publickey" in logs_in(site, machine)
    assert machine.read(KEYS) == OTHER
    assert machine.run(f"stat -c '%a %U:%G' {KEYS}").stdout == before
    again = enroll(site, machine)
    assert (again.exit_code, again.outcomes) == (0, {machine.name: "unchanged"}), again.stderr
    assert "closed to SSH" in again.stderr


def test_keys_command_is_refused(site: Site) -> None:
    """Nothing is changed there."""
    machine = site.fleet.machines[1]
    machine.run(
        "printf 'AuthorizedKeysCommand /bin/true\\nAuthorizedKeysCommandUser root\\n' >/etc/ssh/sshd_config.d/keys.conf; "
        "systemctl reload ssh"
    )
    done = enroll(site, machine)
    assert (done.exit_code, done.codes) == (5, {machine.name: "close_refused"}), done.stderr
    assert "AuthorizedKeysCommand" in done.document["hosts"][0]["error"]["message"]
    assert machine.run("ls /etc/nomad.d 2>/dev/null; true").stdout == ""
    assert logs_in(site, machine) == "let in"


def test_certificate_login_is_refused(site: Site, tmp_path: Path) -> None:
    """A CA's certificate cannot be taken out of a file, although the same key stands in it."""
    machine = site.fleet.machines[2]
    keygen, authority, identity = needs("ssh-keygen"), tmp_path / "ca", tmp_path / "id"
    subprocess.run((keygen, "-q", "-t", "ed25519", "-N", "", "-f", authority), check=True)
    identity.write_bytes(site.fleet.identity.read_bytes())
    identity.chmod(0o600)
    public = subprocess.run((keygen, "-y", "-f", identity), check=True, capture_output=True).stdout
    identity.with_suffix(".pub").write_bytes(public)
    sign = (keygen, "-q", "-s", authority, "-I", "ops", "-n", USER, identity.with_suffix(".pub"))
    subprocess.run(sign, check=True)
    trusted = authority.with_suffix(".pub").read_text().strip()
    machine.run(
        f"echo '{trusted}' >/etc/ssh/user_ca.pub; echo 'TrustedUserCAKeys /etc/ssh/user_ca.pub' "
        ">/etc/ssh/sshd_config.d/ca.conf; systemctl reload ssh"
    )
    done = enroll(site, machine, identity=identity)
    assert (done.exit_code, done.codes) == (5, {machine.name: "close_refused"}), done.stderr
    assert "certificate of a CA" in done.document["hosts"][0]["error"]["message"]


def test_linked_file_is_refused(site: Site) -> None:
    """It may be another account's."""
    machine = site.fleet.machines[3]
    machine.run(f"mv {KEYS} {KEYS}.real && ln -s authorized_keys.real {KEYS}")
    done = enroll(site, machine)
    assert (done.exit_code, done.codes) == (5, {machine.name: "close_refused"}), done.stderr
    assert "symbolic link" in done.document["hosts"][0]["error"]["message"]
