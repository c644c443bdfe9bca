"""What a subject yields: rows of measurements, figures for the targets, and what was left out with the reason."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: CPU of the command with all its descendants, wall time, peak memory (PSS), and bytes over loopback.

    ``sent_mib`` counts both directions and is known only in a network namespace of the bench's own. ``hosts_cpu_s``
    is what the hosts used meanwhile, where they are processes here. ``is_cut``: it was
    ended at its time limit, so that it would have taken longer.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float = 0.0
    sent_mib: float | None = None
    hosts_cpu_s: float | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. ``units`` is the number of hosts (or gigabytes, …) that CPU is divided by, ``of`` the floor."""

    name: str
    command: str
    samples: Sequence[Sample]
    units: float = 1
    of: Row | None = None
    note: str = ""

    @property
    def cpu_s(self) -> float:
        """The median of the rounds' CPU seconds."""
        return self._median(lambda sample: sample.cpu_s)

    @property
    def wall_s(self) -> float:
        """The median of the rounds' wall seconds."""
        return self._median(lambda sample: sample.wall_s)

    @property
    def peak_mib(self) -> float:
        """The largest memory of any round."""
        return max(sample.peak_mib for sample in self.samples)

    @property
    def sent_mib(self) -> float | None:
        """The median of what went over loopback; ``None`` where that is not known."""
        return self._known_median(lambda sample: sample.sent_mib)

    @property
    def hosts_cpu_s(self) -> float | None:
        """The median of what the hosts used; ``None`` where that is not known."""
        return self._known_median(lambda sample: sample.hosts_cpu_s)

    @property
    def spread(self) -> float | None:
        """Largest minus smallest CPU time over the median; ``None`` of a single round."""
        times = [sample.cpu_s for sample in self.samples]
        return (max(times) - min(times)) / self.cpu_s if len(times) > 1 and self.cpu_s else None

    @property
    def is_cut(self) -> bool:
        """Whether a round was ended at its time limit: then its times are lower bounds."""
        return any(sample.is_cut for sample in self.samples)

    @property
    def cpu_per_unit(self) -> float:
        """CPU seconds for each of ``units``."""
        return self.cpu_s / self.units

    @property
    def wall_per_unit(self) -> float:
        """Wall seconds for each of ``units``."""
        return self.wall_s / self.units

    @property
    def cpu_ratio(self) -> float | None:
        """CPU a unit as a multiple of the floor's."""
        return self.cpu_per_unit / self.of.cpu_per_unit if self.of and self.of.cpu_s else None

    @property
    def wall_ratio(self) -> float | None:
        """Wall time a unit as a multiple of the floor's."""
        return self.wall_per_unit / self.of.wall_per_unit if self.of and self.of.wall_s else None

    def _known_median(self, value: Callable[[Sample], float | None]) -> float | None:
        known = [one for one in map(value, self.samples) if one is not None]
        return statistics.median(known) if known else None

    def _median(self, value: Callable[[Sample], float]) -> float:
        return statistics.median(value(sample) for sample in self.samples)


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured for a target; ``detail`` says under which conditions where they differ from the target's."""

    target: str
    value: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not measured, and why; ``targets`` stay open for that reason."""

    what: str
    why: str
    targets: tuple[str, ...] = ()


Finding = Row | Figure | LeftOut
