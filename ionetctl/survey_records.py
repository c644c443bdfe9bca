"""The survey's records, one at a time, into a draft of what a host says of itself.

Pure. It trusts nothing: counts, sizes and characters are bounded, every text is made harmless, and what does not fit is
an error that names the field. A new kind of record is a function and a row in ``_RECORDS``; what the records mean
together is the concern of ``facts``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl.errors import HostFailedError
from ionetctl.harmless import harmless
from ionetctl.model import Digest, Disk, RemoteFile
from ionetctl.observed import SeenGpu

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_LIMIT: Final = 4096
_TEXT_LIMIT: Final = 300
_PATH_LIMIT: Final = 1024
_CONFIG_LIMIT: Final = 256
_CERTIFICATE_LIMIT: Final = 2048

_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MODE: Final = re.compile(r"[0-7]{4}")
_OWNER: Final = re.compile(r"[^\s:]{1,64}:[^\s:]{1,64}")
_GPU_UUID: Final = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,120}")


_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class Draft:
    """The survey as far as it has been read."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    gpus: dict[int, SeenGpu] = field(default_factory=dict)
    config_files: list[str] = field(default_factory=list)
    files: dict[str, RemoteFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Digest] = field(default_factory=dict)
    certificate: list[str] = field(default_factory=list)
    lock: tuple[str, str, str] | None = None


def malformed(name: str, reason: str) -> HostFailedError:
    """The error for a field that is not what the protocol allows."""
    message = f"the survey's field {harmless(name)[:60]!r} is malformed: {reason}"
    hint = "run the survey by hand to see what the host prints: a wrapper around sh, or a tampered host?"
    return HostFailedError("survey_malformed", message, hint)


def take(draft: Draft, line: str) -> None:
    """Add one record to the draft.

    Raises ``HostFailedError`` (``survey_malformed``), naming the field, for what the protocol does not allow.
    """
    key, *values = line.split("\t")
    if len(line) > LINE_LIMIT:
        raise malformed(key, "its line is too long")
    row = _RECORDS.get(key)
    if row is None:
        raise malformed(key, "nothing is known by that name")
    if len(values) != row.fields:
        raise malformed(key, f"{len(values)} values, not {row.fields}")
    row.take(draft, key, values)


# --- one function for each kind of record ---


def _text(draft: Draft, key: str, values: list[str]) -> None:
    _put(draft.texts, key, key, _clean(values[0]))


def _number(draft: Draft, key: str, values: list[str]) -> None:
    _put(draft.numbers, key, key, _int(key, values[0]))


def _disk(draft: Draft, key: str, values: list[str]) -> None:
    path, available, kind, options = values
    flags = options.split(",")
    disk = Disk(_path(key, path), _int(key, available), _clean(kind), "ro" in flags, "noexec" in flags)
    _put(draft.disks, disk.path, key, disk, limit=16)


def _tool(draft: Draft, key: str, values: list[str]) -> None:
    name = _clean(values[0])
    _put(draft.tools, name, key, name)


def _gpu(draft: Draft, key: str, values: list[str]) -> None:
    index, name, uuid, memory, bus = values
    gpu = SeenGpu(
        index=_int(key, index),
        name=_clean(name),
        uuid=_match(key, uuid, _GPU_UUID),
        memory_mib=_int(key, memory) if memory else None,
        pci_bus_id=_clean(bus) or None,
    )
    _put(draft.gpus, gpu.index, key, gpu, limit=256)


def _config(draft: Draft, key: str, values: list[str]) -> None:
    if len(draft.config_files) >= _CONFIG_LIMIT or values[0] in draft.config_files:
        raise malformed(key, "too many, or one twice")
    draft.config_files.append(_path(key, values[0]))


def _file(draft: Draft, key: str, values: list[str]) -> None:
    digest, mode, owner, path = values
    file = RemoteFile(
        path=_path(key, path),
        digest=Digest(_match(key, digest, _DIGEST)),
        mode=int(_match(key, mode, _MODE), 8),
        owner=_clean(_match(key, owner, _OWNER)),
    )
    _put(draft.files, file.path, key, file, limit=512)


def _link(draft: Draft, key: str, values: list[str]) -> None:
    target, path = values
    _put(draft.links, _path(key, path), key, _clean(target), limit=512)


def _manifest(draft: Draft, key: str, values: list[str]) -> None:
    digest, path = values
    _put(draft.manifest, _path(key, path), key, Digest(_match(key, digest, _DIGEST)), limit=1024)


def _cert(draft: Draft, key: str, values: list[str]) -> None:
    if len(draft.certificate) >= _CERTIFICATE_LIMIT:
        raise malformed(key, "too many lines")
    draft.certificate.append(values[0])


def _lock(draft: Draft, key: str, values: list[str]) -> None:
    if draft.lock is not None:
        raise malformed(key, "given twice")
    draft.lock = (_clean(values[0]), _clean(values[1]), _clean(values[2]))


@dataclass(frozen=True, slots=True)
class _Record:
    """How a record is taken, and how many values it has."""

    take: Callable[[Draft, str, list[str]], None]
    fields: int


_TEXTS: Final = (
    "os.id os.version os.name kernel arch init machine-id boot-id gpu.source nomad.active nomad.enabled "
    "nomad.version nomad.client-id nomad.stamp"
)
_NUMBERS: Final = "uid time cpu.cores memory.kib nomad.process nomad.token nomad.allocations ours interrupted"
_RECORDS: Final[dict[str, _Record]] = {
    **{key: _Record(_text, 1) for key in _TEXTS.split()},
    **{key: _Record(_number, 1) for key in _NUMBERS.split()},
    "disk": _Record(_disk, 4),
    "tool": _Record(_tool, 1),
    "gpu": _Record(_gpu, 5),
    "nomad.config": _Record(_config, 1),
    "file": _Record(_file, 4),
    "link": _Record(_link, 2),
    "manifest": _Record(_manifest, 2),
    "cert": _Record(_cert, 1),
    "lock": _Record(_lock, 3),
}


# --- one function for each kind of value ---


def _put(into: dict[_K, _V], at: _K, key: str, value: _V, limit: int = 64) -> None:
    if at in into:
        raise malformed(key, "given twice")
    if len(into) >= limit:
        raise malformed(key, f"more than {limit} of them")
    into[at] = value


def _match(key: str, value: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(value):
        raise malformed(key, f"{harmless(value)[:60]!r} is not of the form that it must have")
    return value


def _int(key: str, value: str) -> int:
    return int(_match(key, value, _NUMBER))


def _clean(value: str) -> str:
    return harmless(value, _TEXT_LIMIT)


def _path(key: str, value: str) -> str:
    """An absolute path of printable characters: what is named here may be acted upon, so it is not altered."""
    if not value.startswith("/") or len(value) > _PATH_LIMIT or not value.isprintable():
        raise malformed(key, f"{harmless(value)[:60]!r} is no path that can be handled")
    return value
