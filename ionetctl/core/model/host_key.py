"""A host's SSH key as a scan saw it, and how that stands against what is known of the host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ionetctl.core.errors import HostError
    from ionetctl.core.model.names import HostName


class Standing(StrEnum):
    """What a host's key is to us."""

    PINNED = "pinned"
    CERTIFIED = "certified"
    KNOWN = "known"
    NEW = "new"
    REFUSED = "refused"
    """Changed, revoked, or under a certificate that does not hold."""
    UNSEEN = "unseen"
    """The host could not be reached, or did not prove that it holds a key."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key: ``type base64``, and its ``SHA256:`` fingerprint."""

    line: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SeenKey:
    """What a scan saw of one host. ``key`` is one that the host proved to hold, ``error`` why it stands as it does."""

    host: HostName
    address: str
    standing: Standing
    key: HostKey | None = None
    error: HostError | None = None
