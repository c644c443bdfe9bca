"""Errors that end an enrolment before any host is touched, by exit code; the hosts' files are compared."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.lab import certificates
from ionetctl.lab.release_mirror import write_releases
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal


@pytest.fixture(scope="module")
def fleet(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(2) as rehearsal:
        yield rehearsal


@pytest.fixture
def untouched(fleet: Rehearsal) -> Iterator[Rehearsal]:
    """The fleet; fails when a host's file has changed after the test."""
    before = fleet.snapshots()
    yield fleet
    assert fleet.snapshots() == before


@pytest.fixture
def admin(new_admin: NewAdmin) -> Admin:
    return new_admin()


@pytest.fixture
def own_artifacts(untouched: Rehearsal, tmp_path: Path) -> tuple[Path, Path]:
    """An inventory beside the original whose releases and lock file are the test's own."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ("pki", "artifacts"):
        shutil.copytree(untouched.directory / name, site / name)
    for name in ("token", "id_ed25519", "inventory.yaml"):
        shutil.copy2(untouched.directory / name, site / name)
    return site, site / "inventory.yaml"


def refusal(ended: CommandResult) -> tuple[int, str]:
    """Exit code and error code of the command; fails when a host has an outcome."""
    document: Any = ended.document
    assert set(ended.outcomes().values()) <= {"skipped"}
    return ended.exit_code, document["error"]["code"]


def test_check_plans_and_changes_nothing(untouched: Rehearsal, admin: Admin) -> None:
    """Exit code 9, and no file on the hosts."""
    check = admin.enroll(untouched.inventory, "--check", "--diff")
    assert (check.exit_code, set(check.outcomes().values())) == (9, {"skipped"})


def test_without_terminal_consent_is_needed(untouched: Rehearsal, admin: Admin) -> None:
    """No confirmation is possible: exit code 2, with the two options that help."""
    ended = admin.run("enroll", str(untouched.inventory), "-o", "json")
    assert refusal(ended) == (2, "consent_needed")
    assert "--yes" in ended.document["error"]["hint"]
    assert "--check" in ended.document["error"]["hint"]


def test_tampered_release(own_artifacts: tuple[Path, Path], admin: Admin) -> None:
    """A zip that does not match its checksum is a trust error."""
    site, inventory = own_artifacts
    archive = next((site / "artifacts/nomad").rglob("*amd64.zip"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"?")
    assert refusal(admin.enroll(inventory))[0] == 6


def test_release_that_was_exchanged_with_its_checksums(
    own_artifacts: tuple[Path, Path], new_admin: NewAdmin
) -> None:
    """A release that matches its own checksums but not the lock file is refused."""
    site, inventory = own_artifacts
    assert new_admin().enroll(inventory, "--check").exit_code == 9
    shutil.rmtree(site / "artifacts")
    write_releases(site / "artifacts", "2.0.5", "1.1.0", 4096)
    assert refusal(new_admin().enroll(inventory, "--check"))[0] == 6


def test_missing_release(own_artifacts: tuple[Path, Path], admin: Admin) -> None:
    """A release that cannot be downloaded is a configuration error."""
    site, inventory = own_artifacts
    shutil.rmtree(site / "artifacts/nomad")
    assert refusal(admin.enroll(inventory))[0] == 3


def test_client_newer_than_its_servers(own_artifacts: tuple[Path, Path], admin: Admin) -> None:
    """A client of 2.0.6 is refused for servers of 2.0.5."""
    site, inventory = own_artifacts
    shutil.rmtree(site / "artifacts")
    write_releases(site / "artifacts", "2.0.6", "1.1.0", 4096)
    inventory.write_text(inventory.read_text().replace("version: 2.0.5", "version: 2.0.6"))
    assert refusal(admin.enroll(inventory)) == (3, "client_newer_than_servers")


def test_missing_node_pool(untouched: Rehearsal, admin: Admin) -> None:
    """A node in a missing pool would never become ready."""
    inventory = untouched.edited("no-pool", ("node_pool: gpu", "node_pool: gpus"))
    assert refusal(admin.enroll(inventory)) == (3, "node_pool_missing")


def test_foreign_issuer(untouched: Rehearsal, admin: Admin) -> None:
    """An issuer that does not chain to the region's CA is found without any connection."""
    foreign = certificates.new_authority("Another CA")
    foreign.write(untouched.directory / "pki/foreign.pem", untouched.directory / "pki/foreign-key.pem")
    pair = "{cert: pki/ca.pem, key: {file: pki/ca-key.pem}}"
    inventory = untouched.edited("foreign-issuer", (pair, pair.replace("ca", "foreign")))
    assert refusal(admin.enroll(inventory)) == (3, "ca_chain_broken")


def test_ready_pair_of_another_region(untouched: Rehearsal, admin: Admin) -> None:
    """A certificate without the name ``client.<region>.nomad``, which servers would refuse, is refused beforehand."""
    issuer = "issuer: {cert: pki/ca.pem, key: {file: pki/ca-key.pem}}"
    pair = "node: {cert: pki/cli.pem, key: {file: pki/cli-key.pem}}"
    inventory = untouched.edited("wrong-pair", (issuer, pair))
    assert refusal(admin.enroll(inventory)) == (3, "pair_wrong_role")


def test_foreign_ca_of_the_api(untouched: Rehearsal, admin: Admin) -> None:
    """No request is sent to a server with a certificate of another CA: exit code 6."""
    folder = untouched.directory / "pki"
    authority = certificates.new_authority("Another CA")
    authority.write(folder / "strange.pem", folder / "strange-key.pem")
    client = certificates.issue(authority, "cli.eu-north.nomad")
    client.write(folder / "strange-cli.pem", folder / "strange-cli-key.pem")
    inventory = untouched.edited("foreign-ca", ("pki/ca", "pki/strange"), ("pki/cli", "pki/strange-cli"))
    assert refusal(admin.enroll(inventory)) == (6, "region_untrusted")


def test_region_that_cannot_be_reached(untouched: Rehearsal, admin: Admin) -> None:
    """A bounded number of attempts, then exit code 8."""
    port = json.loads((untouched.directory / "run/region.ready").read_text())["api_port"]
    inventory = untouched.edited("no-region", (f"127.0.0.1:{port}", "127.0.0.1:1"))
    assert refusal(admin.enroll(inventory)) == (8, "region_unreachable")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("forbidden", "region_forbidden"),
        ("internal", "region_failing"),
        ("html", "region_nonsense"),
    ],
)
def test_region_that_fails(untouched: Rehearsal, admin: Admin, mode: str, expected: str) -> None:
    """Exit code 8 with the reason for every failure mode, and no host is contacted."""
    with untouched.region_misbehaving(mode):
        assert refusal(admin.enroll(untouched.inventory)) == (8, expected)


def test_name_that_another_node_has(fleet: Rehearsal, new_admin: NewAdmin) -> None:
    """An error of the host that would get the name, before it is changed; none of the host that has it."""
    bearer, other = fleet.hosts
    assert new_admin().enroll(fleet.inventory, f"--limit={bearer}").exit_code == 0
    before = fleet.snapshots()
    inventory = fleet.edited("same-name", (bearer, "nobody"), (f"name: {other}", f"name: {bearer}"))
    ended = new_admin().enroll(inventory, f"--limit={bearer}")
    assert (ended.exit_code, ended.host(bearer)["error"]["code"]) == (5, "name_taken")
    assert fleet.snapshots() == before
    wait_until(lambda: fleet.is_ready(bearer), f"{bearer} is still ready")


def test_unknown_keys_are_refused_scanned_or_accepted(untouched: Rehearsal, admin: Admin) -> None:
    """Without pins: refused, then pinned by a scan, then taken on first sight, which the document says key by key."""
    text = untouched.inventory.read_text()
    keys = dict(re.findall(r'name: (\S+), .*host_key: "([^"]+)"', text))
    unpinned = untouched.edited(
        "unpinned", *((f'host_key: "{key}"', "agent: false") for key in keys.values())
    )
    refused = admin.run("preflight", str(unpinned), "-o", "json")
    assert [host["error"]["code"] for host in refused.document["hosts"]] == ["host_key_unknown"] * 2
    pins = untouched.directory / "pins.yaml"
    scanned = admin.run("trust", "scan", str(unpinned), "--out", str(pins), "-o", "json")
    assert {host["name"]: host["key"] for host in scanned.document["hosts"]} == keys
    pinned = untouched.directory / "pinned.yaml"
    pinned.write_text(unpinned.read_text() + pins.read_text())
    assert admin.run("preflight", str(pinned), "-o", "json").exit_code == 0
    accepted = admin.run("preflight", str(unpinned), "--accept-new", "-o", "json")
    assert sorted(key["host"] for key in accepted.document["accepted_keys"]) == sorted(keys)
    shown = admin.run("rollouts", "show", accepted.document["rollout"], "-o", "json")
    assert shown.document["accepted_keys"] == accepted.document["accepted_keys"]
