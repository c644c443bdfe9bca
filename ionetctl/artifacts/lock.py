"""The lock file beside the inventory: the SHA-256 of every archive, binding once written.

It belongs under version control. It has names and digests; where an archive came from is not in it, so that a mirror can
serve archives that were pinned from the vendor's site.
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
    """The pins of one site, in the file ``path``."""

    path: Path

    def read(self) -> Mapping[str, Digest]:
        """Archive name → SHA-256; empty where there is no lock file yet.

        Raises ``ConfigurationError`` (``lock_invalid``) for a file that cannot be read or is no lock file.
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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._invalid(str(error)) from error
        return {name: Digest(digest) for name, digest in document.artifacts.items()}

    def add(self, pins: Mapping[str, Digest]) -> None:
        """Add ``pins`` to the file, keeping those that another process has added. Nothing is written for no pins.

        Raises ``TrustError`` (``artifact_digest_mismatch``) for an archive that is pinned to another digest,
        ``ConfigurationError`` (``lock_unwritable``).
        """
        if not pins:
            return
        try:
            with self._exclusive():
                present = self.read()
                for name, digest in pins.items():
                    self.check(present, name, digest, "another process's fetch")
                self._write({**present, **pins})
        except OSError as error:
            message = f"cannot write the lock file {self.path}: {error.strerror}"
            raise ConfigurationError(
                "lock_unwritable", message, "it pins what the fleet gets, so it must be kept"
            ) from error

    def check(self, present: Mapping[str, Digest], name: str, digest: Digest, origin: str) -> None:
        """Raise ``TrustError`` (``artifact_digest_mismatch``) where ``name`` is pinned to another digest."""
        pinned = present.get(name, digest)
        if pinned != digest:
            message = f"{name} is pinned to sha256:{pinned} by {self.path}, but {origin} has sha256:{digest}"
            hint = "find out why a release changed before you remove the pin"
            raise TrustError("artifact_digest_mismatch", message, hint)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """A lock on the directory, so that no file is left for it."""
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
