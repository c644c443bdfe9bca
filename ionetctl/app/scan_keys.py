"""``trust scan``: the host keys of an inventory's hosts, asked side by side, through jump hosts too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ionetctl.core.clock import SystemClock
from ionetctl.credentials.secrets import SecretStore
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.select import select_hosts
from ionetctl.rollout.concurrently import Slots, concurrently
from ionetctl.ssh import SshConnector, TransportSettings
from ionetctl.ssh.limits.open_files import most_hosts, raise_limit
from ionetctl.summary.key_scan import KeyScan

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.host_key import SeenKey
    from ionetctl.core.model.names import HostName
    from ionetctl.core.settings import Settings


async def scan_keys(
    source: str, limit: str | None, concurrency: int, timeout_s: float, settings: Settings
) -> KeyScan:
    """The keys of the chosen hosts; nobody is logged in to them, and nothing is recorded.

    Raises ``ConfigurationError`` for the inventory and the SSH configuration, ``UsageError`` for the limit.
    """
    inventory = load_inventory(source)
    hosts = inventory.hosts if limit is None else select_hosts(inventory, limit)
    home = TransportSettings.for_home(settings.home, settings.environ, settings.ssh_auth_sock)
    transport = replace(
        home,
        connect_timeout_s=min(home.connect_timeout_s, timeout_s),
        login_timeout_s=min(home.login_timeout_s, timeout_s),
    )
    seen: dict[HostName, SeenKey] = {}
    async with SshConnector(
        transport, SecretStore(settings.environ, inventory.secret_variables).reveal
    ) as connector:
        await connector.check(hosts, logs_in=False)

        async def scan(host: Host) -> None:
            seen[host.name] = await connector.scan(host)

        slots = Slots(min(concurrency, most_hosts(raise_limit())), SystemClock())
        await concurrently(hosts, scan, slots, lambda: False)
    return KeyScan(
        inventory=source,
        scanned_at=SystemClock().now().isoformat(timespec="seconds"),
        owner=settings.owner,
        seen=tuple(seen[host.name] for host in hosts),
        hosts=inventory.hosts,
    )
