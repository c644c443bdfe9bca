"""A file that is spoiled between installation and agent start keeps the node out of the region, as with real servers.

The files are spoiled on the hosts, after ionetctl has installed them and behind its back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ionetctl.lab import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import CommandResult, Rehearsal

TOKEN: Final = "opt/nomad/data/client/intro_token.jwt"
SPOILS: Final = {
    # what is spoiled: the commands that do it (in the host's root), and the host's outcome
    "certificate-of-a-foreign-ca": (
        "cp $S/foreign.pem etc/nomad.d/tls/client.pem; cp $S/foreign-key.pem etc/nomad.d/tls/client-key.pem",
        "node_certificate_untrusted",
    ),
    "certificate-of-another-region": (
        "cp $S/other.pem etc/nomad.d/tls/client.pem; cp $S/other-key.pem etc/nomad.d/tls/client-key.pem",
        "node_certificate_refused",
    ),
    "foreign-ca-on-the-host": ("cp $S/foreign-ca.pem etc/nomad.d/tls/ca.pem", "wrong_ca_on_node"),
    "another-regions-name": (
        "sed -i 's/^region .*/region = \"us-west\"/' etc/nomad.d/nomad.hcl",
        "wrong_region_servers",
    ),
    "no-token": (f"rm -f {TOKEN}", "introduction_denied"),
    "token-of-another-node": (f"cp $S/token-other {TOKEN}", "introduction_denied"),
    "expired-token": (f"cp $S/token-expired {TOKEN}", "introduction_denied"),
    "garbage-for-a-token": (f"echo eyJ.eyJ.x >{TOKEN}", "introduction_denied"),
    "plugin-under-another-label": (
        'sed -i \'s/plugin "nomad-device-nvidia"/plugin "nvidia"/\' etc/nomad.d/nvidia.hcl',
        "gpu_count_mismatch",
    ),
    "no-plugin": ("rm -f opt/nomad/plugins/nomad-device-nvidia", "gpu_count_mismatch"),
    "old-stamp": (
        "sed -i 's/\\(unique.ionet_bundle.*-\\).*/\\1000000000000\"/' etc/nomad.d/nomad.hcl",
        "not_registered",
    ),
    "another-pool": (
        "sed -i 's/node_pool .*/node_pool = \"default\"/' etc/nomad.d/nomad.hcl",
        "introduction_denied",
    ),
    "token-lost-once": (f"[ -e run/lab/once ] || rm -f {TOKEN}; : >run/lab/once", None),
    "nothing": (":", None),
}


@dataclass(frozen=True, slots=True)
class Spoiled:
    """One rollout over hosts that were each spoiled in another way."""

    rehearsal: Rehearsal
    host_of: dict[str, str]
    ended: CommandResult
    again: CommandResult


@pytest.fixture(scope="module")
def spoiled(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Spoiled]:
    admin = new_admin()
    with raise_fleet(len(SPOILS)) as rehearsal:
        rehearsal.install_wrapper()
        host_of = dict(zip(SPOILS, rehearsal.hosts, strict=True))
        material = rehearsal.directory / "spoils"
        material.mkdir()
        write_pairs(material, rehearsal.directory / "pki")
        for spoil, ttl, name in (("other", "5m", "somebody"), ("expired", "-5m", host_of["expired-token"])):
            (material / f"token-{spoil}").write_text(introduce(rehearsal, name, ttl))
        for spoil, (script, _) in SPOILS.items():
            rehearsal.before_start(host_of[spoil], f'set -e\nS={material}\ncd "$IONET_ROOT"\n{script}\n')
        ended = admin.enroll(rehearsal.inventory, "--max-failures=100%", "--timeout=30")
        for host in rehearsal.hosts:
            rehearsal.remove_script(host)
        again = admin.enroll(rehearsal.inventory)
        yield Spoiled(rehearsal, host_of, ended, again)


def write_pairs(material: Path, pki: Path) -> None:
    """A certificate of another CA with the right name, and one of the region's CA with another region's name."""
    foreign = certificates.new_authority("Another CA")
    foreign.write(material / "foreign-ca.pem", material / "foreign-ca-key.pem")
    certificates.issue(foreign, "client.eu-north.nomad").write(
        material / "foreign.pem", material / "foreign-key.pem"
    )
    key = serialization.load_pem_private_key((pki / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    authority = certificates.Pair(x509.load_pem_x509_certificate((pki / "ca.pem").read_bytes()), key)
    certificates.issue(authority, "client.us-west.nomad").write(
        material / "other.pem", material / "other-key.pem"
    )


def introduce(rehearsal: Rehearsal, name: str, ttl: str) -> str:
    """An introduction token, minted by the region."""
    with rehearsal.api() as api:
        body = {"NodeName": name, "NodePool": "gpu", "TTL": ttl}
        answer: httpx.Response = api.post("/v1/acl/identity/client-introduction-token", json=body)
        return str(answer.raise_for_status().json()["JWT"])


@pytest.mark.parametrize("spoil", SPOILS)
def test_spoiled_node_does_not_count_as_enrolled(spoiled: Spoiled, spoil: str) -> None:
    """Each is unverified, with the cause; a host that is not spoiled, and one whose token is minted again, are enrolled."""
    host = spoiled.ended.host(spoiled.host_of[spoil])
    code = SPOILS[spoil][1]
    expected = ("unverified", code, "confirm") if code else ("enrolled", None, None)
    error = host["error"] or {"code": None, "step": None}
    assert (host["outcome"], error["code"], error["step"]) == expected


def test_exit_code_says_that_the_region_does_not_confirm(spoiled: Spoiled) -> None:
    """An installed host whose node is not confirmed is not enrolled: exit code 8."""
    assert spoiled.ended.exit_code == 8


OTHER_REGION: Final = "another-regions-name"


def test_host_of_another_region_is_not_taken_from_it(spoiled: Spoiled) -> None:
    """Its configuration names another region: the next run leaves it as it is, and says what to do."""
    error = spoiled.again.host(spoiled.host_of[OTHER_REGION])["error"]
    assert (error["code"], error["step"]) == ("node_of_other_region", "survey")


@pytest.mark.parametrize("spoil", [spoil for spoil in SPOILS if spoil != OTHER_REGION])
def test_next_run_enrols_the_host(spoiled: Spoiled, spoil: str) -> None:
    """The next run, without spoiling, enrols every host."""
    host = spoiled.host_of[spoil]
    outcome = spoiled.again.outcomes()[host]
    assert (outcome in {"enrolled", "unchanged"}, spoiled.rehearsal.leftovers(host)) == (True, [])
