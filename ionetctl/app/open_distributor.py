"""Which distribution a rollout has: by the command line, else by the inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl.core.errors import ConfigurationError
from ionetctl.distribution.distributor import EVERYTHING_PUSHED, Distributor, Fanout, Mirror
from ionetctl.distribution.exchange import Origin, Source

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import Distribution, Inventory
    from ionetctl.core.ports import Clock, Emit


def open_distributor(
    inventory: Inventory, asked_for: Distribution | None, clock: Clock, emit: Emit
) -> Distributor:
    """The distributor of a rollout.

    Hosts fetch from the inventory's ``mirror``, else from ``nomad.mirror`` where that is a URL; never from one that the command
    line names, which may have a password. Raises ``ConfigurationError`` (``mirror_missing``) where there is none.
    """
    match asked_for or inventory.distribution:
        case "push":
            return EVERYTHING_PUSHED
        case "fanout":
            return Fanout(clock)
        case "mirror":
            return Mirror(Source(Origin.MIRROR, _mirror(inventory)), emit)


def _mirror(inventory: Inventory) -> str:
    url = inventory.mirror or inventory.nomad.mirror or ""
    if "://" not in url:
        message = "distribution: mirror needs a URL from which hosts fetch"
        raise ConfigurationError(
            "mirror_missing", message, "write mirror: http://… beside distribution in the inventory"
        )
    return url.rstrip("/")
