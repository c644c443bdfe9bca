"""Finding nodes by their stamp in the region's list (``GET /v1/nodes`` with a filter).

A stamp is ``<bundle digest>-<nonce>``. The nonce is new at every apply, so that only a node that started with the new
configuration can show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Region

MAX_QUERIES: Final = 32
"""With more nonces than this, several share a query: a fleet that was enrolled in many waves has many nonces."""


async def find_stamped(
    region: Region, stamps: Mapping[NodeId, str], *, with_devices: bool = False
) -> Mapping[NodeId, NodeView]:
    """Of the nodes in ``stamps`` those that the region shows with their stamp, whatever their state.

    Raises what the region raises.
    """
    views = await nodes_with_nonces(
        region, {nonce_of(stamp) for stamp in stamps.values()}, with_devices=with_devices
    )
    return {node_id: views[node_id] for node_id in stamps if node_id in views}


async def nodes_with_nonces(
    region: Region, nonces: Collection[str], *, with_devices: bool
) -> dict[NodeId, NodeView]:
    """The nodes whose stamp ends with one of the nonces. Raises what the region raises."""
    views: dict[NodeId, NodeView] = {}
    for chosen in _per_query(sorted(nonces)):
        expression = f'Meta["{host_paths.STAMP_KEY}"] matches "-({"|".join(chosen)})$"'
        found = await region.nodes(expression, with_devices=with_devices)
        views.update((view.id, view) for view in found)
    return views


def _per_query(nonces: list[str]) -> Iterator[list[str]]:
    """The nonces in groups of equal size, one group a query: single ones, or as large as ``MAX_QUERIES`` requires."""
    size = -(-len(nonces) // MAX_QUERIES) or 1
    for start in range(0, len(nonces), size):
        yield nonces[start : start + size]


def nonce_of(stamp: str) -> str:
    """The nonce of a stamp, or ``none``: it was read from a host and goes into a regular expression, so it must be alphanumeric."""
    nonce = stamp.rpartition("-")[2]
    return nonce if nonce.isalnum() and nonce.isascii() else "none"
