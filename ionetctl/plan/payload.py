"""What one apply sends to a host: a tar archive of a size known beforehand, made block by block.

It knows the records of ``steps`` in ``docs/explanation/host-protocol.md``; it must not know plans, sessions or
secrets' sources. Programs are read through one shared map of their file, so that thousands of hosts read the same
pages; private keys pass through and are never shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.plan.ustar import archive, archive_bytes, mapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.names import RolloutId
    from ionetctl.core.model.plan import BundleFile, Program

_FIELD_LIMIT: Final = 4096
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]")

Start = Literal["restart", "start", "no"]


@dataclass(frozen=True, slots=True)
class Payload:
    """All that one apply brings to one host, in the order in which it is carried out.

    ``apply_script`` is what carries it out there (``remote.apply_script``). ``files`` have their content (and digest) filled in, ``programs`` name their release; ``links`` have a target;
    ``chmods`` are right but for mode or owner. ``asides`` and ``keeps`` are paths: files moved out of the agent's way,
    and unchanged parts of the configuration that the candidate needs to be judged. ``validate_with`` is the path of the
    Nomad program that judges it, ``None`` where the configuration stays as it is.
    """

    rollout: RolloutId
    apply_script: bytes = field(repr=False)
    files: tuple[BundleFile, ...] = field(default=(), repr=False)
    programs: tuple[BundleFile, ...] = ()
    links: tuple[BundleFile, ...] = ()
    chmods: tuple[BundleFile, ...] = field(default=(), repr=False)
    asides: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    needs_token: bool = False
    start: Start = "no"
    validate_with: str | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the whole archive: what the host is told to expect."""
        contents = [len(self.apply_script), len(steps_text(self))]
        contents += [len(file.content) for file in self.files]
        contents += [_program(file).packed_bytes for file in self.programs]
        return archive_bytes(contents)

    def blocks(self) -> Iterator[bytes | memoryview]:
        """The archive in blocks of at most 64 KiB, ``size_bytes`` in all.

        Raises ``ConfigurationError`` (``artifact_missing``) or ``TrustError`` (``artifact_digest_mismatch``) where a
        packed program is gone or no longer as long as it was.
        """
        yield from archive(self._members())

    def _members(self) -> Iterator[tuple[str, memoryview]]:
        yield "apply.sh", memoryview(self.apply_script)
        yield "steps", memoryview(steps_text(self))
        for number, file in enumerate(self.files, 1):
            yield f"f/{number}", memoryview(file.content)
        for number, file in enumerate(self.programs, 1 + len(self.files)):
            yield f"f/{number}", _packed(_program(file))


def steps_text(payload: Payload) -> bytes:
    """The member ``steps``: one record a line.

    Raises ``ValueError`` for a value that would break its record: paths and owners are checked where they come in.
    """
    records: list[tuple[str, ...]] = [
        ("rollout", payload.rollout),
        ("token", "yes" if payload.needs_token else "no"),
        ("start", payload.start),
    ]
    if payload.validate_with is not None:
        records.append(("validate", payload.validate_with))
    records += [_file_record(number, file) for number, file in enumerate(payload.files, 1)]
    records += [
        _program_record(number, file) for number, file in enumerate(payload.programs, 1 + len(payload.files))
    ]
    records += [("link", file.target, file.path) for file in payload.links]
    records += [("chmod", _mode(file), file.owner, file.path) for file in payload.chmods]
    records += [("aside", path) for path in payload.asides]
    records += [("keep", path) for path in payload.keeps]
    return "".join(record_line(record) for record in records).encode()


def _file_record(number: int, file: BundleFile) -> tuple[str, ...]:
    return ("file", str(number), file.digest, _mode(file), file.owner, file.path)


def _program_record(number: int, file: BundleFile) -> tuple[str, ...]:
    program = _program(file)
    return (
        "program",
        str(number),
        program.digest,
        str(program.size_bytes),
        _mode(file),
        file.owner,
        file.path,
        program.version,
    )


def _program(file: BundleFile) -> Program:
    if file.program is None:
        raise ValueError(f"{file.path} is no program")
    return file.program


def _mode(file: BundleFile) -> str:
    return f"{file.mode:04o}"


def record_line(record: tuple[str, ...]) -> str:
    """One record of ``steps``; raises ``ValueError`` for a value that would break it."""
    for value in record:
        if not value or len(value) > _FIELD_LIMIT or _UNFIT.search(value):
            raise ValueError(f"a {record[0]} record cannot hold {value!r}")
    return "\t".join(record) + "\n"


def _packed(program: Program) -> memoryview:
    """A packed program's content; raises as ``Payload.blocks`` does."""
    try:
        content = mapped(program.packed_path)
    except (OSError, ValueError) as error:
        message = f"cannot read {program.packed_path}: {error}"
        raise ConfigurationError("artifact_missing", message, "run `ionetctl artifacts fetch`") from error
    if len(content) != program.packed_bytes:
        message = f"{program.packed_path} has {len(content)} bytes, but should have {program.packed_bytes}"
        raise TrustError("artifact_digest_mismatch", message, "run `ionetctl artifacts verify`")
    return content
