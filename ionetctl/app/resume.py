"""Which rollout the options mean: a new one, or an interrupted one to go on with.

Reads journals; opens the one that will be written. What is done in a rollout stands in ``enroll``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import UsageError
from ionetctl.core.events import HostFinished, HostInstalled, RolloutStarted
from ionetctl.core.model.outcome import ENROLL, Result
from ionetctl.core.sanitize import harmless
from ionetctl.history.journal import (
    NOTHING_KEPT,
    Journal,
    find_journal,
    list_journals,
    new_rollout_id,
    not_as_written,
    read_journal,
)
from ionetctl.rollout.options import RetryFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ionetctl.core.events import Envelope
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, RolloutId
    from ionetctl.core.model.outcome import Outcome
    from ionetctl.core.ports import Clock
    from ionetctl.core.settings import Settings
    from ionetctl.history.journal import Kept
    from ionetctl.rollout.options import RolloutOptions

DONE: Final = frozenset({Result.ENROLLED, Result.DONE, Result.UNCHANGED})
FAILED: Final = frozenset({Result.FAILED, Result.UNREACHABLE, Result.UNVERIFIED})


@dataclass(frozen=True, slots=True)
class Past:
    """What an interrupted rollout did before: the last outcome of each host, and the hosts that it began with.

    ``envelopes`` leave out what lies on hosts (``HostInstalled``): that is large, and the catalog's alone; ``last_seq`` counts it.
    """

    envelopes: tuple[Envelope, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    members: frozenset[HostName] | None = None
    last_seq: int = 0

    @property
    def done(self) -> frozenset[HostName]:
        """The hosts that are enrolled, or whose change is done."""
        return frozenset(outcome.host for outcome in self.outcomes if outcome.result in DONE)

    @property
    def failed(self) -> frozenset[HostName]:
        """The hosts that were tried, and are not done."""
        return frozenset(outcome.host for outcome in self.outcomes if outcome.result in FAILED)

    def remaining(self, hosts: Sequence[Host], choice: RetryFailed) -> tuple[Host, ...]:
        """The hosts of the inventory that are still to be done, those that failed last.

        A host that the rollout did not begin with is none of them.
        """
        done, failed = self.done, self.failed
        left = [
            host
            for host in hosts
            if host.name not in done and (self.members is None or host.name in self.members)
        ]
        first = [host for host in left if host.name not in failed]
        last = [host for host in left if host.name in failed]
        return (
            *(() if choice is RetryFailed.ONLY else first),
            *(() if choice is RetryFailed.NEVER else last),
        )

    def left_out(self, choice: RetryFailed) -> tuple[Outcome, ...]:
        """The outcomes of hosts that failed and are not tried again."""
        if choice is not RetryFailed.NEVER:
            return ()
        return tuple(outcome for outcome in self.outcomes if outcome.result in FAILED)

    @property
    def first_seq(self) -> int:
        """The number of the next event."""
        return self.last_seq + 1


def find_rollout(
    options: RolloutOptions, settings: Settings, clock: Clock, hosts: Sequence[Host] = ()
) -> RolloutId:
    """The id of a new rollout, or of the one to go on with.

    Raises ``UsageError`` (``rollout_unknown``, ``rollout_ambiguous``, ``nothing_to_resume``).
    """
    if not options.resume:
        return new_rollout_id(clock, random.SystemRandom())
    if options.rollout is not None:
        return find_journal(settings.rollouts_dir, options.rollout).rollout
    for journal in reversed(list_journals(settings.rollouts_dir)):
        first = next(iter(journal.envelopes()), None)
        if first is not None and _is_of(first, options, {host.name for host in hosts}):
            return journal.rollout
    hint = "start one: leave out --resume"
    raise UsageError("nothing_to_resume", f"there is no rollout of {options.inventory} to go on with", hint)


def _is_of(first: Envelope, options: RolloutOptions, names: set[HostName]) -> bool:
    """Whether it is a rollout of this inventory; one of nodes has any of the chosen, too."""
    event = first.event
    if not isinstance(event, RolloutStarted) or event.is_check:
        return False
    if options.action != ENROLL and names.isdisjoint(host.name for host in event.hosts):
        return False
    return (event.inventory, event.action) == (options.inventory, options.action)


def open_journal(
    settings: Settings,
    rollout: RolloutId,
    *,
    is_resumed: bool,
    kept: Kept = NOTHING_KEPT,
    action: str = ENROLL,
    details: tuple[str, ...] | None = None,
) -> tuple[Journal, Past]:
    """The rollout's journal, locked, and what it had recorded by then; ``kept`` is what the catalog knows of one that is resumed.

    It is read only once it is locked: until then another process may still have written to it. Raises ``UsageError``
    (``rollout_empty``, ``rollout_was_check``, ``rollout_of_other_action``, ``rollout_of_other_details``), and what ``Journal`` and ``read_journal`` raise.
    """
    if not is_resumed:
        return Journal.create(settings.rollouts_dir, rollout), Past()
    journal = Journal.resume(settings.rollouts_dir, rollout, kept)
    try:
        return journal, _past(journal.path, rollout, action, details)
    except BaseException:
        journal.close_now()
        raise


def _read(path: Path) -> tuple[tuple[Envelope, ...], int]:
    """The events that ``Past`` has, and the number of the last one."""
    kept: list[Envelope] = []
    last_seq = 0
    for envelope in read_journal(path):
        last_seq = envelope.seq
        if not isinstance(envelope.event, HostInstalled):
            kept.append(envelope)
    return tuple(kept), last_seq


def _past(path: Path, rollout: RolloutId, action: str, details: tuple[str, ...] | None) -> Past:
    envelopes, last_seq = _read(path)
    if not envelopes or not isinstance(started := envelopes[0].event, RolloutStarted):
        message = f"the journal of {rollout} holds no rollout"
        raise UsageError("rollout_empty", message, "start a new one: leave out --resume")
    if started.rollout != rollout:
        raise not_as_written(path, f"it is the journal of {harmless(started.rollout)}")
    if started.is_check:
        message = f"rollout {rollout} only looked, there is nothing to go on with"
        raise UsageError("rollout_was_check", message, "start a new one: leave out --resume")
    if started.action != action:
        message = f"rollout {rollout} is one of {harmless(started.action)}, not of {action}"
        raise UsageError("rollout_of_other_action", message, "go on with it by the command that began it")
    if None not in (began := started.details, details) and began != details:
        was, now = (harmless(" ".join(words or ())) or "no more" for words in (began, details))
        message = f"rollout {rollout} began {action} with {was}, and this is {action} with {now}"
        hint = (
            "go on with it by the command that began it, name another with --rollout, or leave out --resume"
        )
        raise UsageError("rollout_of_other_details", message, hint)
    outcomes = {e.event.outcome.host: e.event.outcome for e in envelopes if isinstance(e.event, HostFinished)}
    members = frozenset(entry.name for entry in started.hosts)
    return Past(envelopes, tuple(outcomes.values()), members, last_seq)
