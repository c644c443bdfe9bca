"""What is asked and answered when a host needs packed programs: plain frozen values, which any process can be sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ionetctl.core.model.names import Digest, HostName


class Origin(StrEnum):
    """Where a host gets the packed programs from that it lacks."""

    PUSH = "push"
    """From the controller, over SSH."""
    MIRROR = "mirror"
    PEER = "peer"
    """From another host of its rack."""


@dataclass(frozen=True, slots=True)
class Request:
    """A host that lacks ``files``, named by the SHA-256 of the packed file. ``rack`` is ``None`` where it has no neighbours."""

    host: HostName
    rack: str | None
    files: frozenset[Digest]
    can_serve: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where to get the files: below ``url`` by their digests, unless they are pushed.

    ``seed`` is the peer; ``serves``: the host is to serve them to its rack afterwards.
    """

    origin: Origin
    url: str = ""
    seed: HostName | None = None
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Seed:
    """A host that serves ``files`` to its rack, below ``url``, by the transient unit ``unit``."""

    host: HostName
    files: frozenset[Digest]
    url: str
    unit: str


@dataclass(frozen=True, slots=True)
class Obtained:
    """What came of a source: whether all files came from it, whether it is to blame where not, and the seed, if it is one now.

    ``has_some``: whether it was reached at all, and served something.
    """

    is_whole: bool
    is_sources_fault: bool = False
    has_some: bool = False
    seed: Seed | None = None
