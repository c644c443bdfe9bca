"""The cache of releases. An archive enters it pinned, listed in SHA256SUMS, hashed, unpacked, and by one rename.

An entry is ``<cache>/artifacts/<release>/<SHA-256 of the zip>/``, with a directory for each further form of the executable.
Each appears whole or not at all, so that processes need no lock among them. It knows digests and paths; it must not know hosts.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import shutil
import tempfile
import time
import zlib
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ionetctl.artifacts.archive import Packed, digest_of, malformed, not_executable, repack
from ionetctl.artifacts.compression_process import compress_apart
from ionetctl.artifacts.executable import HEAD_BYTES, refusal
from ionetctl.artifacts.lock import LockFile
from ionetctl.artifacts.release import ArtifactKey, missing, parse_sums
from ionetctl.artifacts.signature import SIGNATURE_LIMIT_BYTES, unsigned
from ionetctl.core.errors import ConfigurationError, IonetctlError, TrustError
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Form, Program

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping
    from collections.abc import Set as AbstractSet

    from ionetctl.artifacts.mirror import Mirror
    from ionetctl.artifacts.signature import Publisher

ZIP_LIMIT_BYTES: Final = 1 << 29
SUMS_LIMIT_BYTES: Final = 1 << 18

_FILE_NAMES: Final = {Form.GZIP: "program.gz", Form.ZSTD: "program.zst", Form.XZ: "program.xz"}
_RECORD: Final = "release.json"
_PARTIAL: Final = ".partial-"
_ABANDONED_S: Final = 24 * 3600
_NOW: Final = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, or the making of a ``form``; ``total_bytes`` is ``None`` when the mirror does not send it."""

    key: ArtifactKey
    done_bytes: int
    total_bytes: int | None
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class CachedArtifact:
    """An entry of the cache; ``zip_digest`` is the digest in the lock file."""

    key: ArtifactKey
    zip_digest: Digest
    directory: Path


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a full check of one entry; ``problem`` is ``None`` for an intact one."""

    artifact: CachedArtifact
    problem: IonetctlError | None


def _ignore(_: Progress) -> None:
    """For callers without a progress display."""


class ArtifactStore:
    """The releases of one site: its cache, its mirror, its lock file.

    ``mirror`` is a directory or a base URL with the layout of the vendor's site, or ``None`` for that site; ``tls`` is for
    mirrors with a CA of their own; ``sleep`` waits between retries. With ``own_builds`` scripts are programs too.
    ``publisher`` must have signed what is not pinned yet; with ``None`` nobody need have.
    """

    def __init__(
        self,
        cache_dir: Path,
        mirror: str | None,
        lock_path: Path,
        *,
        publisher: Publisher | None = None,
        own_builds: bool = False,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = _NOW,
    ) -> None:
        self._root = cache_dir / "artifacts"
        self._mirror = mirror
        self._lock = LockFile(lock_path)
        self._publisher = publisher
        self._own_builds = own_builds
        self._now = now
        self._tls = tls
        self._sleep = sleep
        self._ready: dict[ArtifactKey, Program] = {}
        self._packed: dict[tuple[Digest, Form], Program] = {}
        self._packing: defaultdict[tuple[Digest, Form], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ensure(
        self, needs: AbstractSet[ArtifactKey], on_progress: Callable[[Progress], None] = _ignore
    ) -> Mapping[ArtifactKey, Program]:
        """The programs in ``needs``, from the cache where it has them, else downloaded, verified and pinned.

        The network is used only for programs that the lock file does not pin or the cache does not have.

        Raises ``TrustError`` for a file that differs from its digest (``artifact_digest_mismatch``) or is no release
        (``artifact_malformed``, ``artifact_not_executable``, ``artifact_sums_malformed``), or whose checksums the publisher has not
        signed (``artifact_unsigned`` and as ``Publisher.check``); ``ConfigurationError`` where a download fails
        (``artifact_missing``, ``artifact_unreachable`` …) or cannot be stored (``cache_unwritable``, ``lock_unwritable``).
        """
        try:
            return await self._ensure(needs, on_progress)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ConfigurationError:
        message = f"cannot use the cache {self._root}: {error.strerror or error}"
        return ConfigurationError("cache_unwritable", message, "make room or permit it")

    def is_packed(self, program: Program, form: Form) -> bool:
        """Whether ``pack`` has nothing to make."""
        if form is program.form or (program.digest, form) in self._packed:
            return True
        return _place(Path(program.packed_path).parent, form).is_dir()

    async def pack(
        self, program: Program, form: Form, on_progress: Callable[[Progress], None] = _ignore
    ) -> Program:
        """A program that ``ensure`` returned in another form, made where the cache lacks it: once, however many ask.

        Raises ``TrustError`` for a damaged file, ``ConfigurationError`` (``cache_unwritable``) where it cannot be stored.
        What went wrong is not tried again: later calls return the program as it is.
        """
        if form is program.form:
            return program
        asked = (program.digest, form)
        async with self._packing[asked]:
            if asked not in self._packed:
                try:
                    self._packed[asked] = await self._pack(program, form, on_progress)
                except IonetctlError:
                    self._packed[asked] = program
                    raise
        return self._packed[asked]

    async def pack_all(
        self, needs: AbstractSet[ArtifactKey], on_progress: Callable[[Progress], None] = _ignore
    ) -> None:
        """Have the programs in ``needs`` in every form, so that no rollout has to wait for one. Raises as ``ensure`` does."""
        programs = (await self.ensure(needs, on_progress)).values()
        await asyncio.gather(*(self.pack(each, form, on_progress) for each in programs for form in Form))

    async def _pack(self, program: Program, form: Form, on_progress: Callable[[Progress], None]) -> Program:
        key = ArtifactKey(program.name, program.version, program.architecture)

        def report(done: int) -> None:
            on_progress(Progress(key, done, program.size_bytes, form))

        try:
            return await _in_form(key, program, form, report)
        except OSError as error:
            raise self._unusable(error) from error

    def cached(self) -> tuple[CachedArtifact, ...]:
        """Everything in the cache, sorted by release; nothing is checked."""
        releases = sorted(self._root.iterdir()) if self._root.is_dir() else []
        keys = [(ArtifactKey.parse_stem(release.name), release) for release in releases]
        return tuple(
            CachedArtifact(key, Digest(directory.name), directory)
            for key, release in keys
            if key is not None
            for directory in sorted(release.iterdir())
            if (directory / _RECORD).is_file()
        )

    def packed_files(self) -> Mapping[Digest, Path]:
        """Every packed file of the cache by its SHA-256, as its record has it; damaged entries are left out."""
        found: dict[Digest, Path] = {}
        for artifact in self.cached():
            for form in Form:
                place = _place(artifact.directory, form)
                with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    packed = msgspec.json.decode((place / _RECORD).read_bytes(), type=Packed)
                    found[packed.packed_digest] = place / _FILE_NAMES[form]
        return found

    def pinned(self) -> Mapping[str, Digest]:
        """Archive name → SHA-256, as the lock file has it; raises ``ConfigurationError`` (``lock_invalid``)."""
        return self._lock.read()

    async def verify(self) -> tuple[Verification, ...]:
        """Every entry, its packed and unpacked digests checked, and compared with the lock file."""
        pinned = self.pinned()
        return tuple([await asyncio.to_thread(self._verify, artifact, pinned) for artifact in self.cached()])

    async def _ensure(
        self, needs: AbstractSet[ArtifactKey], on_progress: Callable[[Progress], None]
    ) -> Mapping[ArtifactKey, Program]:
        pinned = self._lock.read()
        absent = []
        for key in sorted(needs - self._ready.keys()):
            directory = self._entry(key, pinned.get(key.file_name))
            if directory is None:
                absent.append(key)
            else:
                self._ready[key] = await asyncio.to_thread(self._program, key, directory)
        if absent:
            await self._fetch_all(absent, pinned, on_progress)
        return {key: self._ready[key] for key in needs}

    def _entry(self, key: ArtifactKey, zip_digest: Digest | None) -> Path | None:
        if zip_digest is None:
            return None
        directory = self._path(key, zip_digest)
        return directory if directory.is_dir() else None

    def _path(self, key: ArtifactKey, zip_digest: Digest) -> Path:
        return self._root / key.stem / zip_digest

    async def _fetch_all(
        self, absent: list[ArtifactKey], pinned: Mapping[str, Digest], on_progress: Callable[[Progress], None]
    ) -> None:
        # Most rollouts find all in the cache, and do without the HTTP client.
        from ionetctl.artifacts.mirror import open_mirror

        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(self._root)
        async with open_mirror(self._mirror, self._tls, self._sleep) as mirror:
            for key in absent:
                zip_digest = await self._expected_digest(mirror, key, pinned)
                directory = self._entry(key, zip_digest)
                if directory is None:
                    directory = await self._fetch(mirror, key, zip_digest, on_progress)
                self._ready[key] = await asyncio.to_thread(self._program, key, directory)
                self._lock.add({key.file_name: zip_digest} if key.file_name not in pinned else {})

    async def _expected_digest(
        self, mirror: Mirror, key: ArtifactKey, pinned: Mapping[str, Digest]
    ) -> Digest:
        """The digest that the archive must have: SHA256SUMS and the lock file have to agree, else the publisher has to sign."""
        origin = mirror.locate(key.sums_path)
        if key.file_name not in pinned and not mirror.is_authentic:
            message = f"{key.file_name} is not pinned yet, and {origin} is not authenticated"
            raise ConfigurationError(
                "mirror_insecure", message, "fetch it once over https, then plain HTTP will do"
            )
        sums = io.BytesIO()
        await mirror.copy(key.sums_path, sums, SUMS_LIMIT_BYTES, lambda _done, _total: None)
        if self._publisher is not None and key.file_name not in pinned:
            await self._check_signature(mirror, key, sums.getvalue(), self._publisher)
        listed = parse_sums(sums.getvalue(), origin).get(key.file_name)
        if listed is None:
            raise missing(f"{key.file_name} in {origin}")
        self._lock.check(pinned, key.file_name, listed, origin)
        return listed

    async def _check_signature(
        self, mirror: Mirror, key: ArtifactKey, sums: bytes, publisher: Publisher
    ) -> None:
        signature = io.BytesIO()
        try:
            await mirror.copy(
                key.signature_path, signature, SIGNATURE_LIMIT_BYTES, lambda _done, _total: None
            )
        except ConfigurationError as error:
            if error.code != "artifact_missing":
                raise
            raise unsigned(mirror.locate(key.signature_path)) from error
        origin = mirror.locate(key.signature_path)
        await asyncio.to_thread(publisher.check, sums, signature.getvalue(), origin, self._now())

    async def _fetch(
        self, mirror: Mirror, key: ArtifactKey, zip_digest: Digest, on_progress: Callable[[Progress], None]
    ) -> Path:
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._root))
        try:
            archive = partial / key.file_name
            with archive.open("xb") as target:
                digest = await mirror.copy(
                    key.zip_path,
                    target,
                    ZIP_LIMIT_BYTES,
                    lambda done, total: on_progress(Progress(key, done, total)),
                )
            if digest != zip_digest:
                raise _mismatch(mirror.locate(key.zip_path), zip_digest, digest)
            return await asyncio.to_thread(self._unpack, key, zip_digest, archive)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _unpack(self, key: ArtifactKey, zip_digest: Digest, archive: Path) -> Path:
        """Unpack a verified archive into an entry of its own, which appears by one rename."""
        entry = archive.parent / "entry"
        entry.mkdir(mode=0o700)
        packed = repack(
            archive, key.name, entry / _FILE_NAMES[Form.GZIP], refusal=partial(self._refusal, key)
        )
        path = self._path(key, zip_digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _enter(entry, packed, path)
        return path

    def _program(self, key: ArtifactKey, directory: Path) -> Program:
        """The program of an entry, looked at again: another site's inventory may have let it in, or an older ionetctl."""
        program = _program(key, directory)
        try:
            with gzip.open(program.packed_path) as file:
                head = file.read(HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise malformed(program.packed_path, str(error)) from error
        if (reason := self._refusal(key, head, program.size_bytes)) is not None:
            raise not_executable(program.packed_path, reason, _remedy(directory))
        return program

    def _refusal(self, key: ArtifactKey, head: bytes, size_bytes: int) -> str | None:
        return refusal(head, size_bytes, key.architecture, takes_scripts=self._own_builds)

    def _verify(self, artifact: CachedArtifact, pinned: Mapping[str, Digest]) -> Verification:
        from ionetctl.artifacts.compression import digest_inside

        try:
            first = self._program(artifact.key, artifact.directory)
            for form in Form:
                if form is Form.GZIP or _place(artifact.directory, form).is_dir():
                    program = _program(artifact.key, artifact.directory, form)
                    inside, size_bytes = digest_inside(Path(program.packed_path), form)
                    if (inside, size_bytes) != (first.digest, first.size_bytes):
                        raise _mismatch(program.packed_path, first.digest, inside)
            self._lock.check(pinned, artifact.key.file_name, artifact.zip_digest, "the cache")
        except IonetctlError as error:
            return Verification(artifact, error)
        return Verification(artifact, None)


def _place(directory: Path, form: Form) -> Path:
    """Where an entry has that form of its program, with a record of its own."""
    return directory if form is Form.GZIP else directory / form


async def _in_form(
    key: ArtifactKey, program: Program, form: Form, on_bytes: Callable[[int], None]
) -> Program:
    """The program in that form, which is made unless it is there; raises what ``on_bytes`` raises."""
    directory = Path(program.packed_path).parent
    if not (place := _place(directory, form)).is_dir():
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=directory.parents[1]) as partial:
            entry = Path(tempfile.mkdtemp(dir=partial))
            target = entry / _FILE_NAMES[form]
            packed = await compress_apart(Path(program.packed_path), target, form, on_bytes)
            if packed.digest != program.digest:
                raise _mismatch(program.packed_path, program.digest, packed.digest, _remedy(directory))
            await asyncio.to_thread(_enter, entry, packed, place)
    return await asyncio.to_thread(_program, key, directory, form)


def _enter(entry: Path, packed: Packed, path: Path) -> None:
    """Give an entry its record and its place, where it appears by one rename."""
    record = entry / _RECORD
    record.write_bytes(msgspec.json.encode(packed))
    for file in entry.iterdir():
        _sync_private(file)
    try:
        entry.rename(path)
    except OSError:
        # Another process was first; its entry has the same name, so the same content.
        if not path.is_dir():
            raise


def _program(key: ArtifactKey, entry: Path, form: Form = Form.GZIP) -> Program:
    """The program of an entry in a form that is there, the file hashed again: the disk may have damaged it since."""
    directory = _place(entry, form)
    path = directory / _FILE_NAMES[form]
    try:
        packed = msgspec.json.decode((directory / _RECORD).read_bytes(), type=Packed)
        found = digest_of(path)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the cache entry {directory} is damaged: {error}"
        raise TrustError("artifact_digest_mismatch", message, _remedy(directory)) from error
    if found != (packed.packed_digest, packed.packed_bytes):
        raise _mismatch(str(path), packed.packed_digest, found[0], _remedy(directory))
    return Program(
        name=key.name,
        version=key.version,
        architecture=key.architecture,
        digest=packed.digest,
        size_bytes=packed.size_bytes,
        packed_path=str(path),
        packed_bytes=packed.packed_bytes,
        packed_digest=packed.packed_digest,
        form=form,
    )


def _remedy(directory: Path) -> str:
    return f"remove {directory}, then run `ionetctl artifacts fetch INVENTORY`"


def _mismatch(location: str, expected: Digest, found: Digest, hint: str = "") -> TrustError:
    message = f"{location} has sha256:{found}, but should have sha256:{expected}"
    return TrustError(
        "artifact_digest_mismatch",
        message,
        hint or "it was changed or damaged on the way; compare with the vendor's site",
    )


def _sync_private(path: Path) -> None:
    """Set mode 0600 and sync, before the file's entry appears."""
    path.chmod(0o600)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_abandoned(root: Path) -> None:
    """Remove partial entries of killed processes after a day: younger ones may belong to a running one."""
    oldest = time.time() - _ABANDONED_S
    for path in list(root.glob(f"{_PARTIAL}*")):
        # Its own process may remove it meanwhile.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
