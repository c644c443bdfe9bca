"""What one apply sends to a host: built from its plan, sent as a tar archive without what lies there from a broken upload.

Pure, but for the programs, whose files are memory-mapped so that thousands of hosts share the same pages. The records of
the member ``steps`` are those of ``docs/explanation/host-protocol.md``.
The manifest goes with every payload: it lists the digest of each installed file, so that the next survey can tell which
files ionetctl has installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Action, Bundle, BundleFile, Kind, Plan, Program
from ionetctl.plan.bundle import sha256, with_stamp
from ionetctl.plan.ustar import archive, archive_bytes, mapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.names import RolloutId
    from ionetctl.core.model.node import NodeCertificate

_FIELD_LIMIT: Final = 4096
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")
_SENDING: Final = frozenset({Action.CREATE, Action.UPDATE, Action.RENEW})
"""The actions for which a file is sent."""
_CONFIGURATION: Final = frozenset({Kind.FILE, Kind.CERTIFICATE, Kind.KEY, Kind.OWN_KEY})

Start = Literal["restart", "start", "no"]


@dataclass(frozen=True, slots=True)
class Payload:
    """Everything that one apply sends to one host, in the order in which it is applied.

    ``apply_script`` is the program that applies it there (``remote.apply_script``). ``files`` have content and digest,
    ``programs`` a release, ``links`` a target; ``chmods`` differ in mode or owner only. ``asides`` are paths of files
    that the agent would read and must not, ``keeps`` paths of unchanged configuration files that are validated
    together with the new ones. ``own_pair`` are key and certificate where the host makes the one and asks for the other.
    ``validate_with`` is the path of the Nomad program that validates the configuration, ``None`` where it does not change.
    ``fence`` is that of the survey that the plan was made from.
    """

    rollout: RolloutId
    apply_script: bytes = field(repr=False)
    files: tuple[BundleFile, ...] = field(default=(), repr=False)
    programs: tuple[BundleFile, ...] = ()
    links: tuple[BundleFile, ...] = ()
    chmods: tuple[BundleFile, ...] = field(default=(), repr=False)
    asides: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    own_pair: tuple[BundleFile, ...] = ()
    needs_token: bool = False
    start: Start = "no"
    validate_with: str | None = None
    fence: int = 0

    @property
    def packed_digests(self) -> tuple[Digest, ...]:
        """Of the compressed programs, some bytes of which may lie on the host already."""
        return tuple(program_of(file).packed_digest for file in self.programs)

    def size_bytes(self, present: Mapping[Digest, int]) -> int:
        """The size of the archive, which is sent to the host before it; ``present`` has the bytes that lie there by packed digest."""
        contents = [len(self.apply_script), len(steps_member(self))]
        contents += [len(file.content) for file in self.files]
        contents += [program.packed_bytes - start for program, start in self._rests(present)]
        return archive_bytes(contents)

    def blocks(self, present: Mapping[Digest, int]) -> Iterator[bytes | memoryview]:
        """The archive in blocks of at most 64 KiB, ``size_bytes(present)`` in all.

        Raises ``ConfigurationError`` (``artifact_missing``) or ``TrustError`` (``artifact_digest_mismatch``) where a
        compressed program is missing or its size has changed.
        """
        yield from archive(self._members(present))

    def _members(self, present: Mapping[Digest, int]) -> Iterator[tuple[str, memoryview]]:
        yield "apply.sh", memoryview(self.apply_script)
        yield "steps", memoryview(steps_member(self))
        for number, file in enumerate(self.files, 1):
            yield f"f/{number}", memoryview(file.content)
        for program, start in self._rests(present):
            yield f"p/{program.packed_digest}.{start}", packed_content(program)[start:]

    def _rests(self, present: Mapping[Digest, int]) -> Iterator[tuple[Program, int]]:
        """The programs of which something is to be sent, and from which byte on; all of one where too much lies there."""
        for program in map(program_of, self.programs):
            start = present.get(program.packed_digest, 0)
            if start != program.packed_bytes:
                yield program, start if start < program.packed_bytes else 0


# --- from plan to payload ---------------------------------------------------------------------------------------------


def build_payload(
    bundle: Bundle,
    plan: Plan,
    facts: Facts,
    certificate: NodeCertificate | None,
    *,
    rollout: RolloutId,
    apply_script: bytes,
    needs_token: bool,
) -> Payload:
    """The payload that applies ``plan``, with a new ``certificate`` where the plan renews it."""
    files_to_install = _files_to_install(bundle, plan, certificate)
    sent = {change.path for change in plan.changes if change.action in _SENDING}
    if host_paths.NODE_CERT in sent:
        sent.add(host_paths.NODE_KEY)
    files = [file for file in files_to_install if file.path in sent and file.kind in _CONFIGURATION]
    own_pair: list[BundleFile] = []
    if bundle.key_on_host:
        own_pair = [file for file in files if file.kind is not Kind.FILE]
        files = [file for file in files if file.kind is Kind.FILE]
    return Payload(
        rollout=rollout,
        apply_script=apply_script,
        files=(*files, _manifest(bundle, files_to_install, facts)),
        programs=tuple(file for file in files_to_install if file.path in sent and file.kind is Kind.PROGRAM),
        links=tuple(file for file in files_to_install if file.path in sent and file.kind is Kind.LINK),
        chmods=tuple(file for file in files_to_install if file.path in _paths(plan, Action.CHMOD) - sent),
        asides=tuple(sorted(_paths(plan, Action.MOVE_ASIDE))),
        keeps=tuple(
            file.path for file in files_to_install if file.kind in _CONFIGURATION and file.path not in sent
        ),
        own_pair=tuple(own_pair),
        needs_token=needs_token,
        start=_start(plan),
        validate_with=_nomad_program(bundle),
        fence=facts.fence,
    )


def renews_certificate(plan: Plan) -> bool:
    """Whether the payload needs a new certificate."""
    return host_paths.NODE_CERT in _paths(plan, Action.CREATE) | _paths(plan, Action.RENEW)


def _files_to_install(
    bundle: Bundle, plan: Plan, certificate: NodeCertificate | None
) -> tuple[BundleFile, ...]:
    """The bundle's files with the stamp, and the certificate and key where they are new, filled in."""
    issued: dict[Kind, bytes] = {}
    if certificate is not None:
        issued = {Kind.CERTIFICATE: certificate.chain_pem, Kind.KEY: certificate.key_pem}
    return tuple(_with_content(file, plan.stamp, issued) for file in bundle.files)


def _with_content(file: BundleFile, stamp: str, issued: dict[Kind, bytes]) -> BundleFile:
    content = (
        issued.get(file.kind, b"")
        if file.kind in {Kind.CERTIFICATE, Kind.KEY}
        else with_stamp(file.content, stamp)
    )
    if not content:
        return file
    return replace(file, content=content, digest=sha256(content))


def _paths(plan: Plan, action: Action) -> set[str]:
    return {change.path for change in plan.changes if change.action is action}


def _nomad_program(bundle: Bundle) -> str:
    """The path of the Nomad program that the bundle installs, else of the one on the host."""
    paths = (file.path for file in bundle.files if file.program is not None and file.program.name == "nomad")
    return next(paths, host_paths.NOMAD_LINK)


def _manifest(bundle: Bundle, files_to_install: tuple[BundleFile, ...], facts: Facts) -> BundleFile:
    """One line a file, ``<digest>  <path>`` in the format of sha256sum; a file that is not sent keeps its recorded digest.

    A key that the host makes does not stand there, nor its certificate, which is issued later.
    """
    left_out = {Kind.LINK} | ({Kind.CERTIFICATE, Kind.OWN_KEY} if bundle.key_on_host else set())
    digests = (
        (file.digest or facts.manifest.get(file.path), file)
        for file in files_to_install
        if file.kind not in left_out
    )
    content = "".join(f"{digest}  {file.path}\n" for digest, file in digests).encode()
    return BundleFile(
        host_paths.MANIFEST, Kind.FILE, 0o600, restarts=False, content=content, digest=sha256(content)
    )


def manifest_of(payload: Payload) -> dict[str, Digest]:
    """Path → digest of what a payload writes into the host's manifest."""
    (content,) = (file.content for file in payload.files if file.path == host_paths.MANIFEST)
    pairs = (line.split("  ", 1) for line in content.decode().splitlines())
    return {path: Digest(digest) for digest, path in pairs}


def _start(plan: Plan) -> Start:
    actions = {change.action for change in plan.changes}
    if Action.RESTART in actions:
        return "restart"
    return "start" if Action.START in actions else "no"


# --- the member ``steps`` ---------------------------------------------------------------------------------------------


def steps_member(payload: Payload) -> bytes:
    """The member ``steps``: one record a line.

    Raises ``ValueError`` for a value that a record cannot hold, which is a bug: paths and owners are validated on input.
    """
    records: list[tuple[str, ...]] = [
        ("rollout", payload.rollout),
        ("token", "yes" if payload.needs_token else "no"),
        ("start", payload.start),
    ]
    if payload.validate_with is not None:
        records.append(("validate", payload.validate_with))
    if payload.own_pair:
        rights = (value for file in payload.own_pair for value in (_mode(file), file.owner, file.path))
        records.append(("own_pair", *rights))
    records += [_file_record(number, file) for number, file in enumerate(payload.files, 1)]
    records += [_program_record(file) for file in payload.programs]
    records += [("link", file.target, file.path) for file in payload.links]
    records += [("chmod", _mode(file), file.owner, file.path) for file in payload.chmods]
    records += [("aside", path) for path in payload.asides]
    records += [("keep", path) for path in payload.keeps]
    return "".join(record_line(record) for record in records).encode()


def _file_record(number: int, file: BundleFile) -> tuple[str, ...]:
    return ("file", str(number), file.digest, _mode(file), file.owner, file.path)


def _program_record(file: BundleFile) -> tuple[str, ...]:
    program = program_of(file)
    return (
        "program",
        program.packed_digest,
        program.digest,
        str(program.size_bytes),
        _mode(file),
        file.owner,
        file.path,
        program.version,
        program.form,
    )


def program_of(file: BundleFile) -> Program:
    """The release that a program is of. Raises ``ValueError`` for any other file."""
    if file.program is None:
        raise ValueError(f"{file.path} is no program")
    return file.program


def _mode(file: BundleFile) -> str:
    return f"{file.mode:04o}"


def record_line(record: tuple[str, ...]) -> str:
    """One record of ``steps``: fields separated by tabs. Raises ``ValueError`` for a field that is empty, longer than 4 KiB or has a control character."""
    for value in record:
        if not value or len(value) > _FIELD_LIMIT or _CONTROL_CHARACTER.search(value):
            raise ValueError(f"a {record[0]} record cannot hold {value!r}")
    return "\t".join(record) + "\n"


def packed_content(program: Program) -> memoryview:
    """The content of a program's compressed file; raises as ``Payload.blocks`` does."""
    try:
        content = mapped(program.packed_path)
    except (OSError, ValueError) as error:
        message = f"cannot read {program.packed_path}: {error}"
        raise ConfigurationError("artifact_missing", message, "run `ionetctl artifacts fetch`") from error
    if len(content) != program.packed_bytes:
        message = f"{program.packed_path} has {len(content)} bytes, but should have {program.packed_bytes}"
        raise TrustError("artifact_digest_mismatch", message, "run `ionetctl artifacts verify`")
    return content
