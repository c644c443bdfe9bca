"""Writes a mirror of releases, with the layout of the vendor's site: stand-ins for Nomad and its device plugin.

Each program is a shell script padded with incompressible bytes, so that a transfer costs what that of a real program costs. The
zip files depend on version and size alone.
"""

from __future__ import annotations

import hashlib
import random
import zipfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES: Final = ("amd64", "arm64")
DEVICE_PLUGIN: Final = "nomad-device-nvidia"
PLUGIN_SHARE: Final = 8
"""The plugin is this many times smaller than Nomad (about five times for the real programs)."""
_LICENSE: Final = "This is a rehearsal's stand-in. It contains nothing of HashiCorp's.\n"
_NOMAD: Final = """#!/bin/sh
# Stands for nomad {version} ({architecture}) on rehearsal hosts: prints its version, and validates configurations through
# the host's supervisor, which also runs the stand-in for the agent.
case "${{1-}} ${{2-}}" in
    'version ') echo 'Nomad v{version}' ;;
    'config validate') exec nomad-config-validate {version} "${{3-}}" ;;
    *)
        echo "rehearsal: there is no 'nomad $*' here" >&2
        exit 1
        ;;
esac
exit
"""
_PLUGIN: Final = """#!/bin/sh
# Stands for nomad-device-nvidia {version} ({architecture}) on rehearsal hosts.
echo 'This binary is a plugin. These are not meant to be executed directly.' >&2
exit 1
"""


def write_releases(directory: Path, nomad_version: str, plugin_version: str, program_bytes: int) -> None:
    """Write both releases below ``directory``; the stand-in for Nomad has about ``program_bytes`` bytes."""
    _write_release(directory, "nomad", nomad_version, _NOMAD, program_bytes)
    _write_release(directory, DEVICE_PLUGIN, plugin_version, _PLUGIN, program_bytes // PLUGIN_SHARE)


def _write_release(directory: Path, name: str, version: str, script: str, size: int) -> None:
    target = directory / name / version
    target.mkdir(parents=True)
    sums = []
    for architecture in ARCHITECTURES:
        text = script.format(version=version, architecture=architecture).encode()
        padding = random.Random(f"{name}/{version}/{architecture}").randbytes(size)  # noqa: S311 - must not compress, not be secret
        archive = target / f"{name}_{version}_linux_{architecture}.zip"
        _write_zip(archive, name, text + padding)
        sums.append(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")
    (target / f"{name}_{version}_SHA256SUMS").write_text("".join(sums))


def _write_zip(archive: Path, name: str, program: bytes) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for member, content, mode in ((name, program, 0o755), ("LICENSE.txt", _LICENSE.encode(), 0o644)):
            info = zipfile.ZipInfo(member, (2026, 1, 1, 0, 0, 0))
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
