"""The region's word: whether a node is really there with its stamp, as it should be, and if not, why.

Sees ports and model only. ``Registrar`` waits for nodes that were just started, ``find_stamped`` asks about those
that nothing was done to, ``check_region`` judges a region before any host is touched. A stamp is
``<bundle digest>-<nonce>``; the nonce is new at every apply, so that only a node that came up with it can show it.
"""

from __future__ import annotations

import asyncio
import difflib
from collections import Counter
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError, HostUnverifiedError, RegionError, TrustError
from ionetctl.core.versions import precedence
from ionetctl.verification import gpu_evidence
from ionetctl.verification.log_diagnosis import Diagnosis, diagnose

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeView, RegionStatus
    from ionetctl.core.ports import Clock, Region

__all__ = [
    "ELIGIBLE",
    "Diagnosis",
    "Expectation",
    "Registrar",
    "check_region",
    "diagnose",
    "find_stamped",
    "ineligible",
    "introduces",
    "judge",
]

POLL_S: Final = 2.0
FIRST_POLL_S: Final = 0.25
"""How soon a node that was just started is asked for again; it takes some 0.7 s from its start to ready."""
_REST: Final = 10
"""A region gets this many times as long a rest as its last answer took: big ones are asked less often."""
QUERIES: Final = 32
"""Nonces beyond that share a query: a fleet that was enrolled in many waves has many."""
FIRST_WITH_INTRODUCTION: Final = "1.11.0"
ELIGIBLE: Final = "eligible"
_READY: Final = "ready"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a node must be beside ready. ``gpus`` is ``None`` where nobody said how many.

    ``may_be_ineligible``: whether it may have jobs is decided elsewhere.
    """

    node_pool: str
    datacenter: str
    gpus: int | None = None
    may_be_ineligible: bool = False


# --- waiting for nodes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """What a waiter wants to know of the region."""

    nonce: str
    with_devices: bool


@dataclass(frozen=True, slots=True)
class _Round:
    """One look at the region: when it ended, how long it took, at what, and what came of it."""

    ended_at_s: float
    took_s: float
    questions: frozenset[_Question]
    answer: Mapping[NodeId, NodeView] | RegionError | TrustError

    def answers(self, question: _Question) -> bool:
        """Whether that was asked; devices asked for do no harm to those who need none."""
        return question in self.questions or _Question(question.nonce, with_devices=True) in self.questions


class Registrar:
    """Waits for the nodes of one region, all waiters sharing each look at it.

    There is no task of its own: of those who wait, whoever finds the last look too old takes the next one, for all.
    So nothing is asked when nobody waits, and nothing outlives its waiters.
    """

    def __init__(self, region: Region, clock: Clock, poll_s: float = POLL_S) -> None:
        self._region = region
        self._clock = clock
        self._poll_s = poll_s
        self._waiting: Counter[_Question] = Counter()
        self._turn = asyncio.Lock()
        self._last = _Round(float("-inf"), 0.0, frozenset(), {})

    async def confirm(
        self, node_id: NodeId, stamp: str, expectation: Expectation, timeout_s: float
    ) -> NodeView:
        """The node, once the region shows it with its stamp and as expected.

        Raises ``HostUnverifiedError`` when ``timeout_s`` is over: ``not_registered``, ``wrong_node_pool``,
        ``wrong_datacenter``, ``node_not_ready``, ``node_ineligible``, ``gpu_count_mismatch`` or
        ``gpu_unhealthy``; ``RegionError`` or ``TrustError`` when the region cannot be asked.
        """
        question = _Question(_nonce(stamp), with_devices=expectation.gpus is not None)
        ends_at_s = self._clock.monotonic() + timeout_s
        waited_s = pace_s = min(FIRST_POLL_S, self._poll_s)
        with self._waits_for(question):
            while True:
                word = judge((await self._look(question, waited_s)).get(node_id), expectation)
                if not isinstance(word, HostUnverifiedError):
                    return word
                left_s = ends_at_s - self._clock.monotonic()
                if left_s <= 0:
                    raise word
                await self._clock.sleep(min(pace_s, left_s))
                waited_s, pace_s = pace_s, min(2 * pace_s, self._poll_s)

    @contextmanager
    def _waits_for(self, question: _Question) -> Iterator[None]:
        self._waiting[question] += 1
        try:
            yield
        finally:
            self._waiting[question] -= 1
            self._waiting += Counter()  # drops what nobody waits for any more

    async def _look(self, question: _Question, age_s: float) -> Mapping[NodeId, NodeView]:
        """The nodes of a look at most ``age_s`` old that answers ``question``; raises what that look raised."""
        async with self._turn:
            self._last = self._last if self._is_fresh(question, age_s) else await self._ask()
        if isinstance(self._last.answer, RegionError | TrustError):
            raise copy(self._last.answer)  # each waiter's own, since a traceback grows with every raise
        return self._last.answer

    def _is_fresh(self, question: _Question, age_s: float) -> bool:
        rest_s = min(max(age_s, _REST * self._last.took_s), self._poll_s)
        return self._clock.monotonic() - self._last.ended_at_s < rest_s and self._last.answers(question)

    async def _ask(self) -> _Round:
        """A look at all that anyone waits for now."""
        asked_at_s = self._clock.monotonic()
        questions = frozenset(self._waiting)
        needing = {question.nonce for question in questions if question.with_devices}
        others = {question.nonce for question in questions} - needing
        answer: dict[NodeId, NodeView] | RegionError | TrustError
        try:
            answer = await _nodes_with(self._region, needing, with_devices=True)
            answer |= await _nodes_with(self._region, others, with_devices=False)
        except (RegionError, TrustError) as error:
            answer = error
        ended_at_s = self._clock.monotonic()
        return _Round(ended_at_s, ended_at_s - asked_at_s, questions, answer)


async def find_stamped(
    region: Region, stamps: Mapping[NodeId, str], *, with_devices: bool = False
) -> Mapping[NodeId, NodeView]:
    """Of nodes whose hosts need no change those that the region shows with the stamp that each has.

    Raises what the region raises.
    """
    views = await _nodes_with(region, {_nonce(stamp) for stamp in stamps.values()}, with_devices=with_devices)
    return {node_id: views[node_id] for node_id in stamps if node_id in views}


async def _nodes_with(
    region: Region, nonces: Collection[str], *, with_devices: bool
) -> dict[NodeId, NodeView]:
    """The nodes whose stamp ends with one of the nonces."""
    views: dict[NodeId, NodeView] = {}
    for chosen in _shared(sorted(nonces)):
        expression = f'Meta["{host_paths.STAMP_KEY}"] matches "-({"|".join(chosen)})$"'
        found = await region.nodes(expression, with_devices=with_devices)
        views.update((view.id, view) for view in found)
    return views


def _shared(nonces: list[str]) -> Iterator[list[str]]:
    """The nonces by query: one each, or as many as ``QUERIES`` queries ask of each."""
    size = -(-len(nonces) // QUERIES) or 1
    for start in range(0, len(nonces), size):
        yield nonces[start : start + size]


def _nonce(stamp: str) -> str:
    """The stamp's second half. It goes into a regular expression, and is made harmless for one."""
    nonce = stamp.rpartition("-")[2]
    return nonce if nonce.isalnum() and nonce.isascii() else "none"


# --- judging a node --------------------------------------------------------------------------------------------------


def judge(view: NodeView | None, expected: Expectation) -> NodeView | HostUnverifiedError:
    """The node, or the most specific reason why it is not as expected. ``view``: what shows its stamp."""
    if view is None:
        hint = "look at the node's log: journalctl -u nomad.service"
        return HostUnverifiedError(
            "not_registered", "the region does not show the node with this configuration", hint
        )
    gpus = None if expected.gpus is None else _wrong_gpus(view, expected.gpus)
    return _wrong_place(view, expected) or _wrong_state(view, expected) or gpus or view


def _wrong_place(view: NodeView, expected: Expectation) -> HostUnverifiedError | None:
    if view.node_pool != expected.node_pool:
        message = f"the node is in the pool {view.node_pool}, not in {expected.node_pool}"
        return HostUnverifiedError("wrong_node_pool", message, _PLACE_HINT)
    if view.datacenter != expected.datacenter:
        message = f"the node is in the datacenter {view.datacenter}, not in {expected.datacenter}"
        return HostUnverifiedError("wrong_datacenter", message, _PLACE_HINT)
    return None


_PLACE_HINT: Final = (
    "something else than ionetctl configured it: look at the node's log and at its configuration"
)


def _wrong_state(view: NodeView, expected: Expectation) -> HostUnverifiedError | None:
    if view.status != _READY:
        return HostUnverifiedError(
            "node_not_ready", f"the node is {view.status}", _STATE_HINTS.get(view.status, "")
        )
    if view.eligibility != ELIGIBLE and not expected.may_be_ineligible:
        return ineligible(view)
    return None


def ineligible(view: NodeView) -> HostUnverifiedError:
    """The error of a node that somebody keeps from jobs."""
    hint = f"nomad node eligibility -enable {view.id}, once it may have jobs again"
    return HostUnverifiedError("node_ineligible", "the node is not eligible for jobs", hint)


_STATE_HINTS: Final = {
    "initializing": "it registered and sent no heartbeat yet; if it stays so, its node pool does not exist",
    "down": "it registered and went silent: can it reach the addresses that the servers advertise?",
    "disconnected": "it registered and went silent: can it reach the addresses that the servers advertise?",
}


def _wrong_gpus(view: NodeView, expected: int) -> HostUnverifiedError | None:
    cards = gpu_evidence.gpus_of(view)
    errors = (*gpu_evidence.wrong_count(cards, expected), *gpu_evidence.unhealthy(cards))
    return next(iter(errors), None)


# --- judging a region ------------------------------------------------------------------------------------------------


def check_region(
    status: RegionStatus, settings: RegionSettings, nomad_version: str, pools_needed: Iterable[str]
) -> None:
    """Hold that a region can take the nodes that are meant for it.

    Raises ``ConfigurationError``: ``client_newer_than_servers``, ``node_pool_missing`` or
    ``introduction_unsupported``.
    """
    if _is_newer(nomad_version, status.server_version):
        message = (
            f"Nomad {nomad_version} is newer than the servers of {status.name} ({status.server_version})"
        )
        hint = f"set nomad.version to {status.server_version} or older, or upgrade the servers first"
        raise ConfigurationError("client_newer_than_servers", message, hint)
    for pool in sorted(set(pools_needed) - status.pools):
        near = difflib.get_close_matches(pool, status.pools, 1)
        advice = f"did you mean {near[0]}? Otherwise c" if near else "C"
        hint = f"{advice}reate it with: nomad node pool apply (a node in a missing pool never gets ready)"
        raise ConfigurationError("node_pool_missing", f"{status.name} has no node pool {pool}", hint)
    if settings.introduction == "required" and _lacks_introduction(status):
        message = (
            f"introduction is required, and the servers of {status.name} ({status.server_version}) have none"
        )
        hint = f"introduction tokens came with Nomad {FIRST_WITH_INTRODUCTION}: upgrade all servers, or set introduction: off"
        raise ConfigurationError("introduction_unsupported", message, hint)


def introduces(status: RegionStatus, settings: RegionSettings) -> bool:
    """Whether new nodes of the region are given introduction tokens. Where we may not look, we try."""
    if settings.introduction == "auto":
        return status.enforcement != "none" and not _lacks_introduction(status)
    return settings.introduction == "required"


def _lacks_introduction(status: RegionStatus) -> bool:
    return precedence(status.server_version) < precedence(FIRST_WITH_INTRODUCTION)


def _is_newer(client: str, server: str) -> bool:
    return precedence(client) > precedence(server)
