"""What lies on hosts with a maintenance door: of each the latest record, and the one that it replaces, whichever is folded last."""

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
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from ionetctl.core.events import Envelope

_OF_HOST: Final = (
    installations.c.region == bindparam("of_region"),
    installations.c.name == bindparam("of_name"),
)
_REMOVE: Final = delete(installations).where(*_OF_HOST)
_KNOWN: Final = select(installations).where(*_OF_HOST)


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
                    "at": envelope.time,
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
    """The latest of a host's rows, and of those with the stamp that it replaces the latest."""
    ordered = sorted(rows, key=lambda row: str(row["at"]))
    last = ordered[-1]
    replaced = [row for row in ordered if row["stamp"] == last["replaces"] != last["stamp"]]
    return [*replaced[-1:], last]


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


def read_installations(connection: Connection) -> Installations:
    """All that is recorded."""
    found: defaultdict[tuple[RegionName, HostName], dict[str, str]] = defaultdict(dict)
    columns = installations.c.region, installations.c.name, installations.c.stamp, installations.c.installed
    for row in connection.execute(select(*columns)):
        found[RegionName(row.region), HostName(row.name)][row.stamp] = row.installed
    return Installations(found)
