"""Pinned releases: their sources, their verification, and the cache that they are sent to hosts from.

It knows the vendor's release site, digests and archives; it must not know hosts, plans or what an executable is for.
"""

from ionetctl.artifacts.release import NOMAD, VENDOR_SITE, ArtifactKey
from ionetctl.artifacts.signature import Publisher
from ionetctl.artifacts.store import ArtifactStore, CachedArtifact, Progress, Verification

__all__ = [
    "NOMAD",
    "VENDOR_SITE",
    "ArtifactKey",
    "ArtifactStore",
    "CachedArtifact",
    "Progress",
    "Publisher",
    "Verification",
]
