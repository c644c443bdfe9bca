"""Which rollout the options mean: a new one, or an interrupted one to go on with.

Reads journals; opens the one that will be written. What is done in a rollout stands in ``enrollment``.
"""

from __future__ import annotations

import random
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import UsageError
from ionetctl.core.events import HostFinished, RolloutStarted
from ionetctl.core.model.outcome import Result
from ionetctl.history.journal import Journal, find_journal, list_journals, new_rollout_id, read_journal

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.core.events import Envelope
    from ionetctl.core.model.names import HostName, RolloutId
    from ionetctl.core.ports import Clock
    from ionetctl.core.settings import Settings
    from ionetctl.rollout.options import RolloutOptions

DONE: Final = frozenset({Result.ENROLLED, Result.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Past:
    """What an interrupted rollout had done already, and the hosts that it began with."""

    envelopes: tuple[Envelope, ...]
    done: frozenset[HostName]
    members: frozenset[HostName] | None = None

    def leaves(self, name: HostName) -> bool:
        """Whether a host of the inventory is still to be done; one that the rollout did not begin with never is."""
        return name not in self.done and (self.members is None or name in self.members)

    @property
    def first_seq(self) -> int:
        """The number of the next event."""
        return self.envelopes[-1].seq + 1 if self.envelopes else 1


def resume_command(options: RolloutOptions, rollout: RolloutId) -> str:
    """What to type to go on with a rollout: the command that began it, consent and limits included."""
    words = list(options.command) or ["enroll", options.inventory]
    if options.rollout is not None:
        words = [
            word
            for word in words
            if word not in {"--rollout", options.rollout, f"--rollout={options.rollout}"}
        ]
    words = [word for word in words if word != "--resume"]
    return shlex.join(["ionetctl", *words, "--resume", "--rollout", rollout])


def identify(options: RolloutOptions, settings: Settings, clock: Clock) -> tuple[RolloutId, Past]:
    """A new rollout, or the one to go on with and what it has done."""
    if not options.resume:
        return new_rollout_id(clock, random.SystemRandom()), Past((), frozenset())
    path = _path_to_resume(options, settings)
    envelopes = tuple(read_journal(path))
    if not envelopes or not isinstance(envelopes[0].event, RolloutStarted):
        raise UsageError("rollout_empty", f"{path} holds no rollout", "start a new one: leave out --resume")
    if envelopes[0].event.is_check:
        message = f"rollout {options.rollout} only looked, there is nothing to go on with"
        raise UsageError("rollout_was_check", message, "start a new one: leave out --resume")
    results = {
        e.event.outcome.host: e.event.outcome.result for e in envelopes if isinstance(e.event, HostFinished)
    }
    done = frozenset(name for name, result in results.items() if result in DONE)
    members = frozenset(entry.name for entry in envelopes[0].event.hosts)
    return envelopes[0].event.rollout, Past(envelopes, done, members)


def _path_to_resume(options: RolloutOptions, settings: Settings) -> Path:
    if options.rollout is not None:
        return find_journal(settings.rollouts_dir, options.rollout).path
    for journal in reversed(list_journals(settings.rollouts_dir)):
        first = next(iter(journal.envelopes()), None)
        if first is not None and _is_of(first, options.inventory):
            return journal.path
    hint = "start one: leave out --resume"
    raise UsageError("nothing_to_resume", f"there is no rollout of {options.inventory} to go on with", hint)


def _is_of(first: Envelope, inventory: str) -> bool:
    event = first.event
    return isinstance(event, RolloutStarted) and event.inventory == inventory and not event.is_check


def open_journal(settings: Settings, rollout: RolloutId, past: Past) -> Journal:
    """The journal of a new rollout, or that of one to go on with; raises ``ConfigurationError`` as ``Journal`` does."""
    if past.envelopes:
        return Journal.resume(settings.rollouts_dir, rollout)
    return Journal.create(settings.rollouts_dir, rollout)
