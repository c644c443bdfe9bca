"""The kinds of modelled hosts, the host that stands for each, and the faults that no modelled host can have. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import UsageError
from ionetctl.lab.site import SiteHost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.lab.json_object import JsonObject

UNMODELLED: Final = frozenset(
    {"disk-full", "foreign-nomad", "interrupted", "not-root", "read-only", "same-client-id"}
)
"""Faults and conditions that lie in files which an apply meets, or in what a login may do."""
_NETWORK: Final = ipaddress.IPv4Address("127.76.0.0")


def refuse_unmodelled(hosts: Sequence[SiteHost]) -> None:
    """Raise ``UsageError`` (``lab_fault_not_modelled``) where a host's fault is one of ``UNMODELLED``."""
    for fault in sorted({fault for host in hosts for fault in host.faults} & UNMODELLED):
        message = f"a modelled host cannot have the fault {fault}"
        raise UsageError("lab_fault_not_modelled", message, "rehearse it without --modelled")


def kind_of(host: SiteHost) -> tuple[str, ...]:
    """The host's kind: hosts of one kind differ in names, ids and addresses alone."""
    return (host.model.short, *host.faults)


def templates_of(hosts: Sequence[SiteHost], process: int) -> dict[tuple[str, ...], SiteHost]:
    """Kind → the host from which those of this kind take what they do not model, for one process."""
    kinds = {kind_of(host): host for host in hosts}
    return {
        kind: SiteHost(
            f"template-{process}-{'-'.join(kind)}",
            str(_NETWORK + (process << 8) + number),
            host.rack,
            host.model,
            host.faults,
        )
        for number, (kind, host) in enumerate(kinds.items(), 1)
    }


def template_plan(template: SiteHost) -> JsonObject:
    """What a process has to know of a template."""
    return {
        "name": template.name,
        "address": template.address,
        "model": template.model.short,
        "faults": list(template.faults),
    }
