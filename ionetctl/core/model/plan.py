"""What a host should have, and the changes that it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ionetctl.core.model.names import Architecture, Digest, HostName


class Kind(StrEnum):
    """The kind of a managed path; each kind is compared and installed differently."""

    FILE = "file"
    """Small text; compared by digest, sent whole."""
    PROGRAM = "program"
    """A release's executable; compared by digest, sent compressed."""
    CERTIFICATE = "certificate"
    """Issued per node; checked by the issuer: role, region, lifetime."""
    KEY = "key"
    """The private key of the certificate."""
    OWN_KEY = "own-key"
    """The same where the host makes it itself: it is never sent."""
    LINK = "link"
    """A symbolic link; compared by target."""


class Form(StrEnum):
    """How a program is compressed, the best first, by the name of what unpacks it on a host.

    Zstandard is unpacked ten times as fast as xz, for a twentieth more bytes; gzip has a sixth more.
    """

    ZSTD = "zstd"
    XZ = "xz"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class Program:
    """A verified executable of the local cache, ready to be streamed.

    ``digest`` and ``size_bytes`` are those of the executable itself, ``packed_path`` is the file with its compressed
    ``form`` on the controller, ``packed_bytes`` and ``packed_digest`` are those of that file.
    """

    name: str
    version: str
    architecture: Architecture
    digest: Digest
    size_bytes: int
    packed_path: str
    packed_bytes: int
    packed_digest: Digest
    form: Form = Form.GZIP


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One path that the host should have.

    ``content`` is the file's bytes (kind FILE), empty for certificates, keys and programs; ``target`` is a link's
    target; ``restarts``: a change of the file requires a restart of the agent.
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
    """All files that a host should have. ``digest`` covers neither the stamp nor certificate and key.

    The client configuration in ``files`` has a placeholder for the stamp, which ``plan.bundle.with_stamp`` fills in.
    """

    host: HostName
    digest: Digest
    files: tuple[BundleFile, ...]

    @property
    def key_on_host(self) -> bool:
        """Whether the host makes its private key itself."""
        return any(file.kind is Kind.OWN_KEY for file in self.files)

    def without_contents(self) -> Bundle:
        """The same with what is known of its files, and not what is in them: enough to tell what a plan will bring."""
        return replace(
            self, files=tuple(replace(file, content=b"") if file.content else file for file in self.files)
        )


class Action(StrEnum):
    """The kind of a change."""

    CREATE = "create"
    UPDATE = "update"
    CHMOD = "chmod"
    MOVE_ASIDE = "move-aside"
    """A file that is not ours and that the agent would read is moved to another directory."""
    RENEW = "renew"
    """A certificate with its key."""
    START = "start"
    RESTART = "restart"
    REGISTER = "register"
    """The region does not know the node: it registers, with an introduction token where the region uses them."""
    RELEASE = "release"
    """The node was held and now shows its GPUs: it is made eligible for jobs."""
    CLOSE = "close"
    """The key that logged in is taken out of the account's ``authorized_keys``."""
    EXCLUDE = "exclude"
    """A node is kept from new jobs."""
    INCLUDE = "include"
    """A node may have jobs again."""
    DRAIN = "drain"
    """A node's jobs are moved away, and it has no new ones."""
    CANCEL_DRAIN = "cancel-drain"
    ANNOTATE = "annotate"
    """A key of a node's dynamic metadata is set or removed."""
    PREPARE = "prepare"
    """A preparation that the inventory asks for; ``path`` is its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what a host should have and what it has; ``reason`` is text to be shown."""

    action: Action
    path: str
    reason: str
    is_secret: bool = False


class Fate(StrEnum):
    """What a plan does to an allocation that runs on the host."""

    SURVIVES = "survives"
    UNTRIED = "untried"
    """Its agent is restarted, and nobody has tried what becomes of allocations of its driver."""
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """An allocation that runs on the host, and what the plan does to it; ``reason`` is text to be shown."""

    allocation: str
    job: str
    namespace: str
    drivers: tuple[str, ...]
    fate: Fate
    reason: str


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What changes in one text file, as the lines of a unified diff without line breaks."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes of one host; empty means converged.

    ``stamp`` is that of the client configuration after the plan is applied.
    """

    host: HostName
    stamp: str
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the host is as it should be."""
        return not self.changes
