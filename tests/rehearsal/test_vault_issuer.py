"""A region whose node certificates Vault signs, enrolled from the command line: keys of ours, and keys that hosts make."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import pki
from tests.support.programs import needs
from tests.support.vault_pki import MOUNT, ROLE, SIGN, StandIn, good, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Rehearsal

OURS = "issuer: {cert: pki/ca.pem, key: {file: pki/ca-key.pem}}"


def authority(rehearsal: Rehearsal) -> pki.Pair:
    """The rehearsal's CA, which signs what the stand-in's does."""
    directory = rehearsal.directory / "pki"
    key = serialization.load_pem_private_key((directory / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return pki.Pair(x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()), key)


@pytest.mark.parametrize("key_on_host", [False, True])
async def test_hosts_are_enrolled_with_certificates_of_vault(
    raise_fleet: RaiseFleet,
    new_admin: NewAdmin,
    tmp_path: Path,
    key_on_host: bool,  # noqa: FBT001
) -> None:
    """And are as they should be in the next run, which asks for none; a role that refuses, or a token that ends, changes no host."""
    needs("openssl")
    more = ", key_on_host: true" if key_on_host else ""
    with raise_fleet(2) as rehearsal:
        vault = StandIn(authority(rehearsal), role=good(key_type="rsa"))
        issuer = f"issuer: {{vault: {{mount: {MOUNT}, role: {ROLE}}}, validity: 30d{more}}}"
        inventory = rehearsal.edited("vault", (OURS, issuer))
        async with serving(vault, tmp_path) as environ:
            admin = new_admin(**environ)
            refused = await asyncio.to_thread(admin.enroll, inventory, "--max-failures=100%")
            assert not (rehearsal.tree(rehearsal.hosts[0]) / "etc/nomad.d").exists()
            vault.role, vault.instead = good(), [(403, {"errors": ["permission denied"]})] * 2
            ended = await asyncio.to_thread(admin.enroll, inventory)
            vault.instead, vault.asked = [], []
            ends = [await asyncio.to_thread(admin.enroll, inventory) for _ in range(2)]
    codes = {host["error"]["code"] for host in refused.document["hosts"]}
    assert (refused.exit_code, codes) == (5, {"issuer_refused"}), refused.stdout
    lost = {(host["outcome"], host["error"]["code"]) for host in ended.document["hosts"]}
    assert (ended.exit_code, lost) == (8, {("skipped", "issuer_forbidden")}), ended.stdout
    assert [(end.exit_code, set(end.outcomes().values())) for end in ends] == [
        (0, {"enrolled"}),
        (0, {"unchanged"}),
    ]
    assert [path for path, _ in vault.asked].count(SIGN) == 2
