"""The catalog: nodes, regions and rollouts in one SQL database, and the leases by which rollouts hold hosts.

All but the leases and the journals' last digests is folded from the journals and can be rebuilt from them. It holds no secret: regions have references
to secrets. It knows events and SQL; it must not know how a rollout works.
"""

from ionetctl.history.catalog.leases import Lease
from ionetctl.history.catalog.records import Closure, ClosureState, HostRecord, NodeRecord, RolloutRecord
from ionetctl.history.catalog.store import Catalog, CatalogSink, RecordedRollout

__all__ = [
    "Catalog",
    "CatalogSink",
    "Closure",
    "ClosureState",
    "HostRecord",
    "Lease",
    "NodeRecord",
    "RecordedRollout",
    "RolloutRecord",
]
