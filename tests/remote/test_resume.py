"""Programs on their way to a host: every form is unpacked, and of an upload that broke off only the rest is sent again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Form, Program
from ionetctl.facts.report_lines import Done, Failed, Have
from tests.e2e.waiting import wait_until
from tests.remote.rehearsal import (
    NOMAD,
    STANDINS,
    Dialogue,
    Host,
    file,
    first_payload,
    packed,
    present,
    program,
    sent,
    shim,
)
from tests.support.programs import needs

if TYPE_CHECKING:
    from ionetctl.plan.payload import Payload

KEPT = host_paths.ARTIFACTS_DIR
STAGED_PARTS = "/var/lib/ionet/staging/p"
FORMS = pytest.mark.parametrize("form", Form)


def payload_of(directory: Path, form: Form = Form.GZIP) -> Payload:
    """All that a bare host needs, with a program of some hundred kilobytes."""
    script = (STANDINS / "nomad").read_bytes() + b"\nexit\n" + os.urandom(150_000).hex().encode()
    return replace(first_payload(directory), programs=(program(directory, script, form=form),))


def release(payload: Payload) -> Program:
    found = payload.programs[0].program
    assert found is not None
    return found


def content_of(payload: Payload) -> bytes:
    """The compressed program."""
    return Path(release(payload).packed_path).read_bytes()


def kept(host: Host, payload: Payload) -> bytes:
    """What lies on the host of the compressed program."""
    return host.path(f"{KEPT}/{release(payload).packed_digest}").read_bytes()


def keep(host: Host, payload: Payload, content: bytes, place: str = KEPT, suffix: str = "") -> None:
    host.write(f"{place}/{release(payload).packed_digest}{suffix}", content, 0o600)


def has(dialogue: Dialogue) -> list[int]:
    return [report.size_bytes for report in dialogue.reports if isinstance(report, Have)]


def cut_off(host: Host, payload: Payload, left_out: int) -> Dialogue:
    """An apply whose connection is lost when so many bytes are still to come."""
    process = host.open(payload)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        head = [process.stdout.readline()]
        while not head[-1].startswith(b"step"):
            head.append(process.stdout.readline())
        sizes = [line.decode().split("\t")[1:] for line in head if line.startswith(b"have")]
        lies_there = {Digest(digest): int(size) for digest, size in sizes}
        process.stdin.write(b"".join(sent(payload, lies_there))[:-left_out])
        process.stdout.close()
        process.stdin.close()
    return Dialogue((), process.returncode, "")


def installed(host: Host, payload: Payload) -> bool:
    """Whether the program is in its place, and nothing is left of its upload."""
    digests = {path: found.digest for path, found in host.survey(NOMAD).files.items()}
    return digests[NOMAD] == release(payload).digest and not host.path(KEPT).exists()


def with_program_of(host: Host, form: Form) -> None:
    """A host that has what unpacks that form; busybox knows no zstd, and a host that has both uses that."""
    path = needs(form)
    if form is Form.ZSTD and host.shell == "busybox":
        (host.shims / form).symlink_to(path)


@FORMS
def test_every_form_is_unpacked(host: Host, tmp_path: Path, form: Form) -> None:
    """Whatever its form, the program that is installed is the release's."""
    with_program_of(host, form)
    payload = payload_of(tmp_path, form)
    assert host.apply(payload).reports[-1] == Done()
    assert installed(host, payload)


@pytest.mark.parametrize("missing", [(), ("zstd",), ("zstd", "xz")], ids=str)
def test_the_survey_tells_the_best_form(one_host: Host, tmp_path: Path, missing: tuple[str, ...]) -> None:
    """It is the first whose program is there."""
    tools = tmp_path / "machine"
    tools.mkdir()
    for directory in ("/bin", "/usr/bin"):
        for path in Path(directory).iterdir():
            if path.name not in missing and not (tools / path.name).is_symlink():
                (tools / path.name).symlink_to(path)
    shell = str(Path(one_host.argv()[0]).parent)
    one_host.environment["PATH"] = f"{one_host.shims}:{shell}:{tools}"
    left = [form for form in Form if form not in missing and shutil.which(form, path=str(tools))]
    assert one_host.survey().best_form == left[0]


@FORMS
@pytest.mark.parametrize("damage", ["cut", "spoilt"])
def test_what_cannot_be_unpacked_is_refused(host: Host, tmp_path: Path, form: Form, damage: str) -> None:
    """A compressed file that was packed wrongly is refused by what unpacks it, or by the digest of what comes out."""
    with_program_of(host, form)
    payload = payload_of(tmp_path, form)
    path = Path(release(payload).packed_path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-50_000:]
    else:
        content[100_000] ^= 1
    nomad = replace(payload.programs[0], program=replace(release(payload), **packed(path, bytes(content))))
    dialogue = host.apply(replace(payload, programs=(nomad,)))
    assert (dialogue.exit_status, dialogue.failure and dialogue.failure.code) == (1, "payload_corrupt")
    assert [path.name for path in host.path("/var/lib/ionet").iterdir()] == ["fence"]


@FORMS
@pytest.mark.parametrize("left_out", [1, 20_000, 60_001, 120_000])
def test_only_the_rest_is_sent(host: Host, tmp_path: Path, form: Form, left_out: int) -> None:
    """What had arrived when the connection broke is a beginning of the program, and the next apply sends what follows."""
    with_program_of(host, form)
    payload = payload_of(tmp_path, form)
    assert cut_off(host, payload, left_out).exit_status != 0
    whole, part = content_of(payload), kept(host, payload)
    assert (part, len(part) > len(whole) - left_out - 30_000) == (whole[: len(part)], True)
    dialogue = host.apply(payload)
    assert (has(dialogue), dialogue.reports[-1]) == ([len(part)], Done())
    assert payload.size_bytes(present(dialogue.reports)) < payload.size_bytes({}) - len(part) + 10_240
    assert installed(host, payload)


def test_what_is_kept_is_private_and_no_secret(host: Host, tmp_path: Path) -> None:
    """Of all that arrived only the program stays, readable by its owner alone."""
    payload = payload_of(tmp_path)
    cut_off(host, payload, 50_000)
    room = f"{KEPT}/{release(payload).packed_digest}".removeprefix("/var/lib/ionet/")
    found = {
        str(path.relative_to(host.path("/var/lib/ionet"))): path
        for path in host.path("/var/lib/ionet").rglob("*")
    }
    modes = {name: path.stat().st_mode & 0o777 for name, path in found.items()}
    assert modes == {"artifacts": 0o700, room: 0o600, "fence": 0o600}


def test_a_rest_that_breaks_off_too_is_added(host: Host, tmp_path: Path) -> None:
    """Every attempt goes on where the one before ended."""
    payload = payload_of(tmp_path)
    sizes = []
    for left_out in (150_000, 100_000, 50_000):
        cut_off(host, payload, left_out)
        sizes.append(len(kept(host, payload)))
    assert sizes == sorted(set(sizes))
    assert kept(host, payload) == content_of(payload)[: sizes[-1]]
    assert host.apply(payload).reports[-1] == Done()
    assert installed(host, payload)


def test_nothing_is_sent_of_what_lies_there_whole(host: Host, tmp_path: Path) -> None:
    """Wherever it came from, it is checked and installed."""
    payload = payload_of(tmp_path)
    keep(host, payload, content_of(payload))
    dialogue = host.apply(payload)
    assert (has(dialogue), dialogue.reports[-1]) == ([len(content_of(payload))], Done())
    assert payload.size_bytes(present(dialogue.reports)) < 100_000
    assert installed(host, payload)


@pytest.mark.parametrize("step", ["abandoned", "start"])
def test_a_failed_apply_keeps_the_program(host: Host, tmp_path: Path, step: str) -> None:
    """What arrived is not sent again by the next apply."""
    payload = payload_of(tmp_path)
    if step == "start":
        host.write("/standin/behaviour", "fail")
    assert host.apply(payload, token=None if step == "abandoned" else "token -").failure is not None
    assert kept(host, payload) == content_of(payload)
    host.write("/standin/behaviour", "ok")
    assert has(host.apply(payload)) == [len(content_of(payload))]
    assert installed(host, payload)


@pytest.mark.parametrize("size", [7, 100_000, None], ids=["little", "half", "whole"])
def test_a_wrong_beginning_is_found_and_removed(host: Host, tmp_path: Path, size: int | None) -> None:
    """The digest finds it, whatever lies there, and the next apply is sent all."""
    payload = payload_of(tmp_path)
    keep(host, payload, bytes(size or len(content_of(payload))))
    dialogue = host.apply(payload)
    said = f"what was received of {NOMAD} has another digest"
    assert (len(has(dialogue)), dialogue.failure) == (1, Failed("payload_corrupt", said))
    assert not host.path(KEPT).exists()
    again = host.apply(payload)
    assert (has(again), again.reports[-1]) == ([], Done())


def test_too_much_is_replaced(host: Host, tmp_path: Path) -> None:
    """A file that is longer than the program is no beginning of it."""
    payload = payload_of(tmp_path)
    keep(host, payload, content_of(payload) + b"more")
    assert host.apply(payload).reports[-1] == Done()
    assert installed(host, payload)


def test_a_killed_upload_goes_on(host: Host, tmp_path: Path) -> None:
    """What a killed apply had received lies in its staging, and is found there."""
    payload = payload_of(tmp_path)
    whole = b"".join(sent(payload, {}))
    part = host.path(f"{STAGED_PARTS}/{release(payload).packed_digest}.0")
    with host.open(payload) as process:
        assert process.stdin is not None
        process.stdin.write(whole[:-50_000])
        process.stdin.flush()
        wait_until(lambda: part.exists() and part.stat().st_size > 100_000, "some of it is on disk")
        os.killpg(process.pid, signal.SIGKILL)
    dialogue = host.apply(payload)
    assert (len(has(dialogue)), dialogue.reports[-1]) == (1, Done())
    assert installed(host, payload)


@pytest.mark.parametrize(
    ("there", "begin", "end", "expected"),
    [
        pytest.param(1000, 1000, 3000, [3000], id="not-added-yet"),
        pytest.param(1500, 1000, 3000, [3000], id="added-in-part"),
        pytest.param(3000, 1000, 3000, [3000], id="added"),
        pytest.param(4000, 1000, 3000, [4000], id="more-came-since"),
        pytest.param(900, 1000, 3000, [900], id="a-gap"),
        pytest.param(0, 1000, 3000, [], id="swept"),
    ],
)
def test_a_part_is_added_once(  # noqa: PLR0917  (a row of the table)
    host: Host, tmp_path: Path, there: int, begin: int, end: int, expected: list[int]
) -> None:
    """A rest that was being added when the host went down is added from where that ended, or not at all."""
    payload = payload_of(tmp_path)
    whole = content_of(payload)
    if there:
        keep(host, payload, whole[:there])
    keep(host, payload, whole[begin:end], STAGED_PARTS, f".{begin}")
    dialogue = host.apply(payload)
    assert (has(dialogue), dialogue.reports[-1]) == (expected, Done())


def test_old_leftovers_are_swept(host: Host, tmp_path: Path) -> None:
    """What nobody came back for within a day is removed by the next apply, whatever that is for."""
    assert host.apply(first_payload(tmp_path)).failure is None
    for name, age_s in (("old", 90_000), ("young", 3600)):
        host.write(f"{KEPT}/{name}", "x", 0o600)
        then = time.time() - age_s
        os.utime(host.path(f"{KEPT}/{name}"), (then, then))
    payload = first_payload(tmp_path, "two")
    howto = file(host_paths.HOWTO, "# two\n")
    assert (
        host.apply(replace(payload, programs=(), files=(howto,), links=(), validate_with=None)).failure
        is None
    )
    assert [path.name for path in host.path(KEPT).iterdir()] == ["young"]


def test_a_full_disk_is_given_back_its_room(host: Host, tmp_path: Path) -> None:
    """Where an upload fills the disk, nothing of it stays, nor of an earlier one."""
    payload = payload_of(tmp_path)
    keep(host, payload, content_of(payload)[:1000])
    shim(
        host,
        "tar",
        "head -c 100000 >/dev/null; echo 'tar: f: Cannot write: No space left on device' >&2; exit 2",
    )
    dialogue = host.apply(payload)
    assert dialogue.failure is not None
    assert dialogue.failure.code == "disk_full"
    assert [path.name for path in host.path("/var/lib/ionet").iterdir()] == ["fence"]
