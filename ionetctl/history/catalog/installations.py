"""What lies on hosts with a maintenance door: of each what its region has confirmed last, and what words may have brought it since.

The order is that in which records come, not that of their times: a host's lease lets one rollout at a time change it, and a clock may be set back.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from ionetctl.core.events import HostInstalled
from ionetctl.core.model.installed import Installed
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.history.catalog.schema import installations

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from ionetctl.core.events import Envelope

_OF_HOST: Final = (
    installations.c.region == bindparam("of_region"),
    installations.c.name == bindparam("of_name"),
)
_REMOVE: Final = delete(installations).where(*_OF_HOST)
_KNOWN: Final = select(installations).where(*_OF_HOST).order_by(installations.c.number)
KEPT: Final = 4
"""As many of a host's records are kept, and the one that the last of them replaces: its words may all still be on their way."""


def fold_installations(connection: Connection, envelopes: Iterable[Envelope]) -> None:
    """Keep what the events say."""
    fresh: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for envelope in envelopes:
        if isinstance(event := envelope.event, HostInstalled):
            fresh[event.region, event.host or ""].append(
                {
                    "region": event.region,
                    "name": event.host,
                    "stamp": event.stamp,
                    "replaces": event.replaces,
                    "installed": msgspec.json.encode(event.installed).decode(),
                }
            )
    for (region, name), rows in fresh.items():
        host = {"of_region": region, "of_name": name}
        known = [{**row} for row in connection.execute(_KNOWN, host).mappings()]
        connection.execute(_REMOVE, host)
        connection.execute(insert(installations), _held([*known, *rows]))


def _held(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What may lie on a host by its rows, numbered: a row that replaces none was confirmed, and of a stamp the last counts."""
    held: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["replaces"] is None:
            held.clear()
        held.pop(row["stamp"], None)
        held[row["stamp"]] = row
    *earlier, last = held.values()
    kept = [row for row in earlier[: 1 - KEPT] if row["stamp"] == last["replaces"]] + earlier[1 - KEPT :]
    return [row | {"number": number} for number, row in enumerate([*kept, last])]


def installed_stamps(connection: Connection) -> frozenset[tuple[RegionName, HostName, str]]:
    """Of which hosts it is known what lies there, and with which stamps."""
    columns = installations.c.region, installations.c.name, installations.c.stamp
    rows = connection.execute(select(*columns))
    return frozenset((RegionName(row.region), HostName(row.name), str(row.stamp)) for row in rows)


@dataclass(frozen=True, slots=True)
class Installations:
    """By region and host name, then by stamp, what lies on hosts: as JSON, which takes less than what it is read into."""

    texts: Mapping[tuple[RegionName, HostName], Mapping[str, str]]

    def knows(self, region: RegionName, host: HostName) -> bool:
        """Whether anything is recorded of a host."""
        return (region, host) in self.texts

    def of(self, region: RegionName, host: HostName, stamp: str) -> Installed | None:
        """What lies on a host while its agent runs with that stamp; ``None`` where that is not recorded."""
        text = self.texts.get((region, host), {}).get(stamp)
        return None if text is None else msgspec.json.decode(text, type=Installed)

    def all_of(self, region: RegionName, host: HostName) -> Iterator[Installed]:
        """What is recorded of a host, by whichever stamp."""
        for text in self.texts.get((region, host), {}).values():
            yield msgspec.json.decode(text, type=Installed)


def read_installations(
    connection: Connection, of_hosts: Container[tuple[RegionName, HostName]]
) -> Installations:
    """What is recorded of these hosts; some KB of each are kept in memory."""
    found: defaultdict[tuple[RegionName, HostName], dict[str, str]] = defaultdict(dict)
    columns = installations.c.region, installations.c.name, installations.c.stamp, installations.c.installed
    for row in connection.execute(select(*columns)):
        if (host := (RegionName(row.region), HostName(row.name))) in of_hosts:
            found[host][row.stamp] = row.installed
    return Installations(found)
