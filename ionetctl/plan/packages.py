"""Directories of ``.deb`` files for sites without internet access: which files a preparation installs.

Such a directory has a folder for each preparation that installs packages (``docker``, ``driver`` …), with all files to
be installed, dependencies included. Reads directories and file sizes; the content is memory-mapped.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.names import Digest
from ionetctl.plan.prepare_steps import INSTALLING
from ionetctl.plan.ustar import mapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.model.host import Host

_NAME: Final = re.compile(r"[a-z0-9][A-Za-z0-9.+~%:_-]{0,150}\.deb")
_ARCHITECTURE: Final = re.compile(r"_([a-z0-9]+)\.deb$")
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""``uname -m`` → Debian's name."""
_HINT: Final = "see docs/reference/preparations.md for how the directory is laid out"


@dataclass(frozen=True, slots=True)
class Package:
    """A package file and the preparation that installs it."""

    preparation: str
    path: str
    size_bytes: int

    @property
    def member(self) -> str:
        """Its path on the host, relative to the staging directory."""
        return f"packages/{self.preparation}/{Path(self.path).name}"

    @property
    def digest(self) -> Digest:
        """The SHA-256 of what is sent; reads the whole file the first time."""
        return _digest(self.path)

    def content(self) -> memoryview:
        """The file; raises ``ConfigurationError`` (``packages_changed``) where the file is missing or its size has changed."""
        try:
            content = mapped(self.path)
        except (OSError, ValueError) as error:
            raise _changed(self.path, str(error)) from error
        if len(content) != self.size_bytes:
            raise _changed(self.path, f"it has {len(content)} bytes now and had {self.size_bytes}")
        return content


@cache
def _digest(path: str) -> Digest:
    return Digest(hashlib.sha256(mapped(path)).hexdigest())


def check_packages(hosts: Iterable[Host]) -> None:
    """Check every directory that the hosts name, before any host is changed.

    Raises ``ConfigurationError``: ``packages_missing`` where it cannot be read or has no package, ``packages_invalid``
    where a ``.deb`` file is outside a folder, empty, or not named ``name_version_architecture.deb``.
    """
    for directory in dict.fromkeys(host.prepare.packages for host in hosts):
        if directory is not None and not _all_of(Path(directory)):
            message = f"{directory} holds no .deb file in a folder named after a preparation"
            raise ConfigurationError("packages_missing", message, _HINT)


def packages_for(directory: str | None, preparations: Iterable[str], machine: str) -> tuple[Package, ...]:
    """The packages that the preparations install on a host whose ``uname -m`` is ``machine``; none without a directory.

    Raises as ``check_packages`` does.
    """
    if directory is None:
        return ()
    wanted = set(preparations)
    architectures = {_ARCHITECTURES.get(machine), "all", None}
    return tuple(
        package
        for package in _all_of(Path(directory))
        if package.preparation in wanted and _architecture(package.path) in architectures
    )


def _all_of(directory: Path) -> tuple[Package, ...]:
    try:
        found = [entry for entry in sorted(directory.iterdir()) if not entry.name.startswith(".")]
        return tuple(package for entry in found for package in _of_folder(entry))
    except OSError as error:
        message = f"cannot read the packages in {directory}: {error.strerror}"
        raise ConfigurationError("packages_missing", message, _HINT) from error


def _of_folder(folder: Path) -> tuple[Package, ...]:
    """The packages of one preparation, sorted by name; other files in the folder are ignored."""
    if folder.suffix == ".deb":
        message = f"{folder} lies in no folder: nobody can tell which preparation needs it"
        raise ConfigurationError("packages_invalid", message, _HINT)
    if folder.name not in INSTALLING or not folder.is_dir():
        return ()
    return tuple(_package(folder.name, path) for path in sorted(folder.iterdir()) if path.suffix == ".deb")


def _package(preparation: str, path: Path) -> Package:
    size_bytes = path.stat().st_size
    if not _NAME.fullmatch(path.name) or not size_bytes:
        message = f"{path} is no package file: it is empty, or its name is not name_version_architecture.deb"
        raise ConfigurationError("packages_invalid", message, _HINT)
    return Package(preparation, str(path), size_bytes)


def _architecture(path: str) -> str | None:
    found = _ARCHITECTURE.search(path)
    return found[1] if found else None


def _changed(path: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        "packages_changed", f"cannot send {path}: {reason}", "run the same command again"
    )
