"""The fleet as its rollouts left it, in one SQL database: nodes, regions, past rollouts, and who holds which host.

All but the leases is a fold of the journals and can be made again from them. It holds no secret: regions stand in it
with references to theirs. It knows events and SQL; it must not know how a rollout works.
"""

from ionetctl.history.catalog.leases import Lease
from ionetctl.history.catalog.records import HostRecord, NodeRecord, RolloutRecord
from ionetctl.history.catalog.store import Catalog, CatalogSink, RecordedRollout

__all__ = ["Catalog", "CatalogSink", "HostRecord", "Lease", "NodeRecord", "RecordedRollout", "RolloutRecord"]
