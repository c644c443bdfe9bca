"""Who has to sign the releases of an inventory, as its store sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pysequoia
import pytest

from ionetctl.app.open_inventory import open_store
from ionetctl.artifacts import NOMAD, ArtifactKey
from ionetctl.core.errors import IonetctlError
from ionetctl.core.settings import Settings
from ionetctl.inventory.load import load_text
from tests.artifacts.test_artifacts import Site, archive

if TYPE_CHECKING:
    from pathlib import Path

KEY = ArtifactKey(NOMAD, "2.0.5", "amd64")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("", "artifact_signature_invalid"),
        ("own_builds: true", None),
        ("signing_key: key.pgp, signing_fingerprint: FPR", None),
        ("own_builds: true, signing_key: key.pgp, signing_fingerprint: FPR", None),
        (f"own_builds: true, signing_key: key.pgp, signing_fingerprint: {'0' * 40}", "signing_key_invalid"),
        ("signing_key: key.pgp", "artifact_signature_invalid"),
    ],
)
async def test_who_has_to_sign(tmp_path: Path, lines: str, code: str | None) -> None:
    """The vendor, or whom the inventory names, or nobody for builds of one's own that name nobody."""
    key = pysequoia.Tsk.generate("Ours <o@example.org>")
    certificate = key.extract_certificate()
    (tmp_path / "key.pgp").write_bytes(bytes(certificate))
    site = Site(tmp_path / "mirror")
    site.put(KEY, archive())
    sums = (site.root / KEY.sums_path).read_bytes()
    mode = pysequoia.SignatureMode.DETACHED
    signature = pysequoia.sign(key.signer(), sums, mode=mode, armor=False)
    (site.root / KEY.signature_path).write_bytes(signature)
    said = lines.replace("FPR", certificate.fingerprint.upper())
    text = f"""
version: 1
datacenter: d
regions: {{r: {{api: ["https://n.example:4646"], servers: ["n.example:4647"], token: {{env: T}}, tls: {{ca: ca.pem,
  node: {{cert: c.pem, key: {{file: k.pem}}}}}}}}}}
nomad: {{version: 2.0.5, device_plugin_version: 1.1.0, mirror: mirror{", " + said if said else ""}}}
hosts: [{{name: h1, region: r}}]
"""
    inventory = load_text(text.encode(), "x.yaml", str(tmp_path))
    store = open_store(inventory, Settings.load({"IONETCTL_CACHE_DIR": str(tmp_path / "cache")}), None)
    if code is None:
        assert KEY in await store.ensure({KEY})
    else:
        with pytest.raises(IonetctlError) as caught:
            await store.ensure({KEY})
        assert caught.value.code == code
