"""Whether a node may have jobs: the GPUs and Docker that the region shows, compared with inventory and probe. Pure.

The device plugin's health alone is not enough: the plugin still lists a card that was lost while it ran, and after a
restart one lost card hides all others. So the UUIDs that the region shows must be those of a probe made since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl import gpu
from ionetctl.core.errors import HostUnverifiedError
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.plural import counted
from ionetctl.plan.bundle import offered_gpus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.node import Device, NodeView
    from ionetctl.core.observed import SeenGpu

DOCKER: Final = "docker"
NVIDIA: Final = "nvidia"
_MIG: Final = "MIG-"
_NAMED: Final = 3
"""The most UUIDs that a message names."""

DOCKER_RULES: Final = ("docker_missing", "docker_down")
"""Checks of the survey whose rules in the inventory set the severity of a node without Docker."""


def expected_gpu_count(host: Host, facts: Facts | None = None) -> int | None:
    """How many GPUs the region must show; ``None`` where neither inventory nor probe can say.

    The probe's count comes first: the checks have compared it with the inventory, which may waive a difference.
    """
    if facts is not None and (ids := expected_gpu_ids(host, facts)) is not None:
        return len(ids)
    return None if host.gpus.count is None else max(0, host.gpus.count - len(host.reserve.gpus))


def expected_gpu_ids(host: Host, facts: Facts) -> frozenset[str] | None:
    """The UUIDs that the region must show; of a card in MIG mode those of its instances. ``None`` where the probe could not count."""
    if facts.gpus is None:
        return None
    found = [uuid for seen in offered_gpus(host, facts) if not seen.is_lost for uuid in _schedulable(seen)]
    return frozenset(found) if all(found) else None


def _schedulable(seen: SeenGpu) -> tuple[str, ...]:
    return tuple(instance.uuid for instance in seen.mig) if seen.is_mig_on else (seen.uuid,)


def shortfall(host: Host, view: NodeView, facts: Facts | None = None) -> HostUnverifiedError | None:
    """The first reason why the node must not have jobs, or ``None`` where it may.

    ``view`` must have been asked for with devices. ``facts`` are those of a probe made since the node came up, or
    ``None`` where there is none: then UUIDs are not compared.
    """
    errors = (*_of_gpus(host, gpus_of(view), facts), *map(_error, _unfit(host, view, facts, Severity.BLOCK)))
    return next(iter(errors), None)


def gpus_of(view: NodeView) -> tuple[Device, ...]:
    """The node's groups of GPUs; empty where the view was asked for without devices."""
    return tuple(device for device in view.devices or () if device.type == "gpu")


def docker_warnings(host: Host, view: NodeView, facts: Facts | None = None) -> tuple[Finding, ...]:
    """What is wrong with a node's Docker and does not keep jobs from it."""
    return tuple(_unfit(host, view, facts, Severity.WARN))


def _error(finding: Finding) -> HostUnverifiedError:
    return HostUnverifiedError(finding.code, finding.message, finding.hint)


# --- GPUs ------------------------------------------------------------------------------------------------------------


def _of_gpus(host: Host, cards: Sequence[Device], facts: Facts | None) -> Iterator[HostUnverifiedError]:
    shown = [uuid for card in cards for uuid in card.ids]
    ids = None if facts is None else expected_gpu_ids(host, facts)
    if ids is not None:
        yield from _wrong_ids(ids, shown)
    elif (count := expected_gpu_count(host, facts)) is not None:
        yield from wrong_count(cards, count)
    yield from _wrong_models(host.gpus.model, cards)
    yield from unhealthy(cards)


def wrong_count(cards: Sequence[Device], expected: int) -> Iterator[HostUnverifiedError]:
    """The error where the region shows another number of GPUs; MIG instances are not counted, as only a probe knows their number."""
    shown = [uuid for card in cards for uuid in card.ids]
    has_mig = any(uuid.startswith(_MIG) for uuid in shown)
    if len(shown) != expected and not (has_mig and expected):
        yield _count_mismatch(len(shown), expected)


def _count_mismatch(shown: int, expected: int) -> HostUnverifiedError:
    message = f"the region sees {counted(shown, 'GPU')}, not {expected}"
    hint = "look for a lost card (nvidia-smi -L, dmesg): after a restart one lost card hides all others"
    return HostUnverifiedError("gpu_count_mismatch", message, hint)


def _wrong_ids(expected: frozenset[str], shown: Collection[str]) -> Iterator[HostUnverifiedError]:
    if len(shown) != len(expected):
        yield _count_mismatch(len(shown), len(expected))
    elif missing := expected - set(shown):
        others = set(shown) - expected
        message = f"the host has {_listed(missing)}, and the region shows {_listed(others)} instead"
        hint = "cards were changed since Nomad started: restart it (systemctl restart nomad), then run again"
        yield HostUnverifiedError("gpu_uuid_mismatch", message, hint)


def _listed(uuids: Collection[str]) -> str:
    named = sorted(uuids)[:_NAMED]
    more = f" and {len(uuids) - len(named)} more" if len(uuids) > len(named) else ""
    return ", ".join(named) + more


def _wrong_models(promised: str | None, cards: Sequence[Device]) -> Iterator[HostUnverifiedError]:
    others = {
        card.name for card in cards if promised and not gpu.is_meant_by(promised, card.name, card.memory_mib)
    }
    if others:
        message = f"{promised} is promised, and the region sees {' and '.join(sorted(others))}"
        hint = "correct gpus.model, or give the host a group of its own"
        yield HostUnverifiedError("gpu_model_mismatch", message, hint)


def unhealthy(cards: Sequence[Device]) -> Iterator[HostUnverifiedError]:
    """The error where the region shows GPUs that the device plugin reports as unhealthy."""
    count = sum(len(card.ids) - card.healthy for card in cards)
    if count:
        message = (
            f"{count} of the GPUs that the region sees {'is' if count == 1 else 'are'} not healthy there"
        )
        hint = "nomad node status -verbose names the device; look at nvidia-smi and dmesg on the host"
        yield HostUnverifiedError("gpu_unhealthy", message, hint)


# --- Docker ----------------------------------------------------------------------------------------------------------


def _unfit(host: Host, view: NodeView, facts: Facts | None, wanted: Severity) -> Iterator[Finding]:
    """What is wrong with Docker on a node that offers GPUs, of severity ``wanted``."""
    found = [finding for finding in _of_docker(host, view) if finding.severity is wanted]
    if found and expected_gpu_count(host, facts):
        yield from found


def _of_docker(host: Host, view: NodeView) -> Iterator[Finding]:
    if DOCKER not in view.drivers_healthy:
        message = "the node's Docker driver is not healthy: it can run no containers"
        hint = "install or start Docker; journalctl -u docker says why it does not start"
        yield Finding("docker_unhealthy", _severity(host, *DOCKER_RULES), message, hint)
    elif view.docker_runtimes is not None and NVIDIA not in view.docker_runtimes:
        message = "the node's Docker has no runtime nvidia: jobs cannot use its GPUs"
        hint = "nvidia-ctk runtime configure --runtime=docker, then restart Docker"
        yield Finding("nvidia_runtime_missing", _severity(host, "nvidia_runtime_missing"), message, hint)


def _severity(host: Host, *checks: str) -> Severity:
    rules = [host.checks[check].severity for check in checks if check in host.checks]
    return rules[0] if rules else Severity.WARN
