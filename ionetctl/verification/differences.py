"""In what a node differs from its host in the inventory, as far as the region shows it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl import gpu
from ionetctl.core.model.node import Difference
from ionetctl.plan.node_meta import promised_meta
from ionetctl.verification import gpu_evidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.node import NodeView


def differences(
    host: Host, nomad_version: str, view: NodeView, meta: Mapping[str, str] | None
) -> Iterator[Difference]:
    """What differs; ``view`` was asked for with devices, ``meta`` is ``None`` where it was not asked for.

    Of the metadata only keys are compared whose values stand in the inventory.
    """
    places = (
        ("node_pool", host.node_pool, view.node_pool),
        ("datacenter", host.datacenter, view.datacenter),
        ("version", nomad_version, view.version),
    )
    for what, expected, found in places:
        if expected != found:
            yield Difference(what, expected, found)
    yield from _of_gpus(host, view)
    if meta is not None:
        yield from _of_meta(host, meta)


def _of_meta(host: Host, meta: Mapping[str, str]) -> Iterator[Difference]:
    for key, value in {**host.meta, **promised_meta(host)}.items():
        if meta.get(key) != value:
            yield Difference(f"meta.{key}", value, meta.get(key))


def _of_gpus(host: Host, view: NodeView) -> Iterator[Difference]:
    cards, expected, model = (
        gpu_evidence.gpus_of(view),
        gpu_evidence.expected_gpu_count(host),
        host.gpus.model,
    )
    if expected is not None and any(gpu_evidence.wrong_count(cards, expected)):
        yield Difference("gpus", str(expected), str(view.gpu_count))
    if model and (
        others := [card for card in cards if not gpu.is_meant_by(model, card.name, card.memory_mib)]
    ):
        names = sorted({gpu.standard_name(card.name, card.memory_mib) for card in others})
        yield Difference("gpu_model", model, " and ".join(names))
