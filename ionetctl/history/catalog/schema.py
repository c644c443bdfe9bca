"""The catalog's tables. Plain SQL types only, as it may be on other databases than SQLite.

Times are RFC 3339 text in UTC with milliseconds, so that text order is time order; lists are JSON text.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table, Text

from ionetctl.core.model.outcome import ENROLL

VERSION: Final = 7
WITH_RESULTS: Final = 3
"""The version that has ``rollouts.results``."""
CHANGES: Final = {
    2: (
        "ALTER TABLE outcomes ADD COLUMN gpus_probed INTEGER",
        "ALTER TABLE nodes ADD COLUMN gpus_probed INTEGER",
    ),
    3: (
        "ALTER TABLE rollouts ADD COLUMN results TEXT",
        "ALTER TABLE nodes ADD COLUMN computed_until VARCHAR(32) NOT NULL DEFAULT ''",
        "CREATE INDEX ix_nodes_name ON nodes (name)",
        """UPDATE nodes SET computed_until = COALESCE((
            SELECT MAX(finished_at) FROM outcomes WHERE outcomes.host = nodes.name
            AND outcomes.region = nodes.region AND outcomes.node_id IS NOT NULL AND NOT outcomes.is_check), '')""",
    ),
    4: ("ALTER TABLE rollouts ADD COLUMN journal_digest VARCHAR(64)",),
    5: (
        """CREATE TABLE machines (name VARCHAR(255) NOT NULL, machine_id TEXT NOT NULL,
            seen_at VARCHAR(32) NOT NULL, identity TEXT NOT NULL, PRIMARY KEY (name, machine_id))""",
        "ALTER TABLE leases ADD COLUMN number BIGINT NOT NULL DEFAULT 0",
        "CREATE TABLE fencing (catalog VARCHAR(32) NOT NULL PRIMARY KEY, number BIGINT NOT NULL)",
        """CREATE TABLE closures (
            rollout VARCHAR(64) NOT NULL, seq INTEGER NOT NULL, host VARCHAR(255) NOT NULL, at VARCHAR(32) NOT NULL,
            state VARCHAR(16) NOT NULL, account TEXT NOT NULL, "key" TEXT NOT NULL, PRIMARY KEY (rollout, seq))""",
    ),
    6: ("ALTER TABLE rollouts ADD COLUMN action VARCHAR(32) NOT NULL DEFAULT 'enroll'",),
    7: (
        """CREATE TABLE installations (
            region VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL, stamp VARCHAR(64) NOT NULL, number INTEGER NOT NULL,
            replaces VARCHAR(64), installed TEXT NOT NULL, PRIMARY KEY (region, name, stamp))""",
    ),
}
"""By version the statements that make the tables of the version before into its own."""
SINCE: Final = {"closures": 5, "fencing": 5, "installations": 7, "machines": 5}
"""The version that first has a table, where it is not the first."""

metadata: Final = MetaData()

schema_version: Final = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

rollouts: Final = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("inventory", Text, nullable=False),
    Column("inventory_digest", String(64), nullable=False),
    Column("owner", Text, nullable=False),
    Column("version", String(64), nullable=False),
    Column("command", Text, nullable=False),
    Column("is_check", Boolean, nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    Column("exit_code", Integer),
    Column("stop_code", String(64)),
    Column("stop_message", Text),
    Column("last_seq", Integer, nullable=False),
    Column("results", Text),
    Column("journal_digest", String(64)),
    Column("action", String(32), nullable=False, default=ENROLL),
)

"""``results`` counts the hosts of a rollout that has ended by their results; ``NULL`` while it runs.

``journal_digest`` is the last of the journal's chain when its process ended. It is not folded: no journal can say of itself where
it ended. Only where ``action`` is ``enroll`` or ``update`` do nodes follow from the outcomes.
"""

hosts: Final = Table(
    "hosts",
    metadata,
    Column("rollout", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("region", String(255), nullable=False),
    Column("datacenter", Text, nullable=False),
    Column("rack", Text),
    Column("node_pool", Text, nullable=False),
    Column("gpu_model", Text),
    Column("gpus_expected", Integer),
    Column("machine_id", Text),
)
"""The hosts of each rollout, as its inventory and the survey described them."""

outcomes: Final = Table(
    "outcomes",
    metadata,
    Column("rollout", String(64), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("host", String(255), nullable=False, index=True),
    Column("is_check", Boolean, nullable=False),
    Column("finished_at", String(32), nullable=False),
    Column("result", String(16), nullable=False),
    Column("address", Text, nullable=False),
    Column("region", String(255), nullable=False),
    Column("datacenter", Text, nullable=False),
    Column("rack", Text),
    Column("node_pool", Text, nullable=False),
    Column("node_id", String(64), index=True),
    Column("machine_id", Text),
    Column("gpu_model", Text),
    Column("gpus_expected", Integer),
    Column("gpus_seen", Integer),
    Column("gpus_probed", Integer),
    Column("duration_s", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("problem_code", String(64)),
    Column("problem_step", Text),
    Column("problem_message", Text),
    Column("problem_hint", Text),
    Column("problem_exit_code", Integer),
)
"""How hosts ended, each time they did; a resumed rollout may end a host twice."""

nodes: Final = Table(
    "nodes",
    metadata,
    Column("region", String(255), primary_key=True),
    Column("name", String(255), primary_key=True, index=True),
    Column("node_id", String(64), nullable=False, index=True),
    Column("address", Text, nullable=False),
    Column("datacenter", Text, nullable=False),
    Column("rack", Text),
    Column("node_pool", Text, nullable=False),
    Column("gpu_model", Text),
    Column("gpus_expected", Integer),
    Column("gpus_seen", Integer),
    Column("gpus_probed", Integer),
    Column("machine_id", Text),
    Column("stamp", Text, nullable=False),
    Column("rollout", String(64), nullable=False),
    Column("enrolled_at", String(32), nullable=False),
    Column("last_seen_at", String(32), nullable=False),
    Column("computed_until", String(32), nullable=False),
)
"""The current nodes, computed from the outcomes and stored as they are read most, and when each was last seen."""

machines: Final = Table(
    "machines",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("machine_id", Text, primary_key=True),
    Column("seen_at", String(32), nullable=False),
    Column("identity", Text, nullable=False),
)
"""What tells each machine from others (``MachineIdentity``), by the name that it had, as its last survey saw it."""


installations: Final = Table(
    "installations",
    metadata,
    Column("region", String(255), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("stamp", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("replaces", String(64)),
    Column("installed", Text, nullable=False),
)
"""What lies on hosts with a maintenance door (``Installed``), each host's by ``number`` in the order in which it was recorded."""


closures: Final = Table(
    "closures",
    metadata,
    Column("rollout", String(64), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("host", String(255), nullable=False),
    Column("at", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("account", Text, nullable=False),
    Column("key", Text, nullable=False),
)
"""What became of the SSH of hosts that were to be closed: the latest of a host holds."""

regions: Final = Table(
    "regions",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("entry", Text, nullable=False),
    Column("updated_at", String(32), nullable=False),
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("address", String(255), primary_key=True),
    Column("rollout", String(64), nullable=False, index=True),
    Column("owner", Text, nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("machine", Text, nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("number", BigInteger, nullable=False, default=0),
)
"""``number`` is the fencing number of the claim that took it."""

fencing: Final = Table(
    "fencing",
    metadata,
    Column("catalog", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""One row: a random name of this catalog, and the number of the last claim. It stays when leases go."""

FOLDED: Final = (hosts, outcomes, nodes, machines, installations, closures, regions, rollouts)
"""The tables that are rebuilt from the journals."""
PRESENT: Final = tuple(table.name for table in (schema_version, rollouts, nodes, closures, regions, leases))
"""The tables that are read before a rollout starts; ``hosts`` and ``outcomes`` hold the past of all rollouts.

``machines`` and ``installations``, which older catalogs lack, are read as a whole then, or not at all.
"""
