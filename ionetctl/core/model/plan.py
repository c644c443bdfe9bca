"""What a host should have, and what has to be done for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ionetctl.core.model.names import Architecture, Digest, HostName


class Kind(StrEnum):
    """What a managed path is; each kind is compared and installed in its own way."""

    FILE = "file"
    """Small text; compared by digest, sent whole."""
    PROGRAM = "program"
    """A release's executable; compared by digest, sent compressed."""
    CERTIFICATE = "certificate"
    """Minted per node; compared by meaning."""
    KEY = "key"
    """Belongs to the certificate beside it."""
    LINK = "link"
    """A symbolic link; compared by target."""


@dataclass(frozen=True, slots=True)
class Program:
    """A verified executable of the local cache, ready to be streamed.

    ``digest`` and ``size_bytes`` are those of the executable itself, ``packed_path`` is its gzip form on the
    controller, ``packed_bytes`` that file's size.
    """

    name: str
    version: str
    architecture: Architecture
    digest: Digest
    size_bytes: int
    packed_path: str
    packed_bytes: int


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One path that the host should have.

    ``content`` is the file's bytes (kind FILE), or empty where it is minted or streamed; ``target`` is a link's
    target; ``restarts`` says that the agent must be restarted to see a change of it.
    """

    path: str
    kind: Kind
    mode: int
    restarts: bool
    is_secret: bool = False
    owner: str = "root:root"
    content: bytes = b""
    digest: Digest = Digest("")  # noqa: RUF009  (a NewType is a plain text)
    program: Program | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """All that a host should have. ``digest`` identifies it without stamp and minted material.

    The client configuration in ``files`` carries the placeholder of the stamp until the plan settles it:
    ``with_stamp`` in ``bundle`` fills it in.
    """

    host: HostName
    digest: Digest
    files: tuple[BundleFile, ...]


class Action(StrEnum):
    """What a change does."""

    CREATE = "create"
    UPDATE = "update"
    CHMOD = "chmod"
    MOVE_ASIDE = "move-aside"
    """A file that is not ours and that the agent would read: kept, out of its way."""
    RENEW = "renew"
    """A certificate with its key."""
    START = "start"
    RESTART = "restart"
    REGISTER = "register"
    """The region does not know the node: an introduction is needed."""
    RELEASE = "release"
    """The node was held, and proves its GPUs: it may have jobs."""
    PREPARE = "prepare"
    """The inventory's ``prepare`` asks for it; ``path`` names the preparation."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what a host should have and what it has; ``reason`` is for people."""

    action: Action
    path: str
    reason: str
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What changes in one text file, as the lines of a unified diff without line breaks."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be done on one host. Empty means converged.

    ``stamp`` is the one the client configuration carries after the plan was applied (or carries already).
    """

    host: HostName
    stamp: str
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the host is as it should be."""
        return not self.changes
