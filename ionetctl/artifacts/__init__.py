"""Pinned releases: where they come from, what proves them, and the cache that hosts are served from.

It knows the vendor's release site, digests and archives; it must not know hosts, plans or what an executable is for.
"""

from ionetctl.artifacts.mirror import VENDOR_SITE
from ionetctl.artifacts.release import NOMAD, ArtifactKey
from ionetctl.artifacts.store import ArtifactStore, CachedArtifact, Progress, Verification

__all__ = [
    "NOMAD",
    "VENDOR_SITE",
    "ArtifactKey",
    "ArtifactStore",
    "CachedArtifact",
    "Progress",
    "Verification",
]
