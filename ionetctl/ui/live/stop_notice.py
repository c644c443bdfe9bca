"""What is said when a rollout is stopped: what is finished by then, and which hosts are still at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl.core.events import (
    HostFinished,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
    StepFinished,
    StepStarted,
)
from ionetctl.ui import phrases
from ionetctl.ui.live.plain import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ionetctl.core.events import Envelope
    from ionetctl.core.model.names import HostName
    from ionetctl.ui.verbosity import Verbosity


class StopNotice:
    """A sink that passes lines to ``write`` as soon as the rollout is stopped; with its reason if ``verbosity`` is given.

    ``has_past`` says that the first batch is the past of a resumed rollout, whose end is none of this one.
    """

    def __init__(
        self, write: Callable[[str], None], verbosity: Verbosity | None = None, *, has_past: bool = False
    ) -> None:
        self._has_past = has_past
        self._write = write
        self._verbosity = verbosity
        self._finished: set[HostName] = set()
        self._at_work: dict[HostName, None] = {}

    @property
    def at_work(self) -> tuple[HostName, ...]:
        """The hosts that are being worked on, the longest first."""
        return tuple(self._at_work)

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Take the events into account, and write the lines if the rollout is stopped."""
        is_past, self._has_past = self._has_past, False
        for envelope in envelopes:
            match envelope.event:
                case RolloutStarted() | RolloutResumed():
                    self._finished.clear()
                    self._at_work.clear()
                case StepStarted(host=str() as host):
                    self._at_work[host] = None
                case StepFinished(host=str() as host):
                    self._at_work.pop(host, None)
                case HostFinished() as event:
                    self._at_work.pop(event.outcome.host, None)
                    self._finished.add(event.outcome.host)
                case RolloutStopped() as event if not is_past:
                    self._notice(event)
                case _:
                    pass

    async def close(self) -> None:
        """Do nothing: nothing is buffered."""

    def _notice(self, event: RolloutStopped) -> None:
        if self._verbosity is not None and (line := describe(event, self._verbosity)) is not None:
            self._write(line)
        at_work = (
            f"{len(self._at_work):,} at work: {phrases.folded(self.at_work)}"
            if self._at_work
            else "none at work"
        )
        self._write(f"{phrases.hosts(len(self._finished))} finished, {at_work}")
