"""The apply, really run under every shell: what it installs, what it refuses, and what it leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.names import Digest
from ionetctl.facts.report_lines import (
    STEPS,
    AwaitVerdict,
    Done,
    Failed,
    LogLine,
    NodeReported,
    Report,
    Step,
)
from ionetctl.plan.payload import Payload
from ionetctl.remote import apply_script
from tests.remote.rehearsal import (
    NODE_ID,
    NOMAD,
    ROLLOUT,
    TOKEN,
    Host,
    arrived,
    config,
    file,
    first_payload,
    link,
    manifest,
    owned_by_tests,
    packed,
    program,
    shim,
    tls_files,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.plan import BundleFile

CASES = Path(__file__).parents[1] / "data" / "cases"
ROOM = ("var", "var/lib", "var/lib/ionet")
"""Our own directory, which stays once it was made, with the ones above it."""
IMPATIENT = {"IONET_START_DEADLINE_S": "4"}
"""On hosts where something hangs: the test waits for so long."""


def only_config(stamp: str, **settings: object) -> Payload:
    """A new client configuration for a host that has all else."""
    payload = Payload(
        rollout=ROLLOUT,
        apply_script=apply_script(),
        files=(config(stamp),),
        keeps=(host_paths.CA_CERT, host_paths.NODE_CERT, host_paths.NODE_KEY, host_paths.UNIT),
        start="restart",
        validate_with=NOMAD,
    )
    return replace(payload, **settings)  # type: ignore[arg-type]


@pytest.fixture
def enrolled(host: Host, tmp_path: Path) -> Host:
    assert host.apply(first_payload(tmp_path)).exit_status == 0
    return host


def test_a_bare_host_gets_everything(host: Host, tmp_path: Path) -> None:
    """After an apply every file lies in its place with its content, mode and nothing else beside it."""
    payload = first_payload(tmp_path)
    dialogue = host.apply(payload)
    assert (dialogue.exit_status, dialogue.reports[-1], dialogue.stderr) == (0, Done(), "")
    found = {place: seen[:2] for place, seen in host.tree().items() if seen[0] != "directory"}
    expected: dict[str, tuple[object, ...]] = {
        each.path.lstrip("/"): ("file", each.mode) for each in (*payload.files, *payload.programs)
    }
    expected[host_paths.NOMAD_LINK.lstrip("/")] = ("link", str(host.path(NOMAD)))
    expected[host_paths.CLIENT_ID.lstrip("/")] = ("file", 0o600)
    assert found == expected


def test_the_parts_come_in_their_order(host: Host, tmp_path: Path) -> None:
    """Every part of the protocol is announced once, in its order; no certificate is asked for that came along."""
    steps = tuple(step for step in STEPS if step != "certificate")
    assert host.apply(first_payload(tmp_path)).steps == steps


def test_the_agent_is_given_its_token(host: Host, tmp_path: Path) -> None:
    """The agent finds the introduction token at its start, and it is gone when the node is confirmed."""
    dialogue = host.apply(first_payload(tmp_path))
    assert NodeReported(NODE_ID) in dialogue.reports  # type: ignore[arg-type]
    assert host.read("/standin/presented") == f"{TOKEN}\n"
    assert not host.path(host_paths.INTRODUCTION_TOKEN).exists()


def test_the_token_is_private(host: Host, tmp_path: Path) -> None:
    """While it lies there, the token is readable by its owner only, in a directory of the same kind."""
    modes: list[int] = []

    def look(report: Report, _process: object) -> None:
        if isinstance(report, AwaitVerdict):
            path = host.path(host_paths.INTRODUCTION_TOKEN)
            modes.extend(stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent))

    host.apply(first_payload(tmp_path), on_report=look)
    assert modes == [0o600, 0o700]


def test_no_program_is_handed_the_token(one_host: Host, tmp_path: Path) -> None:
    """Neither argument lists nor environments of any child hold the token."""
    record = tmp_path / "children"
    for name in ("cat", "mv", "sync", "rm", "head", "cp", "chmod", "timeout", "systemctl", "mkdir"):
        real = one_host.shims / name
        target = real.resolve() if real.exists() else f"/usr/bin/{name}"
        shim(one_host, name, f'echo "$0 $*" >>"{record}"; env >>"{record}"; exec {target} "$@"')
    dialogue = one_host.apply(first_payload(tmp_path))
    assert dialogue.exit_status == 0
    assert one_host.read("/standin/presented") == f"{TOKEN}\n"
    assert "intro_token.jwt" in record.read_text()
    assert TOKEN not in record.read_text()


def test_the_same_again_changes_nothing(enrolled: Host, tmp_path: Path) -> None:
    """A second apply of the same payload leaves the same tree."""
    before = enrolled.tree()
    assert enrolled.apply(first_payload(tmp_path)).exit_status == 0
    assert enrolled.tree() == before


def test_an_active_agent_is_left_alone(enrolled: Host, tmp_path: Path) -> None:
    """``start`` restarts nothing that is active."""
    starts = enrolled.read("/standin/starts")
    enrolled.apply(first_payload(tmp_path))
    assert enrolled.read("/standin/starts") == starts


def test_what_is_kept_is_part_of_the_candidate(enrolled: Host) -> None:
    """A new configuration is judged together with the TLS files that stay as they are."""
    dialogue = enrolled.apply(only_config("two"))
    assert dialogue.failure is None
    assert "0123456789abcdef-two" in enrolled.read("/standin/started-with")


def test_nothing_to_start_touches_no_service(enrolled: Host) -> None:
    """Without a start the service manager is not asked to change anything."""
    enrolled.write("/standin/verbs", "")
    howto = file(host_paths.HOWTO, "# stop and start\n")
    dialogue = enrolled.apply(only_config("one", files=(howto,), start="no", validate_with=None))
    assert dialogue.failure is None
    assert {line.split()[0] for line in enrolled.read("/standin/verbs").splitlines()} == {"show"}


def test_rights_are_set(enrolled: Host) -> None:
    """A file that is right but for its mode gets its mode."""
    enrolled.path(host_paths.NODE_KEY).chmod(0o644)
    key = tls_files()[2]
    assert enrolled.apply(only_config("one", files=(), chmods=(key,), start="no")).failure is None
    assert stat.S_IMODE(enrolled.path(host_paths.NODE_KEY).stat().st_mode) == 0o600


def test_strays_are_moved_aside(host: Host, tmp_path: Path) -> None:
    """A foreign configuration file is kept, out of the agent's way."""
    host.write("/etc/nomad.d/zz-foreign.hcl", "server { enabled = true }\n")
    payload = replace(
        first_payload(tmp_path), asides=("/etc/nomad.d/zz-foreign.hcl", "/etc/nomad.d/gone.hcl")
    )
    assert host.apply(payload).failure is None
    assert not host.path("/etc/nomad.d/zz-foreign.hcl").exists()
    kept = list(host.path("/var/lib/ionet/replaced").rglob("*.hcl"))
    assert [path.read_text() for path in kept] == ["server { enabled = true }\n"]
    assert kept[0].parts[-3:] == ("etc", "nomad.d", "zz-foreign.hcl")


def test_a_door_that_is_closed_leaves_nothing_that_acts(enrolled: Host, tmp_path: Path) -> None:
    """With its path unit, which is stopped, its drop and answers go; the serial stays, so that no old word counts if it comes back."""
    unit = "/etc/systemd/system/ionet-maintenance.path"
    enrolled.write(unit, "[Path]\n")
    kept = "/var/lib/ionet/maintenance/serial"
    for path in ("/var/lib/ionet/drop/1.word", "/var/lib/ionet/answers/log"):
        enrolled.write(path, "17\n")
    enrolled.write(kept, "17\t1700000000\n")
    record, real = tmp_path / "called", (enrolled.shims / "systemctl").resolve()
    shim(enrolled, "systemctl", f'echo "$*" >>"{record}"; exec {real} "$@"')
    other = only_config("one", files=(), asides=("/etc/systemd/system/other.path",))
    assert enrolled.apply(other).failure is None
    assert enrolled.path("/var/lib/ionet/drop/1.word").exists()
    assert enrolled.apply(only_config("two", asides=(unit,), start="restart")).failure is None
    left = [enrolled.path(f"/var/lib/ionet/{name}").exists() for name in ("drop", "answers")]
    assert (left, enrolled.path(kept).read_text()) == ([False, False], "17\t1700000000\n")
    assert [line for line in record.read_text().splitlines() if "maintenance" in line] == [
        "stop ionet-maintenance.path"
    ]


def test_a_change_that_is_put_back_keeps_its_door(enrolled: Host) -> None:
    """Nothing of it has gone before the change was kept."""
    unit = "/etc/systemd/system/ionet-maintenance.path"
    enrolled.write(unit, "[Path]\n")
    enrolled.write("/var/lib/ionet/drop/1.word", "17\n")
    enrolled.write("/standin/behaviour", "fail")
    assert enrolled.apply(only_config("two", asides=(unit,), start="restart")).failure is not None
    assert enrolled.path(unit).exists()
    assert enrolled.path("/var/lib/ionet/drop/1.word").exists()


def test_a_link_to_a_directory_is_replaced(host: Host, tmp_path: Path) -> None:
    """A foreign link in our link's place is replaced even where it leads to a directory."""
    host.path("/usr/local/bin").mkdir(parents=True)
    host.path(host_paths.NOMAD_LINK).symlink_to(tmp_path)
    assert host.apply(first_payload(tmp_path)).failure is None
    assert host.path(host_paths.NOMAD_LINK).readlink() == host.path(NOMAD)


# --- refused before anything is changed ---


def elf(machine: int) -> bytes:
    """The beginning of a 64-bit executable for a machine (ELF's e_machine)."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(100)


def broken(tmp_path: Path, what: str) -> Payload:
    """A payload with one thing wrong in it."""
    payload = first_payload(tmp_path)
    hcl, ca, *others = payload.files
    match what:
        case "digest":
            files = (hcl, replace(ca, digest=others[0].digest), *others)
        case "configuration":
            files = (file(host_paths.CLIENT_CONFIG, "BROKEN\n", 0o640), ca, *others)
        case "warning":
            files = (hcl, *others)
        case _:
            return replace(payload, programs=(broken_program(tmp_path, what, payload.programs[0]),))
    return replace(payload, files=files)


def broken_program(tmp_path: Path, what: str, nomad: BundleFile) -> BundleFile:
    assert nomad.program is not None
    match what:
        case "program digest":
            return replace(nomad, program=replace(nomad.program, digest=Digest("0" * 64)))
        case "torn program":
            path = Path(nomad.program.packed_path)
            return replace(nomad, program=replace(nomad.program, **packed(path, path.read_bytes()[:-20])))
        case "version":
            return program(tmp_path, version="2.0.6")
        case "machine":
            return program(tmp_path, elf(0xB7 if os.uname().machine == "x86_64" else 0x3E))
        case "no program":
            return program(tmp_path, b"hello\n")
    return program(tmp_path, b"#!/bin/sh\necho no libc >&2; exit 3\n")


@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("digest", "payload_corrupt", "ca.pem.ionet-new: FAILED"),
        ("program digest", "payload_corrupt", "nomad.ionet-new: FAILED"),
        ("torn program", "payload_corrupt", "unexpected end of file"),
        ("version", "wrong_version", "says that it is Nomad v2.0.5, not 2.0.6"),
        ("machine", "wrong_architecture", "is not made for"),
        ("no program", "wrong_architecture", "is not made for"),
        ("crashing program", "no_exec", "no libc"),
        ("configuration", "config_invalid", "unknown key BROKEN"),
        ("warning", "config_invalid", "WARNING: cannot read"),
    ],
)
def test_a_bad_payload_is_refused(host: Host, tmp_path: Path, what: str, code: str, text: str) -> None:
    """What is broken is refused under its code, and the host is left as it was."""
    before = host.tree(besides=ROOM)
    dialogue = host.apply(broken(tmp_path, what))
    assert (dialogue.exit_status, dialogue.failure and dialogue.failure.code) == (1, code)
    assert dialogue.failure is not None
    assert text in dialogue.failure.message
    assert host.tree(besides=ROOM) == before
    assert "token" not in dialogue.steps


def test_a_program_that_does_not_answer_is_not_unfit(host: Host, tmp_path: Path) -> None:
    """A host too busy to run a program in time is named as that, not as one that cannot run it."""
    before = host.tree(besides=ROOM)
    payload = first_payload(tmp_path)
    slow = program(tmp_path, b"#!/bin/sh\nexec sleep 60\n")
    host.environment |= IMPATIENT
    dialogue = host.apply(replace(payload, programs=(slow,)))
    assert dialogue.failure is not None
    assert dialogue.failure.code == "apply_failed"
    assert "version did not end within 4 s; is the host overloaded?" in dialogue.failure.message
    assert host.tree(besides=ROOM) == before


def test_a_torn_archive_is_refused(host: Host, tmp_path: Path) -> None:
    """An archive that ends too early is refused and leaves nothing behind."""
    payload = first_payload(tmp_path)
    size = payload.size_bytes({})
    garbage = [b"%d\n" % size, b"\x01" * size]
    dialogue = host.apply(payload, blocks=garbage)
    assert (dialogue.exit_status, dialogue.failure and dialogue.failure.code) == (1, "payload_corrupt")
    assert [path.name for path in host.path("/var/lib/ionet").iterdir()] == ["fence"]


@pytest.mark.parametrize("answer", [None, "abandon", "token", "token two words", "token $(id)"])
def test_no_token_means_no_change(host: Host, tmp_path: Path, answer: str | None) -> None:
    """Whatever is no token, the end of input included, leaves the host as it was, but for the program that has arrived."""
    payload = first_payload(tmp_path)
    dialogue = host.apply(payload, token=answer)
    assert (dialogue.exit_status, dialogue.failure and dialogue.failure.code) == (1, "abandoned")
    assert set(host.tree()) == {*ROOM, *arrived(payload)}


def test_silence_has_an_end(host: Host, tmp_path: Path) -> None:
    """A controller that says nothing for too long is taken for gone."""
    host.environment["IONET_ANSWER_DEADLINE_S"] = "1"
    dialogue = host.apply(first_payload(tmp_path), token="")
    assert dialogue.failure is not None
    assert dialogue.failure.code == "abandoned"


# --- the start and what follows ---


def test_the_clock_decides_that_a_start_hangs(enrolled: Host) -> None:
    """Uutils' timeout has another exit status than GNU's for a program that it ended."""
    timeout = (CASES / "uutils-timeout/timeout").read_text()
    shim(enrolled, "timeout", timeout.partition("\n")[2])
    enrolled.write("/standin/behaviour", "hang")
    enrolled.environment |= IMPATIENT
    failure = enrolled.apply(only_config("two")).failure
    assert failure == Failed("start_timeout", "systemctl restart nomad.service did not end within 4 s")


@pytest.mark.parametrize(
    ("behaviour", "code", "text"),
    [
        ("fail", "start_failed", "Job for nomad.service failed."),
        ("crash", "start_failed", "nomad.service is activating after its start"),
        ("hang", "start_timeout", "did not end within 4 s"),
    ],
)
def test_a_failed_start_is_undone(enrolled: Host, behaviour: str, code: str, text: str) -> None:
    """When the new agent does not come up, every file is as it was, the old agent runs, and its log was shown."""
    before = enrolled.tree()
    enrolled.write("/standin/behaviour", behaviour)
    enrolled.environment |= IMPATIENT
    enrolled.write("/standin/journal", "".join(f"line {number}\twith tab\n" for number in range(50)))
    dialogue = enrolled.apply(only_config("two", needs_token=True))
    assert (dialogue.exit_status, dialogue.failure and dialogue.failure.code) == (1, code)
    assert dialogue.failure is not None
    assert text in dialogue.failure.message
    assert enrolled.tree() == before
    assert enrolled.read("/standin/active") == "active\n"
    assert "0123456789abcdef-one" in enrolled.read("/standin/started-with")
    logs = [report.text for report in dialogue.reports if isinstance(report, LogLine)]
    assert logs == [f"line {number} with tab" for number in range(10, 50)]


@pytest.mark.parametrize("is_numbered", [True, False])
def test_the_log_is_of_this_start(enrolled: Host, is_numbered: bool) -> None:  # noqa: FBT001  (a parameter)
    """What the unit logged in its past explains nothing; only an old systemd, which numbers no starts, shows it too."""
    if not is_numbered:
        real = (enrolled.shims / "systemctl").resolve()
        shim(
            enrolled, "systemctl", f'if [ "$1" = show ]; then echo InvocationID=; exit; fi; exec {real} "$@"'
        )
    enrolled.write("/standin/behaviour", "fail")
    enrolled.write("/standin/past", "last week's error\n")
    enrolled.write("/standin/journal", "today's error\n")
    dialogue = enrolled.apply(only_config("two"))
    logs = [report.text for report in dialogue.reports if isinstance(report, LogLine)]
    assert logs == ([] if is_numbered else ["last week's error"]) + ["today's error"]


def test_a_timeout_of_another_maker_is_a_timeout(enrolled: Host) -> None:
    """That of uutils ends with 125 where GNU's ends with 124: the time that passed decides."""
    before = enrolled.tree()
    enrolled.write("/standin/behaviour", "hang")
    enrolled.environment |= IMPATIENT
    shim(enrolled, "timeout", (CASES / "uutils-timeout" / "timeout").read_text())
    dialogue = enrolled.apply(only_config("two"))
    assert dialogue.failure == Failed(
        "start_timeout", "systemctl restart nomad.service did not end within 4 s"
    )
    assert enrolled.tree() == before


def test_a_start_that_was_killed_is_no_timeout(enrolled: Host) -> None:
    """Systemd's program ending with 137 at once took no time."""
    real = (enrolled.shims / "systemctl").resolve()
    shim(
        enrolled, "systemctl", f'if [ "$1" = restart ]; then echo killed >&2; exit 137; fi; exec {real} "$@"'
    )
    dialogue = enrolled.apply(only_config("two"))
    assert dialogue.failure == Failed("start_failed", "systemctl restart nomad.service: killed")


def test_a_candidate_that_cannot_be_written_ends_it(enrolled: Host) -> None:
    """A configuration that was cut off is not judged in the place of the whole one."""
    before = enrolled.tree()
    said = "sed: couldn't flush stdout: No space left on device"
    script = (
        f'case "$*" in *candidate-tls*) echo "{said}" >&2; exit 4 ;; esac; exec {shutil.which("sed")} "$@"'
    )
    shim(enrolled, "sed", script)
    dialogue = enrolled.apply(only_config("two"))
    assert dialogue.failure == Failed("disk_full", said)
    assert enrolled.tree() == before


def test_a_failed_first_start_leaves_a_bare_host(host: Host, tmp_path: Path) -> None:
    """Undoing a first enrolment removes what it installed, and its service with it."""
    host.write("/standin/behaviour", "fail")
    payload = first_payload(tmp_path)
    dialogue = host.apply(payload)
    assert dialogue.failure == Failed(
        "start_failed", "systemctl start nomad.service: Job for nomad.service failed."
    )
    assert set(host.tree()) == {*ROOM, *arrived(payload)}
    assert (host.read("/standin/active"), host.read("/standin/enabled")) == ("inactive\n", "disabled\n")


def configuration(host: Host) -> dict[str, tuple[object, ...]]:
    return {place: seen for place, seen in host.tree().items() if place.startswith("etc/")}


def test_strays_come_back(host: Host, tmp_path: Path) -> None:
    """Undoing puts back what was moved aside."""
    host.write("/etc/nomad.d/zz-foreign.hcl", "server { enabled = true }\n", 0o640)
    host.write("/standin/active", "active\n")
    host.write("/standin/behaviour", "fail")
    host.write("/etc/nomad.d/nomad.hcl", "foreign\n")
    before = configuration(host)
    host.apply(replace(first_payload(tmp_path, start="restart"), asides=("/etc/nomad.d/zz-foreign.hcl",)))
    assert configuration(host) == before
    assert host.read("/standin/started-with") == "foreign\n"


def test_an_agent_without_an_id_is_undone(host: Host, tmp_path: Path) -> None:
    """An agent that makes up no node id within its time is not left running."""
    shim(host, "sleep", "exit 0")
    host.write("/standin/behaviour", "mute")
    dialogue = host.apply(first_payload(tmp_path))
    assert dialogue.failure is not None
    assert dialogue.failure.code == "no_node_id"
    assert not host.path(host_paths.CLIENT_CONFIG).exists()


@pytest.mark.parametrize("verdicts", [(), ("abandon",), ("nonsense",)])
def test_an_abandoned_agent_goes_on(host: Host, tmp_path: Path, verdicts: tuple[str, ...]) -> None:
    """After the start the new version stays; token, staging and lock go."""
    dialogue = host.apply(first_payload(tmp_path), verdicts=verdicts)
    assert (dialogue.exit_status, dialogue.failure and dialogue.failure.code) == (1, "abandoned")
    assert host.read("/standin/active") == "active\n"
    assert host.path(host_paths.CLIENT_CONFIG).exists()
    assert not host.path(host_paths.INTRODUCTION_TOKEN).exists()
    assert {path.name for path in host.path("/var/lib/ionet").iterdir()} == {"fence", "manifest"}


def test_the_log_can_be_asked_for(host: Host, tmp_path: Path) -> None:
    """``journal`` shows the log's tail and asks again."""
    host.write("/standin/journal", "Permission denied\n")
    dialogue = host.apply(first_payload(tmp_path), verdicts=("journal", "confirmed"))
    end = dialogue.reports[-5:]
    assert end == (AwaitVerdict(), LogLine("Permission denied"), AwaitVerdict(), Step("finish"), Done())


def test_a_second_token_restarts_the_agent(host: Host, tmp_path: Path) -> None:
    """A token given as verdict is presented by a restarted agent, and the verdict is asked for again."""
    dialogue = host.apply(first_payload(tmp_path), verdicts=("token second.token.x", "confirmed"))
    assert dialogue.reports[-1] == Done()
    assert host.read("/standin/presented") == "second.token.x\n"
    assert host.read("/standin/starts").splitlines() == ["ok start", "ok restart"]


def test_an_old_token_is_removed(host: Host, tmp_path: Path) -> None:
    """``token -`` takes away a token that lies there: the agent would present it for ever."""
    host.write(host_paths.INTRODUCTION_TOKEN, "old\n", 0o600)
    assert host.apply(first_payload(tmp_path), token="token -").failure is None
    assert not host.path("/standin/presented").read_text()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE])
def test_signals_do_not_stop_the_changes(enrolled: Host, number: signal.Signals) -> None:
    """Between the backup and the start a signal is ignored."""

    def send(report: Report, process: subprocess.Popen[bytes]) -> None:
        if report == Step("install"):
            process.send_signal(number)

    dialogue = enrolled.apply(only_config("two"), on_report=send)
    assert dialogue.reports[-1] == Done()


def test_a_signal_before_the_changes_leaves_the_host(host: Host, tmp_path: Path) -> None:
    """Before the token a signal ends the apply, and nothing was changed."""

    def send(report: Report, process: subprocess.Popen[bytes]) -> None:
        if report == Step("validate"):
            process.send_signal(signal.SIGTERM)

    payload = first_payload(tmp_path)
    dialogue = host.apply(payload, on_report=send, token=None)
    assert dialogue.failure is not None
    assert dialogue.failure.code == "abandoned"
    assert set(host.tree()) == {*ROOM, *arrived(payload)}


def test_a_signal_amid_a_command_is_reported(host: Host, tmp_path: Path) -> None:
    """What a command prints is not part of the dialogue; what ends the apply while it runs is."""
    shim(host, "chown", f'kill -TERM "$PPID"; exec {shutil.which("chown")} "$@"')
    payload = first_payload(tmp_path)
    dialogue = host.apply(payload)
    message = "a signal ended it during verify; nothing was changed"
    assert dialogue.failure == Failed("abandoned", message)
    assert set(host.tree()) == {*ROOM, *arrived(payload)}


@pytest.fixture
def hearing() -> Iterator[None]:
    """This process handles what a job in the background ignores: no shell can undo what it was started to ignore."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("hearing")
def test_the_service_hears_signals(host: Host, tmp_path: Path) -> None:
    """What is started does not inherit that signals are ignored: an agent must be stoppable."""
    record = tmp_path / "signals"
    real = (host.shims / "systemctl").resolve()
    shim(host, "systemctl", f'grep ^SigIgn /proc/self/status >>"{record}"; exec {real} "$@"')
    assert host.apply(first_payload(tmp_path)).failure is None
    wanted = sum(
        1 << (number - 1) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)
    )
    ignored = [int(line.split()[1], 16) & wanted for line in record.read_text().splitlines()]
    # The verbs in their order: show, enable, start, is-active.
    assert ignored[1:3] == [0, 0]


def test_a_lost_listener_stops_nothing(enrolled: Host) -> None:
    """When the controller is gone, the changes are carried through all the same."""

    def leave(report: Report, process: subprocess.Popen[bytes]) -> None:
        if report == Step("backup"):
            assert process.stdout is not None
            os.dup2(os.open(os.devnull, os.O_RDONLY), process.stdout.fileno())

    dialogue = enrolled.apply(only_config("two"), on_report=leave)
    assert dialogue.exit_status != 0
    assert "0123456789abcdef-two" in enrolled.read(host_paths.CLIENT_CONFIG)
    assert {path.name for path in enrolled.path("/var/lib/ionet").iterdir()} == {"fence", "manifest"}


# --- disks ---


@pytest.fixture
def small_disk(host: Host) -> Iterator[Host]:
    """A host whose whole tree lies on a file system of 1 MiB."""
    if not owned_by_tests():
        pytest.skip("only root can mount a small file system")
    with _mounted(host, "size=1m"):
        yield host


class _mounted:  # noqa: N801  (reads as a function at its use)
    def __init__(self, host: Host, options: str) -> None:
        self._host, self._options = host, options

    def __enter__(self) -> None:
        kept = self._host.root.with_name("kept")
        self._host.root.rename(kept)
        self._host.root.mkdir()
        self._mount("-t", "tmpfs", "-o", self._options, "tmpfs")
        subprocess.run(("cp", "-a", f"{kept}/.", str(self._host.root)), check=True)

    def _mount(self, *options: str) -> None:
        done = subprocess.run(("mount", *options, str(self._host.root)), capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")

    def remount(self, options: str) -> None:
        self._mount("-o", f"remount,{options}")

    def __exit__(self, *_: object) -> None:
        # Lazily: busybox's timeout leaves a watcher behind for a second.
        subprocess.run(("umount", "-l", str(self._host.root)), check=True)


def _fill(host: Host, free_kib: int) -> None:
    ballast = host.path("/standin/ballast")
    ballast.unlink(missing_ok=True)
    usage = os.statvfs(host.root)
    ballast.write_bytes(bytes(max(0, usage.f_bavail * usage.f_frsize - free_kib * 1024)))


def test_a_full_disk_stops_no_old_version(small_disk: Host, tmp_path: Path) -> None:
    """However little room there is, the host ends as it was under ``disk_full``, or wholly new."""
    host = small_disk
    assert host.apply(first_payload(tmp_path)).failure is None
    codes = []
    for free_kib in range(0, 240, 16):
        before = host.tree()
        _fill(host, free_kib)
        dialogue = host.apply(first_payload(tmp_path, f"stamp-{free_kib}", start="restart"))
        if dialogue.failure is None:
            codes.append("done")
            continue
        codes.append(dialogue.failure.code)
        assert host.tree() == before
        assert host.read("/standin/active") == "active\n"
    assert set(codes) == {"disk_full", "done"}
    assert codes == sorted(codes, key=lambda code: code == "done")


def test_a_read_only_disk_is_named(host: Host, tmp_path: Path) -> None:
    """A host that cannot be written to says so at once."""
    if not owned_by_tests():
        pytest.skip("only root can mount a read-only file system")
    host.path("/var/lib").mkdir(parents=True)
    with (disk := _mounted(host, "size=1m")):
        disk.remount("ro")
        dialogue = host.apply(first_payload(tmp_path))
    assert [type(report) for report in dialogue.reports] == [Failed]
    assert dialogue.failure is not None
    assert dialogue.failure.code == "read_only"


def test_a_noexec_disk_is_named(host: Host, tmp_path: Path) -> None:
    """A program that may not be run where it lies is refused, and the host is left as it was."""
    if not owned_by_tests():
        pytest.skip("only root can mount without exec")
    with _mounted(host, "size=1m,noexec"):
        dialogue = host.apply(first_payload(tmp_path))
        assert not host.path("/opt").exists()
    assert dialogue.failure is not None
    assert (dialogue.failure.code, "Permission denied" in dialogue.failure.message) == ("no_exec", True)


def test_a_directory_in_the_way_is_an_error(enrolled: Host) -> None:
    """A directory where a file belongs ends the apply before anything is changed."""
    enrolled.path(host_paths.HOWTO).mkdir()
    before = enrolled.tree()
    dialogue = enrolled.apply(only_config("two", files=(config("two"), file(host_paths.HOWTO, "x"))))
    assert dialogue.failure is not None
    assert dialogue.failure.code == "apply_failed"
    assert enrolled.tree() == before


def test_the_manifest_names_what_was_installed(enrolled: Host, tmp_path: Path) -> None:
    """A survey reads back the manifest that a payload brought."""
    payload = first_payload(tmp_path)
    expected = {each.path: each.digest for each in (*payload.files[:-1], *payload.programs)}
    assert enrolled.survey().manifest == expected
    assert payload.files[-1] == manifest(*payload.files[:-1], *payload.programs)


def test_links_lead_below_the_root(enrolled: Host) -> None:
    """A link's target is reported as it was asked for, whatever folder stands for the root."""
    other = link("/usr/local/bin/other", "/opt/nomad/releases/other")
    assert enrolled.apply(only_config("one", files=(), links=(other,), start="no")).failure is None
    assert enrolled.survey(other.path).links == {other.path: other.target}
