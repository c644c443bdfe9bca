"""Package files for hosts without a way out: real ones from Debian's mirror, and small ones built here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.namespaces import output_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DOWNLOAD_TIMEOUT_S = 120.0


def download(directory: Path, root: Path, *names: str) -> None:
    """The packages, and what else a host of that root needs for them, as the machine's own apt offers them.

    Raises ``RuntimeError`` where there is no way to a mirror.
    """
    (directory / "partial").mkdir(parents=True)
    places = {"Dir::State::status": root / "var/lib/dpkg/status", "Dir::Cache::archives": directory}
    options = [word for key, place in places.items() for word in ("-o", f"{key}={place}")]
    argv = ["apt-get", "-q", "-y", "--no-install-recommends", "--download-only", *options, "install", *names]
    output_of(argv, timeout_s=DOWNLOAD_TIMEOUT_S)


def build(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes],
    *,
    programs: frozenset[str] = frozenset(),
    links: Mapping[str, str] | None = None,
    depends: str = "",
) -> Path:
    """A package of these files by path, ``programs`` among them executable, ``links`` from path to target."""
    directory.mkdir(parents=True, exist_ok=True)
    tree = directory / f"{name}.tree"
    for path, content in files.items():
        place = tree / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o755 if path in programs else 0o644)
    for path, target in (links or {}).items():
        place = tree / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: tests <tests@ionet.example>\n"
    )
    control += (f"Depends: {depends}\n" if depends else "") + "Description: stands for the real one\n"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(control)
    package = directory / f"{name}_{version}_amd64.deb"
    output_of(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)])
    output_of(["rm", "-r", str(tree)])
    return package
