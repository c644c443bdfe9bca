"""The lock file beside the inventory: which archive is which, by digest, binding once written.

It belongs under version control. It knows names and digests; where an archive comes from is not written in it, so that a
mirror can serve what the vendor's site was pinned for.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.names import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA: Final = "ionetctl.lock/1"
_LIMIT_BYTES: Final = 1 << 20


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal["ionetctl.lock/1"]
    artifacts: dict[str, Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]]


@dataclass(frozen=True, slots=True)
class LockFile:
    """The pins of one site."""

    path: Path

    def read(self) -> Mapping[str, Digest]:
        """Archive name → SHA-256; empty where there is no lock file yet.

        Raises ``ConfigurationError`` (``lock_invalid``) for a file that is none.
        """
        try:
            with self.path.open("rb") as file:
                text = file.read(_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._invalid(error.strerror or "unreadable") from error
        if len(text) > _LIMIT_BYTES:
            raise self._invalid("too large")
        try:
            document = msgspec.json.decode(text, type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._invalid(str(error)) from error
        return {name: Digest(digest) for name, digest in document.artifacts.items()}

    def add(self, pins: Mapping[str, Digest]) -> None:
        """Write ``pins`` beside those that stand there; a second process's are kept. Writes nothing without need.

        Raises ``TrustError`` (``artifact_digest_mismatch``) against a pin that stands, ``ConfigurationError``
        (``lock_unwritable``).
        """
        if not pins:
            return
        try:
            with self._exclusive():
                standing = self.read()
                for name, digest in pins.items():
                    self.check(standing, name, digest, "another process's fetch")
                self._write({**standing, **pins})
        except OSError as error:
            message = f"cannot write the lock file {self.path}: {error.strerror}"
            raise ConfigurationError(
                "lock_unwritable", message, "it pins what the fleet gets, so it must be kept"
            ) from error

    def check(self, standing: Mapping[str, Digest], name: str, digest: Digest, origin: str) -> None:
        """Raise ``TrustError`` (``artifact_digest_mismatch``) where ``name`` is pinned to another digest."""
        pinned = standing.get(name, digest)
        if pinned != digest:
            message = f"{name} is pinned to sha256:{pinned} by {self.path}, but {origin} has sha256:{digest}"
            hint = "find out why a release changed before you remove the pin"
            raise TrustError("artifact_digest_mismatch", message, hint)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Held on the directory, so that no lock of the lock file lies about."""
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, pins: Mapping[str, Digest]) -> None:
        document = {"schema": SCHEMA, "artifacts": dict(sorted(pins.items()))}
        text = json.dumps(document, indent=2) + "\n"
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _invalid(self, reason: str) -> ConfigurationError:
        hint = "restore it from version control, or remove it to pin anew"
        return ConfigurationError("lock_invalid", f"the lock file {self.path}: {reason}", hint)
