"""Whether a region keeps tenants from what a maintenance door opens on every host: the driver ``exec``, which is nearly root. Pure.

``region check`` shows all findings; whatever puts doors on hosts, or sends words to them, asks ``check_fences`` first. What is missing
is that region's trouble alone: its hosts are left, those of others go on.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode, RegionError
from ionetctl.core.model.node import DOOR_NAMESPACE
from ionetctl.core.model.outcome import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import Namespace, SeenNamespaces

EXIT: Final = int(ExitCode.UNVERIFIED)
HIDDEN: Final = "namespaces_hidden"
UNFENCED: Final = "namespace_unfenced"
CODES: Final = frozenset({HIDDEN, UNFENCED})
"""Those of ``check_fences``."""


def check_fences(region: RegionName, seen: SeenNamespaces) -> None:
    """Check that a maintenance door may open on the hosts of a region: every namespace but the door's own allows docker alone.

    Raises ``RegionError``: ``namespaces_hidden`` where our token may not see all of them, ``namespace_unfenced``.
    """
    against = [found for found in fence_findings(region, seen) if found.severity is Severity.BLOCK]
    if not against:
        return
    first, *others = against
    more = f" (and {len(others)} more of its namespaces: ionetctl region check)" if others else ""
    hint = f"{first.hint}; or leave maintenance out of the inventory"
    raise RegionError(first.code, f"no maintenance door: {first.message}{more}", hint)


def may_open(seen: SeenNamespaces) -> bool:
    """Whether a maintenance door may open in a region with these namespaces."""
    return seen.are_all and all(one.is_fenced for one in tenants_of(seen))


def tenants_of(seen: SeenNamespaces) -> list[Namespace]:
    """The namespaces that are seen, but for the door's own, by name."""
    return sorted((one for one in seen.namespaces if one.name != DOOR_NAMESPACE), key=lambda one: one.name)


def carries_words(seen: SeenNamespaces) -> bool:
    """Whether the door's own namespace is seen, and lets its job run."""
    return any(one.name == DOOR_NAMESPACE and one.lets_run("exec") for one in seen.namespaces)


def fence_findings(region: RegionName, seen: SeenNamespaces) -> Iterator[Finding]:
    """What speaks against a maintenance door in a region; a ``BLOCK`` keeps it from being opened."""
    if not seen.are_all:
        message = f"our token may not see all namespaces of {region}, one of which may let its jobs use exec"
        hint = (
            'add namespace "*" { capabilities = ["list-jobs"] } to its policy, and let no other rule there deny a namespace, or grant '
            "nothing in it but variables"
        )
        yield Finding(HIDDEN, Severity.BLOCK, message, hint, EXIT)
    for namespace in tenants_of(seen):
        if not namespace.is_fenced:
            message, hint = _unfenced(region, namespace), _fence(namespace.name, "docker")
            yield Finding(UNFENCED, Severity.BLOCK, message, hint, EXIT)
    if seen.are_all and not carries_words(seen):
        message = (
            f"{region} has no namespace {DOOR_NAMESPACE} whose jobs may use exec: no word reaches a host"
        )
        yield Finding("door_namespace_missing", Severity.WARN, message, _make_door_namespace(seen), EXIT)


def _unfenced(region: RegionName, namespace: Namespace) -> str:
    if namespace.enabled is None:
        but = f" but {', '.join(sorted(namespace.disabled))}" if namespace.disabled else ""
        may = f"any task driver{but}"
    else:
        may = ", ".join(sorted(namespace.enabled - namespace.disabled))
    return (
        f"jobs in the namespace {namespace.name} of {region} may use {may}, not docker alone: where hosts have a maintenance door, "
        "whoever may submit them is root there, or nearly"
    )


def _fence(name: str, driver: str) -> str:
    """The command that lets the jobs of a namespace use one driver alone, and leaves all else of it as it is.

    ``nomad namespace apply`` replaces a namespace whole, and cannot read its specification from a pipe (Nomad 2.0.5).
    """
    quoted = shlex.quote(name)
    change = shlex.quote(f'.Capabilities.EnabledTaskDrivers = ["{driver}"]')
    return (
        f"nomad namespace inspect {quoted} | jq {change} | nomad operator api -X PUT /v1/namespace/{quoted}"
    )


def _make_door_namespace(seen: SeenNamespaces) -> str:
    fence = _fence(DOOR_NAMESPACE, "exec")
    is_there = any(one.name == DOOR_NAMESPACE for one in seen.namespaces)
    return fence if is_there else f"nomad namespace apply {DOOR_NAMESPACE} && {fence}"
