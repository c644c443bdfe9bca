"""The targets, in one table; the first table of every run is this one with its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Target:
    """One target: ``limit`` is the most that is allowed, or with ``is_floor`` the least."""

    key: str
    what: str
    limit: float
    unit: str
    is_floor: bool = False

    def is_met_by(self, value: float) -> bool:
        """Whether a measured value meets it."""
        return value >= self.limit if self.is_floor else value <= self.limit


TARGETS: Final = (
    Target("first-enrolment", "first enrolment, small payload, CPU a host", 5, "times the bare program"),
    Target("second-enrolment", "second run, unchanged, CPU a host", 2, "times the bare program"),
    Target("stream-ratio", "payload streaming, CPU a GB", 1.1, "times the best asyncssh stream"),
    Target("stream-cpu", "payload streaming, CPU", 1.6, "s/GB"),
    Target("bytes-a-host", "bytes a host for a program of machine code", 0.25, "of its size"),
    Target("peers-large-wall", "50 hosts of 45 MB: wall, nearest peer", 3, "times ours", is_floor=True),
    Target("peers-small-wall", "200 hosts of 5 MB: wall, nearest peer", 3, "times ours", is_floor=True),
    Target("peers-pyinfra-cpu", "the same work: CPU, against pyinfra", 0.4, "of pyinfra's"),
    Target("peers-mitogen-cpu", "the same work: CPU, against ansible with mitogen", 1 / 15, "of its"),
    Target("workers", "two worker processes, hosts a second", 1.3, "times one process", is_floor=True),
    Target("memory-base", "memory without the connections", 120, "MB"),
    Target("memory-connection", "memory a connection", 60, "KB"),
    Target("memory-10000", "10,000 hosts in one rollout: memory, all processes", 400, "MB"),
    Target("scaling", "10,000 modelled hosts: CPU a host", 1.15, "times that at 500"),
    Target("poll", "one poll of 10,000 nodes", 0.2, "s"),
    Target("poll-gpus", "the same with every GPU's UUID compared", 0.6, "s"),
    Target("status-text", "`status` on 10,000 nodes, text", 1, "s"),
    Target("status-json", "`status` on 10,000 nodes, JSON", 1, "s"),
    Target("query", "a filtered query on 1,000,000 nodes", 2, "s"),
    Target("inventory", "inventory of 10,000 hosts: load, validate, plan", 2, "s"),
    Target("start-version", "`--version`, CPU", 100, "ms"),
    Target("start-help", "`--help`, CPU", 200, "ms"),
    Target("start-enroll-help", "`enroll --help`, CPU", 250, "ms"),
    Target("dead-hosts", "2 % dead hosts among 1,000: wall", 1.15, "times without them"),
    Target("rehearsal", "the rehearsal: 200 hosts set up and enrolled", 40, "s"),
)
