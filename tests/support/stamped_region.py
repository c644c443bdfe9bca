"""A region that shows nodes by their stamp, for tests of what is asked and of how answers are judged."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ionetctl.core.model.names import NodeId
from ionetctl.core.model.node import Device, IntroductionToken, NodeDetail, NodeView, RegionStatus
from ionetctl.verification.expectation import Expectation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ionetctl.core.errors import RegionError, TrustError
    from ionetctl.core.model.node import (
        DrainSpec,
        NodeMeta,
        NodeUse,
        PlacedAllocation,
        RunningAllocation,
        SeenNamespaces,
        SystemJob,
    )

NONCE = "0a1b2c3d4e5f"
STAMP = f"0123456789abcdef-{NONCE}"
OTHER_STAMP = "0123456789abcdef-ffffffffffff"
GPU = Expectation("gpu", "rey1")
EIGHT = Expectation("gpu", "rey1", 8)


def node(name: str = "n-1", *, gpus: int = 8, healthy: int | None = None, **changes: str) -> NodeView:
    """A node that is as ``EIGHT`` expects, but for the changes."""
    ids = tuple(f"GPU-{index}" for index in range(gpus))
    device = Device("nvidia", "gpu", "RTX", ids, gpus if healthy is None else healthy)
    view = NodeView(
        id=NodeId(name),
        name=name,
        address="10.0.0.1",
        datacenter="rey1",
        node_pool="gpu",
        node_class="",
        status="ready",
        eligibility="eligible",
        version="2.0.5",
        devices=(device,),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


@dataclass
class StampedRegion:
    """Shows nodes by stamp, through a filter as the real one does; ``asked`` is what it was asked."""

    stamped: dict[str, list[NodeView]] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    failure: RegionError | TrustError | None = None
    on_question: Callable[[int], None] = lambda _: None

    async def nodes(
        self, filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        assert filter_expression is not None
        self.asked.append((filter_expression, with_devices))
        self.on_question(len(self.asked))
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        match = re.fullmatch(r'Meta\["unique\.ionet_bundle"\] matches "(.*)"', filter_expression)
        assert match is not None
        shown = [
            view for stamp, views in self.stamped.items() if re.search(match[1], stamp) for view in views
        ]
        return shown if with_devices else [replace(view, devices=None) for view in shown]

    async def status(self) -> RegionStatus:
        raise NotImplementedError

    async def introduce(self, name: str, pool: str, ttl_s: int) -> IntroductionToken:
        raise NotImplementedError

    async def node(self, node: NodeId) -> NodeDetail | None:
        raise NotImplementedError(node)

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        raise NotImplementedError(node, is_eligible)

    async def annotate(self, node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        raise NotImplementedError(node, meta)

    async def metadata(self, node: NodeId) -> NodeMeta:
        raise NotImplementedError(node)

    async def drain(
        self, node: NodeId, spec: DrainSpec | None, meta: Mapping[str, str], *, mark_eligible: bool = False
    ) -> None:
        raise NotImplementedError(node, spec, meta, mark_eligible)

    async def evaluate(self, node: NodeId) -> None:
        raise NotImplementedError(node)

    async def system_jobs(self) -> Sequence[SystemJob]:
        raise NotImplementedError

    async def namespaces(self) -> SeenNamespaces:
        raise NotImplementedError

    async def allocations(self, node: NodeId) -> Sequence[RunningAllocation]:
        raise NotImplementedError

    async def all_allocations(self) -> Sequence[PlacedAllocation]:
        raise NotImplementedError

    async def use(self, node: NodeId) -> NodeUse:
        raise NotImplementedError
