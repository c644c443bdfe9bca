"""Artifacts: what is fetched, what is believed, what lies in the cache, and what is refused."""

# ruff: noqa: ASYNC240  the tests' own small files on a local disk keep no loop waiting

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ionetctl.artifacts import NOMAD, VENDOR_SITE, ArtifactKey, ArtifactStore, Progress
from ionetctl.artifacts.archive import repack
from ionetctl.artifacts.compression import compress, digest_inside
from ionetctl.artifacts.compression_process import COMMAND
from ionetctl.artifacts.mirror import ATTEMPTS
from ionetctl.artifacts.release import parse_sums
from ionetctl.core.errors import ConfigurationError, IonetctlError, TrustError
from ionetctl.core.host_paths import DEVICE_PLUGIN
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Form, Program
from tests.support.clock import ManualClock
from tests.support.elf import elf
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROOT = Path(__file__).parents[2]
AMD64 = ArtifactKey(NOMAD, "2.0.5", "amd64")
ARM64 = ArtifactKey(NOMAD, "2.0.5", "arm64")
PLUGIN = ArtifactKey(DEVICE_PLUGIN, "1.1.0", "amd64")
CODE = b"an executable, as far as anyone here is concerned\n" * 5000
EXECUTABLE = elf("amd64", CODE)
EXECUTABLE_ARM64 = elf("arm64", CODE)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(
    members: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_DEFLATED, member: str = NOMAD
) -> bytes:
    """A release's archive; ``members`` replace its usual content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in (members or {"LICENSE.txt": b"BUSL", member: EXECUTABLE}).items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = compression
            file.writestr(info, content)
    return buffer.getvalue()


@dataclass
class Site:
    """A directory laid out as the vendor's release site."""

    root: Path
    listed: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, key: ArtifactKey, content: bytes, listed_digest: str | None = None) -> None:
        place = self.root / key.zip_path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        release = self.listed.setdefault(key.sums_path, {})
        release[key.file_name] = listed_digest or sha256(content)
        lines = [f"{digest}  {name}\n" for name, digest in release.items()]
        (self.root / key.sums_path).write_text("".join(lines))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "site")
    made.put(AMD64, archive())
    made.put(ARM64, archive({NOMAD: EXECUTABLE_ARM64}))
    made.put(PLUGIN, archive(member=DEVICE_PLUGIN))
    return made


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "ionetctl.lock"


@pytest.fixture
def store(tmp_path: Path, site: Site, lock: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "cache", str(site.root), lock)


def again(tmp_path: Path, mirror: Path | str | None, lock: Path) -> ArtifactStore:
    """The store of a later run."""
    return ArtifactStore(tmp_path / "cache", None if mirror is None else str(mirror), lock)


async def code_of(work: Awaitable[object]) -> tuple[str, int]:
    with pytest.raises(IonetctlError) as caught:
        await work
    return caught.value.code, int(caught.value.exit_code)


def pins(lock: Path) -> dict[str, str]:
    document: dict[str, dict[str, str]] = json.loads(lock.read_text())
    return document["artifacts"]


MISMATCH = ("artifact_digest_mismatch", 6)
MALFORMED = ("artifact_malformed", 6)
MISSING = ("artifact_missing", 3)


# --- names and lists -------------------------------------------------------------------------------------------------


def test_vendors_layout() -> None:
    """Files lie where the vendor's site has them."""
    assert (VENDOR_SITE, AMD64.zip_path, PLUGIN.sums_path, str(PLUGIN)) == (
        "https://releases.hashicorp.com",
        "nomad/2.0.5/nomad_2.0.5_linux_amd64.zip",
        "nomad-device-nvidia/1.1.0/nomad-device-nvidia_1.1.0_SHA256SUMS",
        "nomad-device-nvidia 1.1.0 (amd64)",
    )


@pytest.mark.parametrize("version", ["../2", "2/0", "", "v2.0.5", "2..0", "2.0.5 ", "2.0.5\n", "-1"])
def test_version_that_is_none(version: str) -> None:
    """What becomes part of a path must look like a version."""
    with pytest.raises(ConfigurationError) as caught:
        ArtifactKey(NOMAD, version, "amd64")
    assert caught.value.code == "artifact_invalid"


@pytest.mark.parametrize("version", ["2.0.5", "1.6.5+ent", "2.1.0-beta.1", "1.11.0-rc.1"])
def test_stem_and_back(version: str) -> None:
    """A key can be read off its stem."""
    key = ArtifactKey(NOMAD, version, "arm64")
    assert ArtifactKey.parse_stem(key.stem) == key


@pytest.mark.parametrize(
    "stem", ["", "nomad", "nomad_2.0.5_darwin_amd64", "nomad_2.0.5_linux_mips", "_x_linux_amd64"]
)
def test_stem_that_is_none(stem: str) -> None:
    """A folder that is no entry of ours is passed over."""
    assert ArtifactKey.parse_stem(stem) is None


SUMS = [
    pytest.param(b"<html>not found</html>", "1", id="html"),
    pytest.param(b"d" * 63 + b"  nomad.zip\n", "1", id="short-digest"),
    pytest.param(b"d" * 64 + b"  a.zip\n" + b"e" * 64 + b"  a.zip\n", "2", id="listed-twice"),
    pytest.param(b"d" * 64 + b"  ../a.zip\n", "1", id="path"),
    pytest.param(b"\xff\n", "1", id="bytes"),
]


@pytest.mark.parametrize(("text", "line"), SUMS)
def test_sums_that_are_none(text: bytes, line: str) -> None:
    """A list of checksums is one from its first line to its last, or none."""
    with pytest.raises(TrustError, match=rf"^here:{line}: ") as caught:
        parse_sums(text, "here")
    assert caught.value.code == "artifact_sums_malformed"


# --- the main way ----------------------------------------------------------------------------------------------------


async def test_fetched_program(store: ArtifactStore) -> None:
    """What comes back is the executable's digest and size, and a gzip file that holds it."""
    programs = await store.ensure({AMD64})
    program = programs[AMD64]
    packed = Path(program.packed_path).read_bytes()
    assert program == Program(
        name="nomad",
        version="2.0.5",
        architecture="amd64",
        digest=program.digest,
        size_bytes=len(EXECUTABLE),
        packed_path=program.packed_path,
        packed_bytes=len(packed),
        packed_digest=Digest(sha256(packed)),
        form=Form.GZIP,
    )
    assert (program.digest, gzip.decompress(packed)) == (sha256(EXECUTABLE), EXECUTABLE)


async def test_everything_at_once(store: ArtifactStore) -> None:
    """All that a fleet needs comes by one call."""
    programs = await store.ensure({AMD64, ARM64, PLUGIN})
    assert {key: (each.name, each.architecture) for key, each in programs.items()} == {
        AMD64: ("nomad", "amd64"),
        ARM64: ("nomad", "arm64"),
        PLUGIN: ("nomad-device-nvidia", "amd64"),
    }


async def test_first_fetch_pins(store: ArtifactStore, site: Site, lock: Path) -> None:
    """The lock file names what was fetched, sorted."""
    await store.ensure({PLUGIN})
    await store.ensure({AMD64})
    expected = {key.file_name: sha256((site.root / key.zip_path).read_bytes()) for key in (PLUGIN, AMD64)}
    assert list(pins(lock).items()) == sorted(expected.items())


async def test_lock_file_does_not_say_from_where(store: ArtifactStore, site: Site, lock: Path) -> None:
    """It is the same whichever mirror was asked."""
    await store.ensure({AMD64})
    assert AMD64.file_name in lock.read_text()
    assert str(site.root) not in lock.read_text()


async def test_lock_file_is_readable_by_all(store: ArtifactStore, lock: Path) -> None:
    """Its mode is 0644."""
    await store.ensure({AMD64})
    assert stat.S_IMODE(lock.stat().st_mode) == 0o644


async def test_cache_is_private(store: ArtifactStore, tmp_path: Path) -> None:
    """Files of the cache are the user's alone, and nothing half-done lies about."""
    await store.ensure({AMD64})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache").rglob("*")}
    assert modes == {
        "artifacts": 0o700,
        AMD64.stem: 0o700,
        sha256(archive()): 0o700,
        "program.gz": 0o600,
        "release.json": 0o600,
    }


async def test_pinned_and_cached_needs_no_mirror(store: ArtifactStore, tmp_path: Path, lock: Path) -> None:
    """A later run with the same lock file asks nobody."""
    expected = await store.ensure({AMD64})
    found = await again(tmp_path, tmp_path / "gone", lock).ensure({AMD64})
    assert found == expected


async def test_once_a_run(store: ArtifactStore) -> None:
    """Within a run a program is looked at once."""
    first = await store.ensure({AMD64})
    Path(first[AMD64].packed_path).unlink()
    assert await store.ensure({AMD64}) == first


async def test_cached_but_not_pinned_asks_the_mirror(
    store: ArtifactStore, tmp_path: Path, site: Site
) -> None:
    """What another site's lock file let in is no proof here: the mirror's list decides, the cache saves the download."""
    await store.ensure({AMD64})
    (site.root / AMD64.zip_path).unlink()
    other = tmp_path / "other.lock"
    found = await again(tmp_path, site.root, other).ensure({AMD64})
    assert (found[AMD64].digest, pins(other)) == (sha256(EXECUTABLE), {AMD64.file_name: sha256(archive())})


async def test_same_version_from_another_mirror_is_another_entry(
    store: ArtifactStore, tmp_path: Path, lock: Path
) -> None:
    """A rehearsal's stand-in never takes the place of the release that bears the same version."""
    await store.ensure({AMD64})
    rehearsal = Site(tmp_path / "rehearsal")
    rehearsal.put(AMD64, archive({NOMAD: b"#!/bin/sh\n"}))
    cache, other = tmp_path / "cache", tmp_path / "rehearsal.lock"
    found = await ArtifactStore(cache, str(rehearsal.root), other, own_builds=True).ensure({AMD64})
    real = await again(tmp_path, None, lock).ensure({AMD64})
    assert (found[AMD64].digest, real[AMD64].digest) == (sha256(b"#!/bin/sh\n"), sha256(EXECUTABLE))


async def test_progress(store: ArtifactStore) -> None:
    """Whoever watches hears how far it is, up to the end."""
    heard: list[Progress] = []
    await store.ensure({AMD64}, heard.append)
    size = len(archive())
    assert (heard[0], heard[-1]) == (Progress(AMD64, 0, size), Progress(AMD64, size, size))


async def test_listing_and_verifying(store: ArtifactStore, tmp_path: Path, site: Site, lock: Path) -> None:
    """The cache can be listed, and a full check of it finds nothing wrong."""
    await store.ensure({AMD64, PLUGIN})
    (tmp_path / "cache/artifacts/notes/x").mkdir(parents=True)
    later = again(tmp_path, site.root, lock)
    listed = [(each.key, each.zip_digest) for each in later.cached()]
    assert listed == [(PLUGIN, later.pinned()[PLUGIN.file_name]), (AMD64, later.pinned()[AMD64.file_name])]
    assert [(each.artifact.key, each.problem) for each in await later.verify()] == [
        (PLUGIN, None),
        (AMD64, None),
    ]


def test_empty_cache(store: ArtifactStore) -> None:
    """No cache is an empty one."""
    assert (store.cached(), store.pinned()) == ((), {})


# --- what is refused -------------------------------------------------------------------------------------------------


def truncated(site: Site) -> None:
    (site.root / AMD64.zip_path).write_bytes(archive()[:-100])


def other_content(site: Site) -> None:
    (site.root / AMD64.zip_path).write_bytes(archive({NOMAD: b"evil"}))


def other_sums(site: Site) -> None:
    site.put(AMD64, archive(), "0" * 64)


TAMPERED = pytest.mark.parametrize("tamper", [truncated, other_content, other_sums])


@TAMPERED
async def test_archive_and_sums_must_agree(
    store: ArtifactStore, site: Site, tamper: Callable[[Site], None]
) -> None:
    """An archive that is not what SHA256SUMS lists is refused."""
    tamper(site)
    assert await code_of(store.ensure({AMD64})) == MISMATCH


@TAMPERED
async def test_archive_that_its_sums_do_not_list_is_not_kept(
    store: ArtifactStore, site: Site, tmp_path: Path, tamper: Callable[[Site], None]
) -> None:
    """The cache holds neither an entry nor a part of one."""
    tamper(site)
    await code_of(store.ensure({AMD64}))
    assert (store.cached(), list((tmp_path / "cache/artifacts").iterdir())) == ((), [])


@TAMPERED
async def test_archive_that_its_sums_do_not_list_is_not_pinned(
    store: ArtifactStore, site: Site, lock: Path, tamper: Callable[[Site], None]
) -> None:
    """No lock file is written."""
    tamper(site)
    await code_of(store.ensure({AMD64}))
    assert not lock.exists()


async def rebuilt_since_it_was_pinned(
    store: ArtifactStore, tmp_path: Path, site: Site, lock: Path
) -> ArtifactStore:
    """A store with an empty cache, before a mirror whose release changed after it was pinned."""
    await store.ensure({AMD64})
    site.put(AMD64, archive({NOMAD: b"another build"}))
    return ArtifactStore(tmp_path / "empty", str(site.root), lock)


async def test_pin_binds(store: ArtifactStore, tmp_path: Path, site: Site, lock: Path) -> None:
    """A release that changed since it was pinned is refused, however well its own list fits it."""
    fresh = await rebuilt_since_it_was_pinned(store, tmp_path, site, lock)
    assert await code_of(fresh.ensure({AMD64})) == MISMATCH


async def test_refused_release_leaves_its_pin(
    store: ArtifactStore, tmp_path: Path, site: Site, lock: Path
) -> None:
    """The lock file keeps its bytes."""
    fresh = await rebuilt_since_it_was_pinned(store, tmp_path, site, lock)
    before = lock.read_bytes()
    await code_of(fresh.ensure({AMD64}))
    assert lock.read_bytes() == before


async def test_two_fetches_pin_one_release(store: ArtifactStore, lock: Path) -> None:
    """When another process pinned another build meanwhile, ours is refused."""

    def meanwhile(progress: Progress) -> None:
        if progress.done_bytes == 0:
            lock.write_text(
                json.dumps({"schema": "ionetctl.lock/1", "artifacts": {AMD64.file_name: "1" * 64}})
            )

    assert await code_of(store.ensure({AMD64}, meanwhile)) == MISMATCH


def spoil_packed(directory: Path) -> None:
    packed = directory / "program.gz"
    content = bytearray(packed.read_bytes())
    content[50] ^= 1
    packed.write_bytes(content)


def cut_packed(directory: Path) -> None:
    os.truncate(directory / "program.gz", 60)


def remove_packed(directory: Path) -> None:
    (directory / "program.gz").unlink()


def spoil_record(directory: Path) -> None:
    (directory / "release.json").write_bytes(b"{\xff")


DAMAGES = pytest.mark.parametrize("damage", [spoil_packed, cut_packed, remove_packed, spoil_record])


@DAMAGES
async def test_damaged_cache(
    store: ArtifactStore, tmp_path: Path, lock: Path, damage: Callable[[Path], None]
) -> None:
    """What rotted in the cache is found before a host is sent it, with what to remove."""
    program = (await store.ensure({AMD64}))[AMD64]
    directory = Path(program.packed_path).parent
    damage(directory)
    with pytest.raises(TrustError, match=r"sha256|damaged") as caught:
        await again(tmp_path, None, lock).ensure({AMD64})
    assert (caught.value.code, str(directory) in caught.value.hint) == ("artifact_digest_mismatch", True)


@DAMAGES
async def test_verify_finds_a_damaged_cache(
    store: ArtifactStore, tmp_path: Path, lock: Path, damage: Callable[[Path], None]
) -> None:
    """The entry is listed with its problem, after a refusal too."""
    program = (await store.ensure({AMD64}))[AMD64]
    damage(Path(program.packed_path).parent)
    await code_of(again(tmp_path, None, lock).ensure({AMD64}))
    problems = [each.problem and each.problem.code for each in await again(tmp_path, None, lock).verify()]
    assert problems == ["artifact_digest_mismatch"]


async def test_full_check_finds_a_forged_record(store: ArtifactStore, tmp_path: Path, lock: Path) -> None:
    """A record that agrees with the packed file but not with what is inside is found by the full check."""
    program = (await store.ensure({AMD64}))[AMD64]
    record = Path(program.packed_path).with_name("release.json")
    record.write_text(record.read_text().replace(program.digest, "0" * 64))
    (found,) = await again(tmp_path, None, lock).verify()
    assert found.problem is not None
    assert found.problem.code == "artifact_digest_mismatch"


async def test_full_check_holds_the_pins_against_the_cache(store: ArtifactStore, lock: Path) -> None:
    """An entry that the lock file would not let in is named."""
    await store.ensure({AMD64})
    lock.write_text(lock.read_text().replace(sha256(archive()), "0" * 64))
    (found,) = await store.verify()
    assert found.problem is not None
    assert found.problem.code == "artifact_digest_mismatch"


LOCKS = [
    pytest.param("", id="empty"),
    pytest.param("[]", id="list"),
    pytest.param('{"schema": "ionetctl.lock/2", "artifacts": {}}', id="newer"),
    pytest.param('{"schema": "ionetctl.lock/1", "artifacts": {"a": "xyz"}}', id="no-digest"),
    pytest.param('{"schema": "ionetctl.lock/1", "artifacts": {}, "more": 1}', id="unknown-key"),
    pytest.param(" " * (1 << 21), id="large"),
]


@pytest.mark.parametrize("text", LOCKS)
async def test_lock_file_that_is_none(store: ArtifactStore, lock: Path, text: str) -> None:
    """A lock file that cannot be read lets nothing in."""
    lock.write_text(text)
    assert await code_of(store.ensure({AMD64})) == ("lock_invalid", 3)


@pytest.mark.parametrize("text", LOCKS)
async def test_lock_file_that_is_none_is_not_overwritten(store: ArtifactStore, lock: Path, text: str) -> None:
    """A lock file that cannot be read is left for its owner to mend."""
    lock.write_text(text)
    await code_of(store.ensure({AMD64}))
    assert lock.read_text() == text


async def test_lock_file_that_is_a_directory(store: ArtifactStore, lock: Path) -> None:
    """Whatever stands in its place, a lock file must be readable."""
    lock.mkdir()
    assert await code_of(store.ensure({AMD64})) == ("lock_invalid", 3)


async def test_lock_file_that_cannot_be_written(tmp_path: Path, site: Site) -> None:
    """A pin that cannot be kept is an error: the next run would believe anything."""
    store = ArtifactStore(tmp_path / "cache", str(site.root), tmp_path / "none" / "ionetctl.lock")
    assert await code_of(store.ensure({AMD64})) == ("lock_unwritable", 3)


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Writes beyond ``size_bytes`` fail (EFBIG), as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk(store: ArtifactStore, site: Site, tmp_path: Path) -> None:
    """A cache without room says so, keeps nothing half-done, and works when there is room."""
    noise = elf(content=os.urandom(300_000))
    site.put(AMD64, archive({NOMAD: noise}))
    with file_size_limit(150_000):
        assert await code_of(store.ensure({AMD64})) == ("cache_unwritable", 3)
    assert list((tmp_path / "cache/artifacts").iterdir()) == []
    assert (await store.ensure({AMD64}))[AMD64].digest == sha256(noise)


async def test_cache_that_cannot_be(tmp_path: Path, site: Site, lock: Path) -> None:
    """A cache directory that cannot be made is named."""
    (tmp_path / "cache").write_text("a file")
    assert await code_of(again(tmp_path, site.root, lock).ensure({AMD64})) == ("cache_unwritable", 3)


@pytest.mark.parametrize(
    ("key", "mirror"),
    [
        pytest.param(ArtifactKey(NOMAD, "9.9.9", "amd64"), "site", id="version"),
        pytest.param(ArtifactKey(DEVICE_PLUGIN, "1.1.0", "arm64"), "site", id="architecture"),
    ],
)
async def test_missing_release(tmp_path: Path, site: Site, lock: Path, key: ArtifactKey, mirror: str) -> None:
    """A release that the mirror does not have is named, with the command that fetches."""
    assert site.root == tmp_path / mirror
    with pytest.raises(ConfigurationError) as caught:
        await again(tmp_path, site.root, lock).ensure({key})
    assert (caught.value.code, "ionetctl artifacts fetch" in caught.value.hint) == ("artifact_missing", True)


async def test_missing_archive(store: ArtifactStore, site: Site) -> None:
    """A listed archive that is not there is missing."""
    (site.root / AMD64.zip_path).unlink()
    assert await code_of(store.ensure({AMD64})) == MISSING


@pytest.mark.parametrize(
    ("mirror", "code"),
    [
        ("/nonexistent", "mirror_invalid"),
        ("ftp://mirror.example", "mirror_invalid"),
        ("https://", "mirror_invalid"),
        ("https://mirror.example/?x=1", "mirror_invalid"),
        ("https://[::1", "mirror_invalid"),
        ("https://ada:s3cr3t@mirror.example/", "mirror_invalid"),
        ("http://mirror.example", "mirror_insecure"),
    ],
)
async def test_mirror_that_cannot_be_used(tmp_path: Path, lock: Path, mirror: str, code: str) -> None:
    """A mirror is a directory or a URL without a password; plain HTTP pins nothing."""
    with pytest.raises(ConfigurationError) as caught:
        await again(tmp_path, mirror, lock).ensure({AMD64})
    assert (caught.value.code, "s3cr3t" in caught.value.message) == (code, False)


async def test_fifo_in_a_mirror(store: ArtifactStore, site: Site) -> None:
    """What is no regular file is not waited for."""
    (site.root / AMD64.zip_path).unlink()
    os.mkfifo(site.root / AMD64.zip_path)
    assert await code_of(store.ensure({AMD64})) == ("artifact_unreachable", 3)


async def test_file_in_the_way_of_a_mirror(store: ArtifactStore, site: Site) -> None:
    """A mirror whose folder is a file cannot be read."""
    folder = (site.root / AMD64.zip_path).parent
    folder.rename(folder.with_name("away"))
    folder.write_text("")
    assert await code_of(store.ensure({AMD64})) == ("artifact_unreachable", 3)


async def test_oversized_sums(store: ArtifactStore, site: Site) -> None:
    """A list of checksums has a size that a list can have."""
    (site.root / AMD64.sums_path).write_bytes(b"x" * (1 << 19))
    assert await code_of(store.ensure({AMD64})) == ("artifact_too_large", 6)


# --- archives --------------------------------------------------------------------------------------------------------


def with_attributes(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        info = zipfile.ZipInfo(NOMAD)
        info.create_system = 3
        info.external_attr = mode << 16
        file.writestr(info, b"/etc/passwd")
    return buffer.getvalue()


def twice() -> bytes:
    """An archive with two members of one name: the second is renamed behind the library's back."""
    content = archive({NOMAD: b"one", "n0mad": b"two"}, zipfile.ZIP_STORED)
    return content.replace(b"n0mad", NOMAD.encode())


def patched(find: bytes, offset: int, replacement: bytes, content: bytes | None = None) -> bytes:
    """An archive with bytes replaced ``offset`` behind the last ``find``: lies in its directory."""
    text = bytearray(content or archive({NOMAD: EXECUTABLE}))
    at = text.rindex(find) + offset
    text[at : at + len(replacement)] = replacement
    return bytes(text)


DIRECTORY = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
REFUSED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"PK", id="stub"),
    pytest.param(archive({}) + archive({"LICENSE.txt": b"x"}), id="no-executable"),
    pytest.param(archive({NOMAD: EXECUTABLE, "../../etc/cron.d/x": b"x"}), id="traversal"),
    pytest.param(archive({"/usr/bin/nomad": b"x", NOMAD: b"y"}), id="absolute"),
    pytest.param(archive({"bin/nomad": b"x"}), id="in-a-folder"),
    pytest.param(archive({NOMAD: EXECUTABLE, "extra.sh": b"x"}), id="unexpected"),
    pytest.param(archive({NOMAD: b""}), id="no-bytes"),
    pytest.param(archive(compression=zipfile.ZIP_BZIP2), id="bzip2"),
    pytest.param(twice(), id="twice"),
    pytest.param(with_attributes(stat.S_IFLNK | 0o777), id="symlink"),
    pytest.param(with_attributes(stat.S_IFDIR | 0o777), id="directory"),
    pytest.param(patched(DIRECTORY, 8, b"\x01\x00"), id="encrypted"),
    pytest.param(patched(DIRECTORY, 24, (10).to_bytes(4, "little")), id="bomb-small-claim"),
    pytest.param(patched(DIRECTORY, 24, (1 << 31).to_bytes(4, "little")), id="huge-claim"),
    pytest.param(patched(DIRECTORY, 24, (len(EXECUTABLE) + 1).to_bytes(4, "little")), id="claims-more"),
    pytest.param(patched(DIRECTORY, 16, b"\x00\x00\x00\x00"), id="crc"),
    pytest.param(patched(DIRECTORY, 20, (1 << 30).to_bytes(4, "little")), id="ends-early"),
    pytest.param(patched(DIRECTORY, 20, (50).to_bytes(4, "little")), id="stream-cut"),
    pytest.param(patched(LOCAL, 0, b"XX"), id="no-local-header"),
    pytest.param(patched(DIRECTORY, 42, (1 << 30).to_bytes(4, "little")), id="points-nowhere"),
    pytest.param(patched(b"PK\x05\x06", 16, b"\xff\xff"), id="points-before-the-beginning"),
    pytest.param(patched(LOCAL, 40, b"\xff" * 20), id="bad-deflate"),
    pytest.param(patched(LOCAL, 0, b"XX", archive({NOMAD: b"x"}, zipfile.ZIP_STORED)), id="stored-no-header"),
]


@pytest.mark.parametrize("content", REFUSED)
async def test_archive_that_is_no_release(store: ArtifactStore, site: Site, content: bytes) -> None:
    """An archive is refused for anything that no release has, though every checksum fits."""
    site.put(AMD64, content)
    assert await code_of(store.ensure({AMD64})) == MALFORMED


@pytest.mark.parametrize("content", REFUSED)
async def test_archive_that_is_no_release_is_not_kept(
    store: ArtifactStore, site: Site, lock: Path, content: bytes
) -> None:
    """It is neither in the cache nor pinned."""
    site.put(AMD64, content)
    await code_of(store.ensure({AMD64}))
    assert (store.cached(), lock.exists()) == ((), False)


def test_zip_bomb_stops_at_its_claim(tmp_path: Path) -> None:
    """A stream that inflates without end is stopped at what the archive declares, not at what memory bears."""
    bomb = patched(DIRECTORY, 24, (1000).to_bytes(4, "little"), archive({NOMAD: bytes(64 << 20)}))
    (tmp_path / "bomb.zip").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(TrustError, match="more than it declares"):
            repack(tmp_path / "bomb.zip", NOMAD, tmp_path / "out.gz")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 1 << 20 < peak_bytes < 8 << 20


NOT_EXECUTABLE = ("artifact_not_executable", 6)
PROGRAMS_REFUSED = [
    pytest.param(bytes(5 << 20), "it begins with 00 00 00 00", id="zeros"),
    pytest.param(b"<!DOCTYPE html>", "it begins with 3c 21 44 4f", id="web-page"),
    pytest.param(b"#!/bin/sh\n", "it begins with 23 21 2f 62", id="script"),
    pytest.param(EXECUTABLE_ARM64, "for arm64, not for amd64", id="architecture"),
    pytest.param(elf(content=CODE, cut=100), "is cut off", id="cut-off"),
]


@pytest.mark.parametrize(("program", "reason"), PROGRAMS_REFUSED)
async def test_program_that_no_host_can_run(
    store: ArtifactStore, site: Site, lock: Path, program: bytes, reason: str
) -> None:
    """Though every checksum fits, it is refused by name before it is pinned, and not kept."""
    site.put(AMD64, archive({NOMAD: program}))
    with pytest.raises(TrustError, match=reason) as caught:
        await store.ensure({AMD64})
    assert ((caught.value.code, int(caught.value.exit_code)), AMD64.file_name in caught.value.message) == (
        NOT_EXECUTABLE,
        True,
    )
    assert (store.cached(), lock.exists()) == ((), False)


async def test_pin_does_not_make_a_program_executable(site: Site, tmp_path: Path, lock: Path) -> None:
    """What an inventory with builds of its own let into cache and lock file is looked at again."""
    site.put(AMD64, archive({NOMAD: b"#!/bin/sh\n"}))
    await ArtifactStore(tmp_path / "cache", str(site.root), lock, own_builds=True).ensure({AMD64})
    later = again(tmp_path, site.root, lock)
    assert await code_of(later.ensure({AMD64})) == NOT_EXECUTABLE
    assert [check.problem and check.problem.code for check in await later.verify()] == [NOT_EXECUTABLE[0]]


async def test_own_builds_may_be_scripts_but_not_zeros(site: Site, tmp_path: Path, lock: Path) -> None:
    """Whoever builds them, a program is something that a host can run."""
    site.put(AMD64, archive({NOMAD: bytes(100)}))
    store = ArtifactStore(tmp_path / "cache", str(site.root), lock, own_builds=True)
    assert await code_of(store.ensure({AMD64})) == NOT_EXECUTABLE


def test_a_gigabyte_of_zeros_is_not_inflated(tmp_path: Path) -> None:
    """A program that its first bytes refuse costs those alone."""
    (tmp_path / "a.zip").write_bytes(archive({NOMAD: bytes(300 << 20)}))
    with pytest.raises(TrustError, match="no ELF"):
        repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz", refusal=lambda _head, _size: "no ELF")
    assert (tmp_path / "out.gz").stat().st_size <= 2 << 20


def test_endless_directory_is_not_read(tmp_path: Path) -> None:
    """An archive with a hundred thousand members is refused by its last bytes, without memory for their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(20_000):
            file.writestr(f"{number}-{'x' * 100}", b"")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    del buffer
    tracemalloc.start()
    try:
        with pytest.raises(TrustError, match="more members"):
            repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(archive()[:-22] + b"PK\x06\x07" + bytes(16) + archive()[-22:], id="zip64"),
        pytest.param(archive() + b"more", id="something-behind"),
        pytest.param(archive({f"{n}": b"" for n in range(9)}), id="nine-members"),
    ],
)
def test_archive_whose_end_is_no_release_s(tmp_path: Path, content: bytes) -> None:
    """What the library would take for more than a release's directory is refused before it is read."""
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(TrustError, match=r"more members|does not end") as caught:
        repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz")
    assert caught.value.code == "artifact_malformed"


def test_executable_beyond_the_cap(tmp_path: Path) -> None:
    """An executable larger than any is refused before it is inflated."""
    (tmp_path / "a.zip").write_bytes(archive())
    with pytest.raises(TrustError, match=f"claims {len(EXECUTABLE)} bytes"):
        repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz", limit_bytes=1000)


@pytest.mark.parametrize("content", [b"x", EXECUTABLE, bytes(3 << 20), os.urandom(1 << 20)], ids=len)
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_repacked_content_is_the_same(tmp_path: Path, content: bytes, compression: int) -> None:
    """Whatever the archive holds, and however, the gzip file holds the same."""
    (tmp_path / "a.zip").write_bytes(archive({NOMAD: content}, compression))
    packed = repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz")
    text = (tmp_path / "out.gz").read_bytes()
    assert (
        packed.digest,
        packed.size_bytes,
        packed.packed_digest,
        packed.packed_bytes,
        gzip.decompress(text),
    ) == (
        sha256(content),
        len(content),
        sha256(text),
        len(text),
        content,
    )


def test_deflate_data_is_taken_over(tmp_path: Path) -> None:
    """Nothing is compressed twice: the gzip file's data are the archive's, byte for byte."""
    whole = archive({NOMAD: EXECUTABLE})
    (tmp_path / "a.zip").write_bytes(whole)
    repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz")
    data = (tmp_path / "out.gz").read_bytes()[10:-8]
    assert (data in whole, zlib.decompress(data, -zlib.MAX_WBITS)) == (True, EXECUTABLE)


def test_gzip_program_agrees(tmp_path: Path) -> None:
    """The gzip that hosts have takes the file for a good one."""
    (tmp_path / "a.zip").write_bytes(archive())
    repack(tmp_path / "a.zip", NOMAD, tmp_path / "out.gz")
    done = subprocess.run(["gzip", "-dc", tmp_path / "out.gz"], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (EXECUTABLE, b"")


@pytest.mark.parametrize("form", Form)
def test_what_is_inside_a_broken_file(tmp_path: Path, form: Form) -> None:
    """A packed file that cannot be unpacked is refused."""
    (tmp_path / "x").write_bytes(b"no such thing at all")
    with pytest.raises(TrustError) as caught:
        digest_inside(tmp_path / "x", form)
    assert caught.value.code == "artifact_malformed"


@settings(max_examples=150)
@given(
    at=st.integers(0, len(archive({NOMAD: b"small content" * 9})) - 1),
    replacement=st.binary(min_size=1, max_size=6),
)
def test_any_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, at: int, replacement: bytes
) -> None:
    """Bytes changed anywhere in an archive lead to a refusal, or change nothing that is unpacked."""
    folder = tmp_path_factory.mktemp("damage")
    content = bytearray(archive({NOMAD: b"small content" * 9}))
    content[at : at + len(replacement)] = replacement
    (folder / "a.zip").write_bytes(content)
    try:
        packed = repack(folder / "a.zip", NOMAD, folder / "out.gz")
    except TrustError:
        return
    assert (packed.digest, gzip.decompress((folder / "out.gz").read_bytes())) == (
        sha256(b"small content" * 9),
        b"small content" * 9,
    )


# --- web mirrors -----------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A web server on loopback that serves a site, after the answers that a test puts first."""

    site: Site
    scheme: str = "http"
    port: int = 0
    first: list[Answer] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/mirror"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        if self.first:
            return await self.first.pop(0)(request)
        place = self.site.root / request.path.removeprefix("/mirror/")
        return web.FileResponse(place) if place.is_file() else web.Response(status=404)


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await listener.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Tls:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for 127.0.0.1 under nobody but itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(pem + secret)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert.pem")
    return Tls(server, ssl.create_default_context(cadata=pem.decode()))


def store_of(
    tmp_path: Path, server: Server, lock: Path, tls: Tls | None = None, clock: ManualClock | None = None
) -> ArtifactStore:
    return ArtifactStore(
        tmp_path / "web-cache",
        server.url,
        lock,
        tls=None if tls is None else tls.client,
        sleep=(clock or ManualClock()).sleep,
    )


@pytest.fixture
async def https(site: Site, tls: Tls) -> AsyncIterator[Server]:
    async with serving(Server(site, "https"), tls.server) as server:
        yield server


@pytest.fixture
def web_store(tmp_path: Path, https: Server, lock: Path, tls: Tls) -> ArtifactStore:
    return store_of(tmp_path, https, lock, tls)


async def status_503(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


async def status_429(_: web.Request) -> web.StreamResponse:
    return web.Response(status=429)


async def status_403(_: web.Request) -> web.StreamResponse:
    return web.Response(status=403)


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Half of a body, then nothing."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 500)
    assert request.transport is not None
    request.transport.close()
    return response


async def unsized(request: web.Request) -> web.StreamResponse:
    """A body of unknown length."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(f"{sha256(archive())}  {AMD64.file_name}\n".encode())
    await response.write_eof()
    return response


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>log in to the guest network</html>")


async def compressed_twice(_: web.Request) -> web.StreamResponse:
    """3.5 kB that stand for gigabytes, as a hostile mirror may send them."""
    body = gzip.compress(gzip.compress(bytes(1 << 20)))
    return web.Response(body=body, headers={"Content-Encoding": "gzip, gzip"})


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(bytes(1 << 16))
    return response


async def test_https_mirror(https: Server, tmp_path: Path, lock: Path, tls: Tls) -> None:
    """A mirror is asked for what the vendor's site would be asked for."""
    await store_of(tmp_path, https, lock, tls).ensure({AMD64})
    assert https.paths == [f"/mirror/{AMD64.sums_path}", f"/mirror/{AMD64.zip_path}"]


async def test_program_of_an_https_mirror_is_pinned(
    https: Server, tmp_path: Path, lock: Path, tls: Tls
) -> None:
    """Its executable comes back, and the lock file names it."""
    programs = await store_of(tmp_path, https, lock, tls).ensure({AMD64})
    assert (programs[AMD64].digest, list(pins(lock))) == (sha256(EXECUTABLE), [AMD64.file_name])


async def test_web_progress(https: Server, tmp_path: Path, lock: Path, tls: Tls) -> None:
    """A download's progress ends at its size."""
    heard: list[Progress] = []
    await store_of(tmp_path, https, lock, tls).ensure({AMD64}, heard.append)
    assert heard[-1] == Progress(AMD64, len(archive()), len(archive()))


async def test_http_mirror_serves_what_is_pinned(
    store: ArtifactStore, site: Site, tmp_path: Path, lock: Path
) -> None:
    """With a pin to hold it against, plain HTTP will do."""
    await store.ensure({AMD64})
    async with serving(Server(site)) as server:
        programs = await store_of(tmp_path, server, lock).ensure({AMD64})
    assert programs[AMD64].digest == sha256(EXECUTABLE)


async def test_foreign_certificate(https: Server, tmp_path: Path, lock: Path) -> None:
    """A mirror under a CA that nobody trusts is refused, before it is asked for anything."""
    code = await code_of(store_of(tmp_path, https, lock, clock=ManualClock()).ensure({AMD64}))
    assert (code, https.paths) == (("mirror_untrusted", 6), [])


async def test_foreign_certificate_is_not_tried_again(https: Server, tmp_path: Path, lock: Path) -> None:
    """Nothing is waited for."""
    clock = ManualClock()
    await code_of(store_of(tmp_path, https, lock, clock=clock).ensure({AMD64}))
    assert clock.slept == []


async def test_redirect_to_plain_http(
    https: Server, site: Site, tmp_path: Path, lock: Path, tls: Tls
) -> None:
    """Where https was asked for, plain HTTP is not taken instead."""
    async with serving(Server(site)) as plain:

        async def elsewhere(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(f"{plain.url}/{AMD64.sums_path}")

        https.first = [elsewhere]
        code = await code_of(store_of(tmp_path, https, lock, tls).ensure({AMD64}))
    assert code == ("mirror_untrusted", 6)


async def test_redirect_within_https(https: Server, tmp_path: Path, lock: Path, tls: Tls) -> None:
    """Mirrors may keep their files elsewhere."""

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"{https.url}/{AMD64.sums_path}")

    https.first = [elsewhere]
    programs = await store_of(tmp_path, https, lock, tls).ensure({AMD64})
    assert programs[AMD64].digest == sha256(EXECUTABLE)


@pytest.mark.parametrize("failing", [status_503, status_429, hang_up])
async def test_passing_trouble_is_retried(
    https: Server,
    tmp_path: Path,
    lock: Path,
    tls: Tls,
    failing: Answer,
) -> None:
    """What may pass is tried again, after a while."""
    clock = ManualClock()
    https.first = [failing] * (ATTEMPTS - 1)
    programs = await store_of(tmp_path, https, lock, tls, clock).ensure({AMD64})
    assert (programs[AMD64].digest, len(clock.slept)) == (sha256(EXECUTABLE), ATTEMPTS - 1)


@pytest.mark.parametrize(
    ("answers", "code", "asked"),
    [
        pytest.param([status_503] * ATTEMPTS, ("artifact_unreachable", 3), ATTEMPTS, id="lasting"),
        pytest.param([status_403], ("artifact_unreachable", 3), 1, id="forbidden"),
        pytest.param([html], ("artifact_sums_malformed", 6), 1, id="captive-portal"),
        pytest.param([endless], ("artifact_too_large", 6), 1, id="endless"),
        pytest.param([compressed_twice], ("mirror_untrusted", 6), 1, id="compressed"),
        pytest.param([unsized, html], MISMATCH, 2, id="other-archive"),
    ],
)
async def test_lasting_trouble(
    https: Server, web_store: ArtifactStore, answers: list[Answer], code: tuple[str, int], asked: int
) -> None:
    """What does not pass ends after bounded tries, with its name."""
    https.first = answers
    found = await code_of(web_store.ensure({AMD64}))
    assert (found, len(https.paths)) == (code, asked)


async def test_missing_on_the_web(https: Server, tmp_path: Path, lock: Path, tls: Tls) -> None:
    """A 404 is not tried again."""
    key = ArtifactKey(NOMAD, "9.9.9", "amd64")
    assert (await code_of(store_of(tmp_path, https, lock, tls).ensure({key})), len(https.paths)) == (
        MISSING,
        1,
    )


async def test_nobody_there(site: Site, tmp_path: Path, lock: Path) -> None:
    """A mirror that does not answer is told of by its address."""
    async with serving(Server(site, "https")) as gone:
        store = store_of(tmp_path, gone, lock)
    with pytest.raises(ConfigurationError, match=re.escape(gone.url)) as caught:
        await store.ensure({AMD64})
    assert caught.value.code == "artifact_unreachable"


# --- several at once -------------------------------------------------------------------------------------------------


async def test_two_stores_at_once(tmp_path: Path, site: Site, lock: Path) -> None:
    """Two fetches of the same release at the same time both succeed and leave one entry."""
    stores = [again(tmp_path, site.root, lock) for _ in range(4)]
    found = await asyncio.gather(*(store.ensure({AMD64, PLUGIN}) for store in stores))
    assert ([found[0]] * 4, len(stores[0].cached())) == (list(found), 2)


FETCH = """
import asyncio, sys
from pathlib import Path
from ionetctl.artifacts import ArtifactKey, ArtifactStore
store = ArtifactStore(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
needs = {ArtifactKey("nomad", "2.0.5", "amd64"), ArtifactKey("nomad", "2.0.5", "arm64")}
print(sorted(p.digest for p in asyncio.run(store.ensure(needs)).values()))
"""


def test_two_processes_at_once(tmp_path: Path, site: Site, lock: Path) -> None:
    """Processes share a cache and a lock file without a word between them."""
    argv = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), str(site.root), str(lock)]
    running = [
        subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in running]
    expected = str(sorted([sha256(EXECUTABLE), sha256(EXECUTABLE_ARM64)])) + "\n"
    assert (outputs, sorted(pins(lock))) == ([(expected, "")] * 3, [AMD64.file_name, ARM64.file_name])


async def test_what_a_killed_fetch_left(store: ArtifactStore, tmp_path: Path) -> None:
    """Leftovers of the day before are cleared away, those of a process that may be at work are not."""
    root = tmp_path / "cache/artifacts"
    for name, age_s in ((".partial-old", 100_000), (".partial-new", 10)):
        (root / name).mkdir(parents=True)
        then = datetime.now(UTC).timestamp() - age_s
        os.utime(root / name, (then, then))
    await store.ensure({AMD64})
    assert sorted(path.name for path in root.iterdir()) == [".partial-new", AMD64.stem]


# --- the forms that hosts are sent -------------------------------------------------------------------------------------

BETTER = pytest.mark.parametrize("form", [Form.ZSTD, Form.XZ])


def unpacked_by(program: str, content: bytes) -> tuple[bytes, bytes]:
    done = subprocess.run([program, "-dc"], input=content, check=True, capture_output=True)
    return done.stdout, done.stderr


def own_children() -> list[int]:
    own = os.getpid()
    return [int(child) for child in Path(f"/proc/{own}/task/{own}/children").read_text().split()]


async def packed_in(store: ArtifactStore, form: Form) -> Program:
    return await store.pack((await store.ensure({AMD64}))[AMD64], form)


@pytest.mark.parametrize("form", Form)
async def test_host_s_own_program_unpacks_it(store: ArtifactStore, form: Form) -> None:
    """Each form is unpacked by the program of its name, and is what its record says."""
    needs(form)
    program = await packed_in(store, form)
    content = Path(program.packed_path).read_bytes()
    found = (program.form, program.digest, program.packed_bytes, program.packed_digest)
    assert found == (form, sha256(EXECUTABLE), len(content), sha256(content))
    assert unpacked_by(form, content) == (EXECUTABLE, b"")


@BETTER
def test_the_window_is_small(tmp_path: Path, form: Form) -> None:
    """A host needs little memory: the file's header says 8 MiB, or 1 MiB."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(9 << 20), compresslevel=0))
    compress(tmp_path / "x.gz", tmp_path / "x", form, lambda _: None)
    content = (tmp_path / "x").read_bytes()
    if form is Form.ZSTD:
        assert zstandard.get_frame_parameters(content).window_size == 8 << 20
    else:
        # A block header, LZMA2 alone, dictionary of 1 MiB.
        assert content[12:24].hex().startswith("0200210110")


@BETTER
async def test_a_form_is_private_and_whole(store: ArtifactStore, tmp_path: Path, form: Form) -> None:
    """It has a directory of its own in the entry, and nothing half-done lies about."""
    program = await packed_in(store, form)
    root = tmp_path / "cache/artifacts"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (root / AMD64.stem).glob("*/*/**/*")}
    place = Path(program.packed_path).parent
    assert (modes, stat.S_IMODE(place.stat().st_mode)) == (
        {Path(program.packed_path).name: 0o600, "release.json": 0o600},
        0o700,
    )
    assert [path.name for path in root.iterdir()] == [AMD64.stem]


@BETTER
async def test_a_form_is_made_once(store: ArtifactStore, tmp_path: Path, lock: Path, form: Form) -> None:
    """However many hosts ask for it at a time, and in every later run, it is there already."""
    heard: list[Progress] = []
    program = (await store.ensure({AMD64}))[AMD64]
    assert (store.is_packed(program, Form.GZIP), store.is_packed(program, form)) == (True, False)
    found = await asyncio.gather(*(store.pack(program, form, heard.append) for _ in range(20)))
    assert (found, heard) == (
        [found[0]] * 20,
        [Progress(AMD64, len(EXECUTABLE), len(EXECUTABLE), form)],
    )
    later = again(tmp_path, None, lock)
    program = (await later.ensure({AMD64}))[AMD64]
    assert (store.is_packed(program, form), later.is_packed(program, form)) == (True, True)
    assert (await later.pack(program, form, heard.append), len(heard)) == (found[0], 1)


async def test_two_stores_make_a_form_at_once(
    store: ArtifactStore, tmp_path: Path, site: Site, lock: Path
) -> None:
    """Whoever is first, all have the same."""
    program = (await store.ensure({AMD64}))[AMD64]
    stores = [again(tmp_path, site.root, lock) for _ in range(4)]
    found = await asyncio.gather(*(each.pack(program, Form.ZSTD) for each in stores))
    assert found == [await store.pack(program, Form.ZSTD)] * 4


async def test_all_forms_can_be_made_ahead(store: ArtifactStore) -> None:
    """After that no rollout has to wait for one."""
    await store.pack_all({AMD64, PLUGIN})
    programs = (await store.ensure({AMD64, PLUGIN})).values()
    assert {store.is_packed(program, form) for program in programs for form in Form} == {True}


@pytest.mark.parametrize("damage", [spoil_packed, cut_packed, remove_packed, spoil_record])
@BETTER
async def test_a_damaged_form(
    store: ArtifactStore, tmp_path: Path, lock: Path, form: Form, damage: Callable[[Path], None]
) -> None:
    """It is found by the full check, and before a host is sent it; hosts are sent the release's own form then."""
    file = Path((await packed_in(store, form)).packed_path)
    renamed = file.with_name("program.gz")
    file.rename(renamed)
    damage(file.parent)
    if renamed.exists():
        renamed.rename(file)
    later = again(tmp_path, None, lock)
    (check,) = await later.verify()
    assert check.problem is not None
    assert check.problem.code == "artifact_digest_mismatch"
    assert await code_of(packed_in(later, form)) == MISMATCH
    assert (await packed_in(later, form)).form is Form.GZIP


@BETTER
async def test_full_check_unpacks_every_form(
    store: ArtifactStore, tmp_path: Path, lock: Path, form: Form
) -> None:
    """A form of another program, with a record that agrees with it, is found."""
    place = Path((await packed_in(store, form)).packed_path).parent
    other = (await store.ensure({ARM64}))[ARM64]
    shutil.rmtree(place)
    Path((await store.pack(other, form)).packed_path).parent.rename(place)
    checks = await again(tmp_path, None, lock).verify()
    codes = {check.artifact.key: check.problem and check.problem.code for check in checks}
    assert codes == {AMD64: "artifact_digest_mismatch", ARM64: None}


async def test_a_forged_executable_is_not_compressed(store: ArtifactStore, tmp_path: Path) -> None:
    """What is compressed must be what was verified."""
    program = (await store.ensure({AMD64}))[AMD64]
    Path(program.packed_path).write_bytes(gzip.compress(b"evil"))
    assert await code_of(store.pack(program, Form.ZSTD)) == MISMATCH
    assert [path.name for path in (tmp_path / "cache/artifacts").iterdir()] == [AMD64.stem]


async def test_no_room_for_a_form(store: ArtifactStore, site: Site, tmp_path: Path) -> None:
    """It is an error once; hosts are sent the release's own form from then on, and nothing half-done stays."""
    site.put(AMD64, archive({NOMAD: elf(content=os.urandom(300_000))}))
    program = (await store.ensure({AMD64}))[AMD64]
    with file_size_limit(150_000):
        assert await code_of(store.pack(program, Form.ZSTD)) == ("cache_unwritable", 3)
    assert await store.pack(program, Form.ZSTD) == program
    assert [path.name for path in (tmp_path / "cache/artifacts").iterdir()] == [AMD64.stem]


async def test_a_form_that_was_given_up_can_be_made(store: ArtifactStore, site: Site) -> None:
    """Who stops waiting ends the work, and the next one begins anew."""
    site.put(AMD64, archive({NOMAD: elf(content=os.urandom(64) * (1 << 18))}))
    program = (await store.ensure({AMD64}))[AMD64]
    has_begun = asyncio.Event()
    heard: list[Progress] = []

    def note(progress: Progress) -> None:
        heard.append(progress)
        has_begun.set()

    task = asyncio.create_task(store.pack(program, Form.ZSTD, note))
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.pack(program, Form.ZSTD)).form is Form.ZSTD
    assert heard[-1].done_bytes < program.size_bytes


async def test_a_compression_that_is_killed(store: ArtifactStore, site: Site, tmp_path: Path) -> None:
    """It is an error of its own, and nothing half-done stays."""
    site.put(AMD64, archive({NOMAD: elf("amd64", os.urandom(64) * (1 << 18))}))
    program = (await store.ensure({AMD64}))[AMD64]

    def kill(_: Progress) -> None:
        for process in own_children():
            os.kill(process, signal.SIGKILL)

    assert await code_of(store.pack(program, Form.ZSTD, kill)) == ("compression_failed", 3)
    assert [path.name for path in (tmp_path / "cache/artifacts").iterdir()] == [AMD64.stem]


async def test_a_compression_ends_with_the_call(store: ArtifactStore) -> None:
    """The memory that it took is free again."""
    during: list[list[int]] = []
    await packed_in(store, Form.ZSTD)
    program = (await store.ensure({ARM64}))[ARM64]
    await store.pack(program, Form.XZ, lambda _: during.append(own_children()))
    assert (len(during[0]), own_children()) == (1, [])


def test_a_compression_that_nobody_waits_for(tmp_path: Path) -> None:
    """It ends, and removes what it has made: whoever asked for it was killed."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(os.urandom(64) * (1 << 18)))
    argv = [*COMMAND, str(tmp_path / "x.gz"), str(tmp_path / "x.zst"), Form.ZSTD]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.stdout.close()
        assert (first, process.wait()) == (b"1048576\n", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["x.gz"]


async def test_a_compression_gets_no_secret(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process has nothing of the environment that workers do not have; one that is simply started has all of it."""
    monkeypatch.setenv("REGION_TOKEN", "canary-7f3a")
    found: list[bytes] = []

    def look(_: object) -> None:
        found.extend(Path(f"/proc/{child}/environ").read_bytes() for child in own_children())

    program = (await store.ensure({AMD64}))[AMD64]
    await store.pack(program, Form.ZSTD, look)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    look(None)
    await process.communicate(b"\n")
    assert [b"canary-7f3a" in environ for environ in (found[0], found[-1])] == [False, True]
    assert b"PATH=" in found[0]


def test_a_compression_warns_of_nothing(tmp_path: Path) -> None:
    """It is no module that its package imports: of such a one Python warns, and with warnings as errors it does not run."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"x"))
    runs = [
        subprocess.run(
            [*command, str(tmp_path / "x.gz"), str(tmp_path / "x.zst"), Form.ZSTD],
            env={"PYTHONWARNINGS": "error"},
            capture_output=True,
            check=False,
        )
        for command in (COMMAND, (*COMMAND[:-1], "ionetctl.artifacts.archive"))
    ]
    assert [(run.returncode, b"RuntimeWarning" in run.stderr) for run in runs] == [(0, False), (1, True)]
    assert runs[0].stderr == b""
    assert digest_inside(tmp_path / "x.zst", Form.ZSTD) == (sha256(b"x"), 1)


async def test_a_compression_leaves_the_terminal_alone(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What Python itself may say, as with ``-v``, is not for the user."""
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    await packed_in(store, Form.XZ)
    await (await asyncio.create_subprocess_exec(sys.executable, "-c", "")).wait()
    assert "compression_program" not in (said := capfd.readouterr().err)
    assert "import " in said
