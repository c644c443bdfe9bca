"""The ordinary rehearsal host from which modelled hosts of its kind take what they do not model.

A kind is a GPU model and a fault or condition. The host's survey and probe are run for real, once for each script and each list of
arguments; what is the host's own in their output (name, ids, addresses, GPUs) is replaced by that of each modelled host.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.file_tree import BOOT_ID
from ionetctl.lab.host.machine import ARCHITECTURE, host_digest
from ionetctl.lab.host.nvidia_driver import GPU_MODELS, gpu_uuid
from ionetctl.lab.host.rooted_path import locate
from ionetctl.lab.host.standin_files import DOCKER_FILE, GPU_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.lab.host.ssh_server import LabHost

_READ_BY_AGENT: Final = ("etc/os-release", "proc/cpuinfo", "proc/meminfo", DOCKER_FILE, GPU_FILE)
_GPU_COUNTS: Final = {model.short: model.count for model in GPU_MODELS}
_CLOCK_UNIT_S: Final = 10
"""Faults of clocks are whole multiples of it; what is less is the time that the survey took."""
_TIME: Final = re.compile(rb"^time\t(\d+)$", re.MULTILINE)
_NO_NONCE: Final = "6d6f64656c6c65642d686f73742d6e6f"
_SURVEY_END: Final = b"ionet-survey-end\t"
_CHANGED_BY_APPLY: Final = re.compile(
    rb"(nomad\.[a-z-]+|file|link|manifest|cert|ours|interrupted|lock)\t", re.DOTALL
)
"""The records of a survey that an apply changes."""


def identity(name: str, address: str, boot_id: str, model: str) -> tuple[str, ...]:
    """The texts by which one host differs from others of its kind, always in the same order."""
    digits = host_digest(name)
    mac = ":".join(digits[place : place + 2] for place in range(0, 10, 2))
    count = _GPU_COUNTS[model]
    return (
        name,
        address.replace("127.", "10.", 1),
        boot_id,
        digits[:32],
        mac,
        *(gpu_uuid(name, index).removeprefix("GPU-") for index in range(count)),
    )


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with gaps: numbers stand for the values of an ``identity``."""

    parts: tuple[bytes | int, ...]

    def filled(self, values: Sequence[str]) -> bytes:
        """The text of the host with these values."""
        return b"".join(values[part].encode() if isinstance(part, int) else part for part in self.parts)


@dataclass(frozen=True, slots=True)
class Recording:
    """What a program printed on the host that stands for its kind.

    ``fixed`` has all records but those that an apply changes, which are in ``changing`` as they are before the first one.
    ``clock_ahead_s`` is what the host's clock is ahead by, where a record shows it.
    """

    fixed: Pattern
    changing: Pattern
    exit_status: int
    errors: Pattern
    clock_ahead_s: int | None


@dataclass(slots=True)
class TemplateHost:
    """One kind's host. ``values`` is its own identity."""

    host: LabHost
    model: str
    values: tuple[str, ...] = field(init=False, repr=False)
    _finder: re.Pattern[bytes] = field(init=False, repr=False)
    _recordings: dict[bytes, asyncio.Task[Recording]] = field(default_factory=dict)
    _agent_files: dict[str, Pattern] = field(default_factory=dict)

    def __post_init__(self) -> None:
        boot_id = (self.host.tree / BOOT_ID).read_text().strip()
        self.values = identity(self.host.plan.name, self.host.plan.address, boot_id, self.model)
        self._finder = re.compile(b"|".join(re.escape(value).encode() for value in self.values))
        for path in _READ_BY_AGENT:
            file = locate(self.host.tree, f"/{path}")
            if file.is_file():
                self._agent_files[path] = self._pattern(file.read_bytes())

    @property
    def architecture(self) -> str:
        """What ``uname -m`` prints."""
        file = self.host.tree / ARCHITECTURE
        return file.read_text().strip() if file.is_file() else os.uname().machine

    def agent_files(self, values: Sequence[str]) -> dict[str, bytes]:
        """The files of the system that a host's agent reads: path below the root → content."""
        return {path: pattern.filled(values) for path, pattern in self._agent_files.items()}

    async def recorded(self, words: Sequence[str], stdin: bytes) -> Recording:
        """What ``words`` prints, run as root; it is run at the first call only."""
        key = hashlib.sha256("\0".join(words).encode() + b"\0" + stdin).digest()
        if key not in self._recordings:
            self._recordings[key] = asyncio.create_task(self._record(words, stdin))
        return await asyncio.shield(self._recordings[key])

    async def _record(self, words: Sequence[str], stdin: bytes) -> Recording:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=-1,
            stdout=-1,
            stderr=-1,
            env={**self.host.environment(), "LAB_IS_ROOT": "1"},
            cwd=self.host.tree,
        )
        started = time.time()
        output, errors = await process.communicate(stdin)
        shown = _TIME.search(output)
        lines = output.splitlines(keepends=True)
        return Recording(
            self._pattern(b"".join(line for line in lines if not _CHANGED_BY_APPLY.match(line))),
            self._pattern(b"".join(line for line in lines if _CHANGED_BY_APPLY.match(line))),
            process.returncode or 0,
            self._pattern(errors),
            round((int(shown[1]) - started) / _CLOCK_UNIT_S) * _CLOCK_UNIT_S if shown else None,
        )

    def _pattern(self, text: bytes) -> Pattern:
        numbers = {value.encode(): number for number, value in reversed(list(enumerate(self.values)))}
        parts: list[bytes | int] = []
        end = 0
        for match in self._finder.finditer(text):
            parts += [text[end : match.start()], numbers[match[0]]]
            end = match.end()
        return Pattern((*parts, text[end:]))


def answered(recording: Recording, values: Sequence[str], nonce: str, changing: bytes | None) -> bytes:
    """The output for one host: its nonce and time, and ``changing`` in place of what an apply changes."""
    before_apply = recording.changing.filled(values) if changing is None else changing
    fixed = recording.fixed.filled(values)
    if recording.clock_ahead_s is not None:
        now = int(time.time()) + recording.clock_ahead_s
        fixed = _TIME.sub(b"time\t%d" % now, fixed, count=1)
    survey, ending, probe = fixed.partition(_SURVEY_END)
    text = b"".join((survey, before_apply if ending else b"", ending, probe))
    return text.replace(_NO_NONCE.encode(), nonce.encode())


def without_nonce(words: Sequence[str], nonce: str) -> tuple[str, ...]:
    """The words with one nonce for all hosts, which ``answered`` replaces."""
    return tuple(_NO_NONCE if word == nonce else word for word in words)
