"""Whether a region's servers can take the inventory's nodes: Nomad versions, node pools, introduction tokens. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.versions import precedence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.node import RegionStatus

FIRST_WITH_INTRODUCTION: Final = "1.11.0"
"""The first Nomad release with client introduction tokens."""


def check_region(
    status: RegionStatus, settings: RegionSettings, nomad_version: str, pools_needed: Iterable[str]
) -> None:
    """Check that a region can take the nodes that the inventory assigns to it.

    Raises ``ConfigurationError``: ``client_newer_than_servers``, ``node_pool_missing`` or
    ``introduction_unsupported``.
    """
    if _is_newer(nomad_version, status.server_version):
        message = (
            f"Nomad {nomad_version} is newer than the servers of {status.name} ({status.server_version})"
        )
        hint = f"set nomad.version to {status.server_version} or older, or upgrade the servers first"
        raise ConfigurationError("client_newer_than_servers", message, hint)
    for pool in sorted(set(pools_needed) - status.pools):
        near = difflib.get_close_matches(pool, status.pools, 1)
        advice = f"did you mean {near[0]}? Otherwise c" if near else "C"
        hint = f"{advice}reate it with: nomad node pool apply (a node in a missing pool never gets ready)"
        raise ConfigurationError("node_pool_missing", f"{status.name} has no node pool {pool}", hint)
    if settings.introduction == "required" and _lacks_introduction(status):
        message = (
            f"introduction is required, and the servers of {status.name} ({status.server_version}) have none"
        )
        hint = f"introduction tokens came with Nomad {FIRST_WITH_INTRODUCTION}: upgrade all servers, or set introduction: off"
        raise ConfigurationError("introduction_unsupported", message, hint)


def uses_introduction(status: RegionStatus, settings: RegionSettings) -> bool:
    """Whether new nodes of the region get introduction tokens; also where the token may not read the enforcement."""
    if settings.introduction == "auto":
        return status.enforcement != "none" and not _lacks_introduction(status)
    return settings.introduction == "required"


def _lacks_introduction(status: RegionStatus) -> bool:
    return precedence(status.server_version) < precedence(FIRST_WITH_INTRODUCTION)


def _is_newer(client: str, server: str) -> bool:
    return precedence(client) > precedence(server)
