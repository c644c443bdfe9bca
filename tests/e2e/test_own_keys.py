"""A node's private key that its host makes, on real systemd hosts of a real region: it is on that host and nowhere else.

What SSH carries is recorded on the hosts, in clear. The control is a host enrolled the usual way: there the same search finds the key
among what the controller sent.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ionetctl.core import host_paths
from tests.e2e.base_root import USER, why_unavailable
from tests.e2e.machines import Fleet
from tests.e2e.real_region import RealRegion
from tests.e2e.site import Site, site_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machines import Machine
    from tests.e2e.site import Finished

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nomad,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

STREAMS: Final = "var/log/streams"
RECORDED: Final = f"""\
#!/bin/bash
d=$(mktemp -d /{STREAMS}/XXXXXX)
exec bash -c "$SSH_ORIGINAL_COMMAND" < <(tee "$d/stdin" 2>/dev/null) > >(tee "$d/stdout") 2> >(tee "$d/stderr" >&2)
"""
"""Runs each command of a login, and keeps what it was sent and what it said."""


def record(machine: Machine) -> None:
    """Have its SSH server keep all that goes over it."""
    program = machine.root / "usr/local/bin/recorded"
    program.write_text(RECORDED)
    program.chmod(0o755)
    (machine.root / STREAMS).mkdir()
    (machine.root / STREAMS).chmod(0o1777)
    rule = f"Match User {USER}\n    ForceCommand /usr/local/bin/recorded\n"
    (machine.root / "etc/ssh/sshd_config.d/recorded.conf").write_text(rule)


@pytest.fixture(scope="module")
def site(nomad_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two hosts, and their real region."""
    assert nomad_program
    with (
        Fleet(2, tmp_path_factory.mktemp("hosts"), furnish=record) as fleet,
        site_of(fleet, tmp_path_factory.mktemp("site")) as site,
    ):
        yield site


def key_of(machine: Machine) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(machine.read(host_paths.NODE_KEY).encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def certificate_of(machine: Machine) -> x509.Certificate:
    return x509.load_pem_x509_certificate(machine.read(host_paths.NODE_CERT).encode())


def needles(key: ec.EllipticCurvePrivateKey) -> set[bytes]:
    """The private number as bytes, as hexadecimal digits, and the lines of each PEM form that has it."""
    number = key.private_numbers().private_value.to_bytes(32)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forms = (
        key.private_bytes(Encoding.PEM, form, NoEncryption())
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    )
    lines = {line for form in forms for line in form.splitlines() if line not in public}
    return {number, number.hex().encode(), number.hex().upper().encode()} | {
        line for line in lines if not line.startswith(b"-----")
    }


def places(site: Site, machine: Machine, done: Finished, key: ec.EllipticCurvePrivateKey) -> set[str]:
    """Where the key is: on its host, among what SSH carried, on the controller with its region, or in what was printed."""
    sought = needles(key)
    journal = machine.run("journalctl --all --output=export --no-pager").stdout
    texts = {"journal": journal, "printed": done.stdout + done.stderr}
    found = {name for name, text in texts.items() if any(each in text.encode() for each in sought)}
    upper = machine.directory / "disk/upper"
    roots = {machine.directory / "disk": upper, site.directory: site.directory}
    for root in roots.values():
        for path in root.rglob("*"):
            if path.is_symlink() or not path.is_file() or "mirror" in path.parts or "releases" in path.parts:
                continue
            content = path.read_bytes()
            if any(each in content for each in sought):
                relative = path.relative_to(root)
                in_streams = relative.is_relative_to(STREAMS)
                found.add(f"streams: {path.name}" if in_streams else f"/{relative}")
    return found


def forget_streams(machine: Machine) -> None:
    for folder in (machine.root / STREAMS).iterdir():
        shutil.rmtree(folder)


def enroll(site: Site, machine: Machine, *, key_on_host: bool) -> Finished:
    """One host, with everything told that can be told."""
    forget_streams(machine)
    site.issuer = {"key_on_host": True} if key_on_host else {}
    site.write([machine])
    return site.enroll("-vv")


def is_ready(site: Site, machine: Machine) -> bool:
    assert isinstance(site.region, RealRegion)
    return [node["Status"] for node in site.region.nodes() if node["Name"] == machine.name] == ["ready"]


def age(site: Site, machine: Machine) -> None:
    """Have the region's CA sign the host's key anew, as years ago: less than a third of its time is left."""
    old = certificate_of(machine)
    pki = site.region.directory
    authority = load_pem_private_key((pki / "ca-key.pem").read_bytes(), None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=300))
        .not_valid_after(now + timedelta(days=30))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    aged = builder.sign(authority, hashes.SHA256())  # type: ignore[arg-type]
    (machine.root / host_paths.NODE_CERT.lstrip("/")).write_bytes(aged.public_bytes(Encoding.PEM))


def test_search_finds_a_key_that_was_sent(site: Site) -> None:
    """The control: the controller made this one and sent it."""
    machine = site.fleet.machines[0]
    done = enroll(site, machine, key_on_host=False)
    assert (done.exit_code, done.outcomes) == (0, {machine.name: "enrolled"}), done.stderr
    found = places(site, machine, done, key_of(machine))
    assert found == {"streams: stdin", host_paths.NODE_KEY}


def test_key_is_nowhere_but_on_its_host(site: Site) -> None:
    """Enrolled, looked at again, and renewed by a new key; each key is in its file alone, and the old one in none."""
    machine = site.fleet.machines[1]
    done = enroll(site, machine, key_on_host=True)
    assert (done.exit_code, done.outcomes) == (0, {machine.name: "enrolled"}), done.stderr
    first, node_id = key_of(machine), done.document["hosts"][0]["node_id"]
    assert (certificate_of(machine).public_key(), is_ready(site, machine)) == (first.public_key(), True)
    assert places(site, machine, done, first) == {host_paths.NODE_KEY}

    again = enroll(site, machine, key_on_host=True)
    assert (again.exit_code, again.outcomes) == (0, {machine.name: "unchanged"}), again.stderr
    assert places(site, machine, again, first) == {host_paths.NODE_KEY}

    age(site, machine)
    renewed = enroll(site, machine, key_on_host=True)
    assert (renewed.exit_code, renewed.outcomes) == (0, {machine.name: "enrolled"}), renewed.stderr
    second = key_of(machine)
    assert renewed.document["hosts"][0]["node_id"] == node_id
    assert (certificate_of(machine).public_key(), is_ready(site, machine)) == (second.public_key(), True)
    assert places(site, machine, renewed, second) == {host_paths.NODE_KEY}
    assert places(site, machine, renewed, first) == set()
    assert enroll(site, machine, key_on_host=True).outcomes == {machine.name: "unchanged"}
