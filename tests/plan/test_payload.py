"""The archive of an apply: its size is known beforehand, and every tar reads it."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.plan import BundleFile, Kind, Program
from ionetctl.plan.payload import Payload, steps_text
from ionetctl.plan.ustar import BLOCK_BYTES, RECORD_BYTES

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n"
SCRIPT = b"echo applied\n"
DIGEST = Digest("d" * 64)


def text(path: str, content: bytes, mode: int = 0o644) -> BundleFile:
    digest = Digest(hashlib.sha256(content).hexdigest())
    return BundleFile(path, Kind.FILE, mode, restarts=True, content=content, digest=digest)


def packed(directory: Path, size_bytes: int = 200_000) -> BundleFile:
    """A program whose packed form spans several blocks."""
    content = bytes(hashlib.shake_256(b"program").digest(size_bytes))
    path = directory / "nomad.gz"
    path.write_bytes(gzip.compress(content, mtime=0))
    program = Program("nomad", "2.0.5", "amd64", DIGEST, size_bytes, str(path), path.stat().st_size)
    return BundleFile("/opt/nomad", Kind.PROGRAM, 0o755, restarts=True, digest=DIGEST, program=program)


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    return Payload(
        rollout=RolloutId("r-1"),
        apply_script=SCRIPT,
        files=(text("/etc/nomad.d/nomad.hcl", b"client {}\n"), text("/etc/key.pem", SECRET, 0o600)),
        programs=(packed(tmp_path),),
        links=(BundleFile("/usr/bin/x", Kind.LINK, 0o777, restarts=True, target="/opt/nomad"),),
        chmods=(text("/etc/ca.pem", b"ca"),),
        asides=("/etc/nomad.d/zz foreign.hcl",),
        keeps=("/etc/kept.pem",),
        needs_token=True,
        start="restart",
        validate_with="/opt/nomad",
    )


def archive(payload: Payload) -> bytes:
    return b"".join(bytes(block) for block in payload.blocks())


def contents(payload: Payload) -> dict[str, bytes]:
    """What must come out again, by name."""
    programs = [file.program for file in payload.programs if file.program is not None]
    bodies = [file.content for file in payload.files]
    for program in programs:
        with open(program.packed_path, "rb") as file:  # noqa: PTH123  (as the payload does)
            bodies.append(file.read())
    members = {f"f/{number}": body for number, body in enumerate(bodies, 1)}
    return {"apply.sh": payload.apply_script, "steps": steps_text(payload), **members}


def test_the_steps_are_the_protocols(payload: Payload) -> None:
    """Every change is one record, numbered as its member."""
    hcl, key = payload.files
    program = payload.programs[0].program
    assert program is not None
    expected = [
        "rollout\tr-1",
        "token\tyes",
        "start\trestart",
        "validate\t/opt/nomad",
        f"file\t1\t{hcl.digest}\t0644\troot:root\t/etc/nomad.d/nomad.hcl",
        f"file\t2\t{key.digest}\t0600\troot:root\t/etc/key.pem",
        f"program\t3\t{DIGEST}\t200000\t0755\troot:root\t/opt/nomad\t2.0.5",
        "link\t/opt/nomad\t/usr/bin/x",
        "chmod\t0644\troot:root\t/etc/ca.pem",
        "aside\t/etc/nomad.d/zz foreign.hcl",
        "keep\t/etc/kept.pem",
    ]
    assert steps_text(payload).decode().splitlines() == expected


def test_a_small_payload_asks_for_nothing() -> None:
    """Without changes there are three records."""
    assert steps_text(Payload(RolloutId("r-1"), SCRIPT)) == b"rollout\tr-1\ntoken\tno\nstart\tno\n"


def test_the_size_is_known_beforehand(payload: Payload) -> None:
    """The archive is as long as was said, in whole records."""
    assert len(archive(payload)) == payload.size_bytes
    assert payload.size_bytes % RECORD_BYTES == 0


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_the_size_holds_for_any_content(bodies: list[bytes]) -> None:
    """Whatever the sizes, the archive is as long as was said, and Python reads it back."""
    files = tuple(text(f"/f/{number}", body) for number, body in enumerate(bodies))
    payload = Payload(RolloutId("r-1"), SCRIPT, files)
    data = archive(payload)
    assert (len(data), len(data) % RECORD_BYTES) == (payload.size_bytes, 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar}
        assert {name: file.read() for name, file in found.items() if file} == contents(payload)


def test_blocks_are_small(payload: Payload) -> None:
    """No block is larger than a session sends at once, and a program comes without a copy."""
    blocks = list(payload.blocks())
    assert max(map(len, blocks)) == BLOCK_BYTES
    assert {type(block) for block in blocks if len(block) == BLOCK_BYTES} == {memoryview}


def test_programs_are_shared(payload: Payload) -> None:
    """Two payloads read a program from the same map."""
    first, second = (
        next(block for block in each.blocks() if len(block) == BLOCK_BYTES) for each in (payload, payload)
    )
    assert isinstance(first, memoryview)
    assert isinstance(second, memoryview)
    assert first.obj is second.obj


@pytest.mark.parametrize("command", [("tar",), ("busybox", "tar")], ids=" ".join)
def test_every_tar_reads_it(payload: Payload, tmp_path: Path, command: tuple[str, ...]) -> None:
    """GNU's and busybox's tar unpack what was packed, private to its owner, and leave nothing in the pipe."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    target = tmp_path / "out"
    target.mkdir()
    run = subprocess.run(
        (*command, "-xf", "-"), input=archive(payload), cwd=target, capture_output=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, b"")
    found = {str(path.relative_to(target)): path for path in target.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == contents(payload)
    assert {path.stat().st_mode & 0o077 for path in found.values()} == {0}


def test_secrets_are_not_shown(payload: Payload) -> None:
    """A payload's representation holds no file's content; the archive does."""
    assert SECRET in archive(payload)
    assert "PRIVATE KEY" not in repr(payload)
    assert "r-1" in repr(payload)


@pytest.mark.parametrize("value", ["", "a\tb", "a\nb", "a\0b", "x" * 5000], ids=repr)
def test_a_value_that_breaks_its_record_is_refused(payload: Payload, value: str) -> None:
    """What cannot be said in a record is a mistake of ours, found before anything is sent."""
    with pytest.raises(ValueError, match="aside record"):
        steps_text(replace(payload, asides=(value,)))


def test_a_program_must_have_its_release(payload: Payload) -> None:
    """A file without a release is no program."""
    with pytest.raises(ValueError, match="is no program"):
        steps_text(replace(payload, programs=payload.files[:1]))


def test_a_missing_program_is_named(payload: Payload) -> None:
    """A program that is gone from the cache ends the payload with its path."""
    gone = replace(payload.programs[0].program, packed_path="/nowhere/nomad.gz")  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match=r"/nowhere/nomad\.gz") as caught:
        archive(replace(payload, programs=(replace(payload.programs[0], program=gone),)))
    assert caught.value.code == "artifact_missing"


def test_a_shrunken_program_is_refused(payload: Payload) -> None:
    """A program that is no longer as long as it was does not go to any host."""
    other = replace(payload.programs[0].program, packed_bytes=7)  # type: ignore[type-var]
    with pytest.raises(TrustError) as caught:
        archive(replace(payload, programs=(replace(payload.programs[0], program=other),)))
    assert caught.value.code == "artifact_digest_mismatch"
