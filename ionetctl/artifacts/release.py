"""The names of a release's files and folders, and its SHA256SUMS. Pure: no files, no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.names import Architecture, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

NOMAD: Final = "nomad"
VENDOR_SITE: Final = "https://releases.hashicorp.com"

_VERSION: Final = re.compile(r"[0-9][0-9A-Za-z]*([.+-][0-9A-Za-z]+){0,8}")
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SUMS_LINE: Final = re.compile(r"([0-9a-f]{64})  ([0-9A-Za-z._+-]+)")


@dataclass(frozen=True, slots=True, order=True)
class ArtifactKey:
    """One executable of one release for one architecture (Linux).

    Raises ``ConfigurationError`` (``artifact_invalid``) for a malformed name or version: both become parts of
    paths and URLs.
    """

    name: str
    version: str
    architecture: Architecture

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or _VERSION.fullmatch(self.version) is None:
            message = f"{self.name!r} {self.version!r} is no release"
            raise ConfigurationError("artifact_invalid", message, "versions look like 2.0.5")

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.architecture})"

    @property
    def stem(self) -> str:
        """Its part of the names of the release's files: ``nomad_2.0.5_linux_amd64``."""
        return f"{self.name}_{self.version}_linux_{self.architecture}"

    @property
    def file_name(self) -> str:
        """The archive's name, as SHA256SUMS and the lock file have it."""
        return f"{self.stem}.zip"

    @property
    def zip_path(self) -> str:
        """The archive's path below a mirror's base."""
        return f"{self.name}/{self.version}/{self.file_name}"

    @property
    def sums_path(self) -> str:
        """The path of the release's checksums below a mirror's base."""
        return f"{self.name}/{self.version}/{self.name}_{self.version}_SHA256SUMS"

    @property
    def signature_path(self) -> str:
        """The path of the detached signature over those checksums."""
        return f"{self.sums_path}.sig"

    @classmethod
    def parse_stem(cls, stem: str) -> ArtifactKey | None:
        """The key whose ``stem`` this is, or ``None``."""
        name, _, rest = stem.partition("_")
        version, _, platform = rest.partition("_linux_")
        if platform not in ("amd64", "arm64"):
            return None
        try:
            return cls(name, version, "amd64" if platform == "amd64" else "arm64")
        except ConfigurationError:
            return None


def parse_sums(text: bytes, origin: str) -> Mapping[str, Digest]:
    """File name → digest of a SHA256SUMS file, as ``sha256sum`` writes it.

    Raises ``TrustError`` (``artifact_sums_malformed``) for any other line, and for a file listed twice.
    """
    listed: dict[str, Digest] = {}
    for number, line in enumerate(text.decode("ascii", "replace").splitlines(), start=1):
        match = _SUMS_LINE.fullmatch(line)
        if match is None or match[2] in listed:
            message = f"{origin}:{number}: not a list of SHA-256 checksums"
            raise TrustError(
                "artifact_sums_malformed", message, "the server sent something else, perhaps a login page"
            )
        listed[match[2]] = Digest(match[1])
    return listed


def missing(location: str) -> ConfigurationError:
    """The error for a file that a mirror does not have."""
    hint = "check the version; where there is a network, `ionetctl artifacts fetch INVENTORY` fetches what it pins"
    return ConfigurationError("artifact_missing", f"there is no {location}", hint)
