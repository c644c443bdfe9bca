"""Dynamic metadata of nodes, set and removed. What the client's configuration has of a key is named: it is what comes back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ionetctl.core.errors import HostUnreachableError, HostUnverifiedError, UsageError
from ionetctl.core.model.plan import Action, Change
from ionetctl.core.sanitize import harmless
from ionetctl.maintenance.node_actions import RUN_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.node import NodeDetail
    from ionetctl.maintenance.node_actions import NodeWork
    from ionetctl.maintenance.node_state import NodeState

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
"""As Nomad has it: a dotted HCL identifier."""
OURS: Final = re.compile(r"(unique\.)?ionet_.*")
SHOWN_CHARACTERS: Final = 256
"""A region's texts are cut to as many, and made printable."""
COMES_BACK: Final = "the configuration has {}, which comes back when the client loses its state"


def checked_key(key: str) -> str:
    """The key, where it may be changed. Raises ``UsageError`` (``meta_key_invalid``, ``meta_key_reserved``)."""
    if not _KEY.fullmatch(key):
        hint = "use letters, digits, hyphens and underscores with a letter first; dots join such parts"
        raise UsageError("meta_key_invalid", f"{key!r} is no key of metadata", hint)
    if OURS.fullmatch(key):
        hint = "change what it follows from in the inventory, and enrol the host"
        raise UsageError("meta_key_reserved", f"{key} is ionetctl's own", hint)
    return key


def parse_pairs(words: Iterable[str]) -> dict[str, str]:
    """What ``KEY=VALUE`` words set. Raises ``UsageError`` (``meta_pair_invalid``, and as ``checked_key``)."""
    pairs: dict[str, str] = {}
    for word in words:
        key, is_pair, value = word.partition("=")
        if not is_pair:
            raise UsageError(
                "meta_pair_invalid", f"{word!r} has no value", "write KEY=VALUE; meta unset removes"
            )
        if harmless(value, SHOWN_CHARACTERS) != value:
            hint = f"use up to {SHOWN_CHARACTERS} characters without line breaks, and single spaces"
            raise UsageError(
                "meta_pair_invalid", f"the value of {key} is none that nodes show as it is", hint
            )
        pairs[checked_key(key)] = value
    return pairs


@dataclass(frozen=True, slots=True)
class SetMeta:
    """Set keys of a node's dynamic metadata."""

    name: ClassVar[str] = "set-meta"
    at_jobs: ClassVar[bool] = False
    pairs: Mapping[str, str]

    @property
    def details(self) -> tuple[str, ...]:
        """The pairs, in the order of the keys."""
        return tuple(f"{key}={value}" for key, value in sorted(self.pairs.items()))

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """The keys that have another value now."""
        merged = state.meta.merged
        return tuple(
            Change(Action.ANNOTATE, key, _reason(f"{value!r}", state, key))
            for key, value in self.pairs.items()
            if merged.get(key) != harmless(value, SHOWN_CHARACTERS)
        )

    async def carry_out(self, work: NodeWork) -> None:
        """In one call, waited for until the region's servers have it, which jobs are placed by."""
        await _annotate(work, dict(self.pairs))


@dataclass(frozen=True, slots=True)
class UnsetMeta:
    """Remove keys from a node's metadata, those of its configuration too: Nomad hides them then."""

    name: ClassVar[str] = "unset-meta"
    at_jobs: ClassVar[bool] = False
    keys: tuple[str, ...]

    @property
    def details(self) -> tuple[str, ...]:
        """The keys, sorted."""
        return tuple(sorted(self.keys))

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """The keys that it has now."""
        merged = state.meta.merged
        return tuple(
            Change(Action.ANNOTATE, key, _reason("removed", state, key)) for key in self.keys if key in merged
        )

    async def carry_out(self, work: NodeWork) -> None:
        """Likewise."""
        await _annotate(work, dict.fromkeys(self.keys))


def _reason(new: str, state: NodeState, key: str) -> str:
    old, static = state.meta.merged.get(key), state.meta.static.get(key)
    was = f" instead of {old!r}" if old is not None else ""
    back = f"; {COMES_BACK.format(repr(static))}" if static is not None and state.reachable else ""
    return f"{new}{was}{back}"


async def _annotate(work: NodeWork, meta: dict[str, str | None]) -> None:
    """Raises ``HostUnreachableError`` (``node_disconnected``) where the node's agent cannot be asked."""
    if not work.state.reachable:
        message = "the region has no way to the node now, so its metadata stays as it is"
        raise HostUnreachableError("node_disconnected", message, "is its Nomad running? Then run again")
    await work.region.annotate(work.state.view.id, meta)

    def shows(node: NodeDetail) -> bool:
        return all(
            node.meta.get(key) == (None if value is None else harmless(value, SHOWN_CHARACTERS))
            for key, value in meta.items()
        )

    await work.progress("the region's servers to have it")
    message = "the node has it, and the region's servers do not show it yet"
    await work.until(shows, HostUnverifiedError("meta_not_shown", message, RUN_AGAIN))
