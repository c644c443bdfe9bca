"""Programs that compress as real ones do: the shared libraries of this machine, one after the other."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def machine_code(size_bytes: int) -> bytes:
    """``size_bytes`` of machine code; it repeats itself where this machine has less."""
    taken = bytearray()
    seen: set[Path] = set()
    for path in _libraries():
        if path not in seen and len(taken) < size_bytes:
            seen.add(path)
            taken += path.read_bytes()
    while len(taken) < size_bytes:
        taken += taken
    return bytes(taken[:size_bytes])


def _libraries() -> Iterator[Path]:
    for folder in (Path("/usr/lib"), Path(sys.base_prefix) / "lib"):
        yield from sorted({path.resolve() for path in folder.rglob("*.so*") if path.is_file()})


def fill_releases(mirror: Path, size_bytes: int) -> None:
    """Put machine code into the programs of a rehearsal's mirror: Nomad gets ``size_bytes``, its plugin an eighth."""
    code = machine_code(size_bytes)
    for sums in sorted(mirror.glob("*/*/*_SHA256SUMS")):
        share = code if sums.name.startswith("nomad_") else code[: size_bytes // 8]
        lines = []
        for archive in sorted(sums.parent.glob("*.zip")):
            _append(archive, share)
            lines.append(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")
        sums.write_text("".join(lines))


def _append(archive: Path, code: bytes) -> None:
    with zipfile.ZipFile(archive) as file:
        members = [(info, file.read(info)) for info in file.infolist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for position, (info, content) in enumerate(members):
            # The program comes first, the licence second.
            file.writestr(info, content + code if position == 0 else content)
