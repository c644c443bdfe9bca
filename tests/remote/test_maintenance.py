"""The maintenance door's host side, really run under every shell: which words it carries out, which it refuses, what a kill leaves."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.names import NodeId
from ionetctl.plan.bundle import sha256
from ionetctl.plan.payload import Payload
from ionetctl.plan.templates import static
from ionetctl.plan.word import Word, signed_word, word_text
from ionetctl.remote import apply_script, maintenance_script
from tests.remote.rehearsal import (
    NODE_ID,
    NOMAD,
    ROLLOUT,
    STANDINS,
    Host,
    config,
    file,
    first_payload,
    kill_after,
    link,
    manifest,
    program,
    shim,
    tls_files,
)
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.core.model.names import Digest
    from ionetctl.core.model.plan import BundleFile
    from tests.remote.rehearsal import Dialogue

SECRET_ID = "0c4b5e9e-2d51-4b0e-8a2e-5f6f0d7a9b11"
BEFORE = "0123456789abcdef-one"
LATER = int(time.time()) + 3600
SERIAL = 1_700_000_000_000_001
LAST = "/var/lib/ionet/maintenance/serial"
LOCK = "/var/lib/ionet/lock"
BOOT_ID = "b0071d00-0000-4000-8000-000000000001"
READY = """
    cat >"$IONET_ROOT/standin/asked"
    stamp=$(sed -n 's/.*unique.ionet_bundle" = "\\(.*\\)"/\\1/p' "$IONET_ROOT/standin/started-with")
    printf 'HTTP/1.0 200 OK\\r\\n\\r\\n{"ID":"7b0dcd2c-6b2f-4c3c-9f0a-3d1c7f1f2a11","Meta":{"unique.ionet_bundle":"%s"},%s,"Status":"ready"}' "$stamp" "$(cat "$IONET_ROOT/standin/region")"
"""
"""What stands for openssl: the region shows the configuration that the agent was started with."""
INELIGIBLE = '"SchedulingEligibility":"ineligible","DrainStrategy":null,"LastDrain":null'
DRAINED = '"SchedulingEligibility":"ineligible","DrainStrategy":null,"LastDrain":{"AccessorID":"","Meta":{},"Status":"complete"}'
DRAINING = (
    '"SchedulingEligibility":"ineligible","DrainStrategy":{"Deadline":1},"LastDrain":{"Status":"draining"}'
)
ELIGIBLE = '"SchedulingEligibility":"eligible","DrainStrategy":null,"LastDrain":{"Status":"complete"}'


@dataclass
class Door:
    """An enrolled host with a door, and the key that it heeds."""

    host: Host
    keys: Path

    def key(self, name: str) -> Path:
        """A private key; it is made where there is none of that name yet."""
        path = self.keys / name
        if not path.exists():
            made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
            subprocess.run(made, check=True)
        return path

    def trust(self, *names: str) -> None:
        """Have the host heed these keys and no others."""
        self.host.write(host_paths.ALLOWED_SIGNERS, self.signers(*names))

    def signers(self, *names: str) -> str:
        """The list of them as the host has it."""
        keys = [self.key(name).with_suffix(".pub").read_text().strip() for name in names]
        return "".join(f'operator namespaces="ionet-maintenance" {key}\n' for key in keys)

    def sign(self, text: bytes, name: str = "ada", namespace: str = "ionet-maintenance") -> bytes:
        argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(self.key(name)), "-n", namespace)
        return subprocess.run(argv, input=text, capture_output=True, check=True).stdout

    def word(self, payload: Payload | None = None, *, by: str = "ada", **fields: Any) -> bytes:
        given = {"node": NodeId(NODE_ID), "serial": SERIAL, "expires_at": LATER, "stamp": BEFORE, **fields}
        text = word_text(Word(**{"signers": self.heeded, **given}), payload or new_config())
        return signed_word(text, self.sign(text, by))

    @property
    def heeded(self) -> Digest:
        """The digest of the list of signers that the host has."""
        return sha256(self.host.path(host_paths.ALLOWED_SIGNERS).read_bytes())

    def enroll(self, *files: BundleFile, **settings: Any) -> Dialogue:
        """An enrolment that puts these files there, the list of signers unless others are named, and restarts nothing."""
        given = files or (file(host_paths.ALLOWED_SIGNERS, self.signers("ada")),)
        return self.host.apply(Payload(ROLLOUT, apply_script(), given), **settings)

    def drop(self, content: bytes, name: str = "region.word") -> None:
        self.host.write(f"{host_paths.DROP_DIR}/{name}", content)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        script = str(self.host.path(host_paths.MAINTENANCE_SCRIPT))
        return subprocess.Popen(
            self.host.argv(script, *(arguments or ("take",))),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.host.environ(),
            start_new_session=True,
        )

    def run(self, *arguments: str, ends: int = 0) -> str:
        """One run of the door; what it said."""
        process = self.start(*arguments)
        said = process.communicate(timeout=60)[0].decode()
        assert process.returncode == ends, said
        return said

    @property
    def answers(self) -> list[tuple[str, str, str]]:
        """Serial, outcome and code of all answers."""
        path = self.host.path(f"{host_paths.ANSWERS_DIR}/log")
        rows = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
        assert all(len(row) == 5 for row in rows)
        return [(row[1], row[2], row[3]) for row in rows]

    @property
    def stamp(self) -> str:
        """The stamp of the configuration that the agent runs with."""
        return self.host.read("/standin/started-with").split("0123456789abcdef-")[1].split('"')[0]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """A run and all that it has started, as systemd kills a unit; programs with a time limit are groups of their own."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        lock = self.host.path("/var/lib/ionet/maintenance/lock")
        subprocess.run(("flock", str(lock), "true"), check=True, timeout=60)

    def wait_for(self, path: Path) -> None:
        """Until a file is there."""
        for _ in range(600):
            if path.exists():
                return
            time.sleep(0.05)
        raise TimeoutError(path)


def new_config(stamp: str = "two", **settings: Any) -> Payload:
    """The same host with another stamp in its client configuration."""
    kept = (host_paths.CA_CERT, host_paths.NODE_CERT, host_paths.NODE_KEY, host_paths.UNIT)
    files = (config(stamp), manifest(config(stamp), *tls_files()))
    payload = Payload(ROLLOUT, apply_script(), files, keeps=kept, start="restart", validate_with=NOMAD)
    return replace(payload, **settings)


@pytest.fixture
def door(host: Host, tmp_path: Path) -> Door:
    """A host as a bootstrap leaves it, whose region shows whatever its agent was started with."""
    (host.shims / "ssh-keygen").symlink_to(needs("ssh-keygen"))
    assert host.apply(first_payload(tmp_path)).exit_status == 0
    host.write(f"{host_paths.STATE_DIR}/secret-id", SECRET_ID, 0o600)
    host.write("/standin/region", INELIGIBLE)
    host.write(host_paths.MAINTENANCE_SCRIPT, maintenance_script(), 0o700)
    shim(host, "openssl", READY)
    host.environment.update(IONET_POLL_S="1")
    keys = tmp_path / "keys"
    keys.mkdir()
    door = Door(host, keys)
    door.trust("ada")
    door.run("prepare")
    return door


@pytest.fixture
def one_door(one_host: Host, tmp_path: Path) -> Door:
    """The same under whatever shell is at hand."""
    make: Callable[[Host, Path], Door] = door.__wrapped__  # type: ignore[attr-defined]
    return make(one_host, tmp_path)


def refused(door: Door, serial: object, code: str) -> None:
    """The drop's words were refused with that code, and the host is as it was."""
    before = _others(door)
    said = door.run()
    assert door.answers == [(str(serial), "refused", code)], said
    assert (door.stamp, _others(door)) == ("one", before)
    assert _lying(door) == []


def _others(door: Door) -> dict[str, tuple[object, ...]]:
    """All of the host but where the door keeps its own things, and words lie before they are taken."""
    words = ["var/lib/ionet/drop/region.word"]
    ours = ("run/", *(f"var/lib/ionet/{place}/" for place in ("drop", "answers", "maintenance")))
    found = door.host.tree(besides=words)
    return {place: seen for place, seen in found.items() if not f"{place}/".startswith(ours)}


def _lying(door: Door) -> list[str]:
    """What lies in the drop."""
    return sorted(path.name for path in door.host.path(host_paths.DROP_DIR).iterdir())


# --- a word that is carried out ---


def test_a_word_is_carried_out(door: Door) -> None:
    """Signed, for this node, in time: it is applied by the apply's own script, the region confirms, and it is answered."""
    door.drop(door.word())
    said = door.run()
    assert door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")], said
    assert (door.stamp, _lying(door)) == ("two", [])
    assert "step\tfinish" in said


def test_nothing_else_is_left(door: Door) -> None:
    """Staging, backup, lock and the copy of the word are gone; the drop is for others to write to, the answers to read."""
    door.drop(door.word())
    door.run()
    left = {path.name for path in door.host.path(host_paths.OUR_DIR).iterdir()}
    assert left == {"manifest", "fence", "maintenance", "maintenance.sh", "drop", "answers"}
    assert not door.host.path("/run/ionet-maintenance").exists()
    modes = [
        door.host.path(place).stat().st_mode & 0o7777
        for place in (host_paths.DROP_DIR, host_paths.ANSWERS_DIR)
    ]
    assert modes == [0o733, 0o755]
    assert door.host.path(f"{host_paths.ANSWERS_DIR}/log").stat().st_mode & 0o777 == 0o644


def test_the_nodes_secret_is_in_no_command_line(door: Door) -> None:
    """The region is asked with the node's own secret, which goes through a pipe."""
    shim(door.host, "openssl", f'echo "$*" >>"$IONET_ROOT/standin/argv"{READY}')
    door.drop(door.word(when="ineligible"))
    door.run()
    assert f"X-Nomad-Token: {SECRET_ID}" in door.host.read("/standin/asked")
    assert SECRET_ID not in door.host.read("/standin/argv")


# --- programs, which are too large for a word ---


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """The URL of a folder that a web server offers, ``tmp_path / "mirror"``."""
    (tmp_path / "mirror").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def upgrade(tmp_path: Path) -> Payload:
    """Another Nomad beside the one that is there, with a new stamp."""
    new = program(tmp_path, path=host_paths.nomad_program("2.0.6"))
    return new_config(
        programs=(new,), links=(link(host_paths.NOMAD_LINK, host_paths.nomad_program("2.0.6")),)
    )


def test_programs_come_from_where_the_word_says(one_door: Door, tmp_path: Path, mirror: str) -> None:
    """Fetched by digest, installed by the apply, which leaves nothing of what came."""
    payload = upgrade(tmp_path)
    (packed,) = payload.packed_digests
    shutil.copy(tmp_path / "nomad.gzip", tmp_path / "mirror" / packed)
    one_door.drop(one_door.word(payload, source=mirror))
    said = one_door.run()
    assert one_door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")], said
    assert one_door.host.path(host_paths.NOMAD_LINK).readlink() == one_door.host.path(
        host_paths.nomad_program("2.0.6")
    )
    assert not one_door.host.path(host_paths.ARTIFACTS_DIR).exists()


@pytest.mark.parametrize("content", [b"another program", None], ids=["another", "missing"])
def test_programs_that_are_not_what_was_signed_are_refused(
    one_door: Door, tmp_path: Path, mirror: str, content: bytes | None
) -> None:
    """The mirror may offer what it likes."""
    payload = upgrade(tmp_path)
    if content:
        (tmp_path / "mirror" / payload.packed_digests[0]).write_bytes(content)
    one_door.drop(one_door.word(payload, source=mirror))
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "refused", "programs_not_fetched")]
    assert one_door.stamp == "one"
    assert list(one_door.host.path(host_paths.ARTIFACTS_DIR).iterdir()) == []


@pytest.mark.parametrize(
    ("meanwhile", "answer"),
    [
        (lambda door: door.trust("grace"), ("refused", "word_unsigned")),
        (lambda door: door.enroll(file(host_paths.DOCKER_CONFIG, "# another\n")), ("failed", "changed")),
        (lambda door: door.host.write("/standin/region", ELIGIBLE), ("refused", "node_not_ready")),
    ],
    ids=["revoked", "enrolled", "enabled"],
)
def test_what_happens_while_programs_are_fetched_counts(
    one_door: Door, tmp_path: Path, mirror: str, meanwhile: Callable[[Door], object], answer: tuple[str, str]
) -> None:
    """A fetch may take minutes: signers, enrolments and the region are heeded as they are after it."""
    payload = upgrade(tmp_path)
    (packed,) = payload.packed_digests
    shutil.copy(tmp_path / "nomad.gzip", tmp_path / "mirror" / packed)
    waits = f'touch "{tmp_path}/waits"; while [ ! -e "{tmp_path}/go" ]; do sleep 0.1; done'
    shim(one_door.host, "curl", f'{waits}; exec {needs("curl")} "$@"')
    one_door.drop(one_door.word(payload, source=mirror, when="ineligible"))
    process = one_door.start()
    one_door.wait_for(tmp_path / "waits")
    meanwhile(one_door)
    (tmp_path / "go").touch()
    said = process.communicate(timeout=60)[0].decode()
    assert one_door.answers == [(str(SERIAL), *answer)], said
    assert one_door.stamp == "one"


# --- who may sign ---


def test_a_word_of_an_unknown_key_is_refused(door: Door) -> None:
    """A signature by a key that the host does not heed is none; nothing of the word is believed, its serial neither."""
    door.drop(door.word(by="mallory"))
    refused(door, "-", "word_unsigned")


def test_any_of_several_signers_may_sign(one_door: Door) -> None:
    """Each signer's word counts."""
    one_door.trust("ada", "grace")
    one_door.drop(one_door.word(by="grace"))
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")]


def test_a_revoked_signer_is_an_unknown_one(one_door: Door) -> None:
    """Who was taken off the list signs in vain, from the next word on."""
    one_door.trust("ada", "grace")
    one_door.trust("grace")
    one_door.drop(one_door.word(by="ada"))
    refused(one_door, "-", "word_unsigned")


def test_a_signer_is_revoked_by_a_word_of_another(one_door: Door) -> None:
    """A change of one file, without a restart; then the revoked one signs in vain, and the other still in force."""
    one_door.trust("ada", "grace")
    old = one_door.host.read(host_paths.ALLOWED_SIGNERS)
    left = "".join(old.splitlines(keepends=True)[1:])
    revocation = Payload(ROLLOUT, apply_script(), (file(host_paths.ALLOWED_SIGNERS, left),))
    starts = one_door.host.read("/standin/starts")
    one_door.drop(one_door.word(revocation, by="grace"))
    one_door.run()
    one_door.drop(one_door.word(by="ada", serial=SERIAL + 1))
    one_door.run()
    one_door.drop(one_door.word(by="grace", serial=SERIAL + 2))
    one_door.run()
    assert [answer[0::2] for answer in one_door.answers] == [
        (str(SERIAL), BEFORE),
        ("-", "word_unsigned"),
        (str(SERIAL + 2), "0123456789abcdef-two"),
    ]
    assert one_door.host.read("/standin/starts").startswith(starts)


def test_a_signature_for_another_purpose_is_none(door: Door) -> None:
    """What the same key has signed for Git or a file is no word."""
    text = word_text(Word(NodeId(NODE_ID), SERIAL, LATER, BEFORE, door.heeded), new_config())
    door.drop(text + door.sign(text, namespace="git"))
    refused(door, "-", "word_unsigned")


@pytest.mark.parametrize(
    "change",
    [
        lambda word: word.replace(b"\nwhen any\n", b"\nwhen any \n"),
        lambda word: word.replace(NODE_ID.encode(), b"8" + NODE_ID.encode()[1:]),
        lambda word: word[: len(word) // 2],
        lambda word: word.partition(b"-----BEGIN")[0],
        lambda word: b"-----BEGIN" + word.partition(b"-----BEGIN")[2],
        lambda word: b"-----BEGIN SSH SIGNATURE-----\n" + word,
        lambda word: word.replace(b"\n\n", b"\nwhen any\n\n", 1),
        lambda _: b"",
        lambda _: b"\0" * 1000,
    ],
    ids=[
        "header",
        "node",
        "torn",
        "unsigned",
        "signature-alone",
        "armour-first",
        "added-line",
        "empty",
        "zeros",
    ],
)
def test_a_forged_or_torn_word_is_refused(one_door: Door, change: Callable[[bytes], bytes]) -> None:
    """One byte that was not signed, and all of it counts for nothing."""
    one_door.drop(change(one_door.word()))
    refused(one_door, "-", "word_unsigned")


# --- what was signed, and must not be carried out ---


def test_an_old_word_never_comes_again(door: Door) -> None:
    """After a later serial an older one is refused, by a run that begins anew and reads the serial from the disk."""
    door.drop(door.word(serial=SERIAL + 5))
    door.run()
    door.drop(door.word(serial=SERIAL, stamp="0123456789abcdef-two"))
    door.run()
    assert door.answers[1:] == [(str(SERIAL), "refused", "word_old")]
    assert door.stamp == "two"


def test_the_same_word_again_changes_nothing_and_keeps_its_answer(door: Door) -> None:
    """A door's task that starts anew brings its word again: it has been answered."""
    door.drop(door.word())
    door.run()
    starts = door.host.read("/standin/starts")
    door.drop(door.word())
    said = door.run()
    assert "has been answered" in said
    assert (len(door.answers), door.host.read("/standin/starts")) == (1, starts)


@pytest.mark.parametrize(
    "kept",
    ["\n", "17\n", "17\tx\n", "17\t1700000000", "9999999999999999\t1700000000\n"],
    ids=["empty", "no-time", "no-number", "torn", "never-taken"],
)
def test_a_serial_that_cannot_be_read_closes_the_door_until_an_enrolment(one_door: Door, kept: str) -> None:
    """Where nobody knows which words have come none is carried out; an enrolment sees a file missing, and opens the door again."""
    one_door.host.write(LAST, kept)
    one_door.drop(one_door.word())
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "refused", "word_old")]
    assert not one_door.host.path(host_paths.ALLOWED_SIGNERS).exists()
    one_door.enroll()
    one_door.drop(one_door.word())
    one_door.run()
    one_door.drop(one_door.word(serial=LATER * 1_000_000))
    one_door.run()
    assert one_door.answers[1:] == [
        (str(SERIAL), "refused", "word_old"),
        (str(LATER * 1_000_000), "applied", "0123456789abcdef-two"),
    ]


@pytest.mark.parametrize("ahead_s", [2 * 3600, 365 * 86400], ids=["hours", "a-year"])
def test_an_enrolment_mends_what_a_wrong_clock_has_left(one_door: Door, ahead_s: int) -> None:
    """A word that counted while clocks were ahead closes the door for as long; any other serial stays as it is."""
    one_door.drop(one_door.word())
    one_door.run()
    before = one_door.host.read(LAST)
    one_door.enroll()
    assert (before.split("\t")[0], one_door.host.read(LAST)) == (str(SERIAL), before)
    ahead = LATER + ahead_s
    one_door.host.write(LAST, f"{ahead * 1_000_000}\t{ahead}\n")
    one_door.enroll()
    assert int(one_door.host.read(LAST).split("\t")[0]) < LATER * 1_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": LATER + 8 * 86400},
        {"serial": (LATER + 1) * 1_000_000},
        {"serial": 9_999_999_999_999_999},
    ],
    ids=["expiry", "serial", "highest"],
)
def test_no_word_is_for_ever(one_door: Door, fields: dict[str, Any]) -> None:
    """One that would be good for more than a week, or make all later ones old, is refused, and its serial does not count."""
    one_door.drop(one_door.word(**fields))
    refused(one_door, fields.get("serial", SERIAL), "word_too_far")
    one_door.drop(one_door.word())
    one_door.run()
    assert one_door.answers[1:] == [(str(SERIAL), "applied", "0123456789abcdef-two")]


def test_a_clock_that_goes_back_makes_no_word_young(door: Door) -> None:
    """It is never before what it was when a word counted last."""
    door.drop(door.word())
    door.run()
    real = shutil.which("date")
    shim(door.host, "date", f'if [ "$*" = +%s ]; then echo {LATER - 86_400}; else exec {real} "$@"; fi')
    over = LATER - 43_200
    door.drop(door.word(serial=SERIAL + 1, expires_at=over, stamp="0123456789abcdef-two"))
    door.run()
    assert door.answers[1:] == [(str(SERIAL + 1), "refused", "word_expired")]


def test_an_expired_word_is_refused(door: Door) -> None:
    """By the host's own clock."""
    door.drop(door.word(expires_at=int(time.time()) - 1))
    refused(door, SERIAL, "word_expired")


def test_a_refused_word_is_used_up(door: Door) -> None:
    """What was refused for a condition cannot be kept and dropped again when the condition holds."""
    door.drop(door.word(when="drained"))
    door.run()
    door.host.write("/standin/region", DRAINED)
    door.drop(door.word(when="drained"))
    door.run()
    assert door.answers == [(str(SERIAL), "refused", "node_not_ready")]
    assert door.stamp == "one"


def test_another_nodes_word_is_refused(door: Door) -> None:
    """And it does not use up a serial of this node."""
    door.drop(door.word(node=NodeId("00000000-0000-4000-8000-000000000000"), serial=SERIAL + 9))
    refused(door, SERIAL + 9, "word_of_other_node")
    door.drop(door.word())
    said = door.run()
    assert door.answers[-1] == (str(SERIAL), "applied", "0123456789abcdef-two"), said


@pytest.mark.parametrize(
    ("when", "region", "outcome"),
    [
        ("ineligible", ELIGIBLE, "refused"),
        ("ineligible", INELIGIBLE, "applied"),
        ("ineligible", DRAINING, "applied"),
        ("drained", ELIGIBLE, "refused"),
        ("drained", INELIGIBLE, "refused"),
        ("drained", DRAINING, "refused"),
        ("drained", DRAINED, "applied"),
        ("any", ELIGIBLE, "applied"),
    ],
    ids=[
        *("ineligible-eligible", "ineligible-ineligible", "ineligible-draining"),
        *("drained-eligible", "drained-ineligible", "drained-draining", "drained-drained", "any-eligible"),
    ],
)
def test_a_condition_is_the_regions_to_meet(one_door: Door, when: str, region: str, outcome: str) -> None:
    """Drained, not before: by what the region says of the node now."""
    one_door.host.write("/standin/region", region)
    one_door.drop(one_door.word(when=when))
    if outcome == "applied":
        one_door.run()
        assert one_door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")]
    else:
        refused(one_door, SERIAL, "node_not_ready")


NODE = f'{{"ID":"{NODE_ID}"'


@pytest.mark.parametrize(
    "record",
    [
        f'{NODE},"Meta":{{"SchedulingEligibility":"ineligible"}},{ELIGIBLE}}}',
        f'{NODE},"Name":"\\",\\"SchedulingEligibility\\":\\"ineligible",{ELIGIBLE}}}',
        f'{NODE},"Events":[{{"SchedulingEligibility":"ineligible"}}],{ELIGIBLE}}}',
        f'{NODE},"Meta":{{"a":"}}","SchedulingEligibility":"ineligible"}},{ELIGIBLE}}}',
        f'{NODE},"Name":"}}\\\\","Meta":{{"SchedulingEligibility":"ineligible"}},{ELIGIBLE}}}',
        f'{{"ID":"other","Meta":{{"ID":"{NODE_ID}"}},{INELIGIBLE}}}',
        f"{NODE},{INELIGIBLE}",
        f'{NODE},{INELIGIBLE},"Long":"{"x" * (1 << 20)}"}}',
        "",
    ],
    ids=["meta", "escaped", "event", "brace", "backslash", "another-node", "cut-off", "endless", "nothing"],
)
def test_only_the_nodes_own_field_counts(door: Door, record: str) -> None:
    """What anybody may write into a node's metadata is not what the region says of it; nor is half an answer."""
    answer = f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{record}\n"
    door.host.write("/standin/record", answer)
    shim(door.host, "openssl", 'cat >/dev/null; cat "$IONET_ROOT/standin/record"')
    door.drop(door.word(when="ineligible"))
    refused(door, SERIAL, "node_not_ready")


def test_who_drained_a_node_says_nothing_of_the_drains_end(one_door: Door) -> None:
    """A drain has metadata of its own."""
    drain = '{"AccessorID":"","Meta":{"Status":"complete"},"Status":"canceled"}'
    one_door.host.write("/standin/region", INELIGIBLE.replace('"LastDrain":null', f'"LastDrain":{drain}'))
    one_door.drop(one_door.word(when="drained"))
    refused(one_door, SERIAL, "node_not_ready")


@pytest.mark.parametrize("serves", ["own", "other"])
def test_the_nodes_secret_goes_to_its_own_agent_alone(one_door: Door, tmp_path: Path, serves: str) -> None:
    """Whoever has another certificate of the region's authority, another node's say, and the agent's port, hears nothing."""
    authority = Issuer(tmp_path)
    own, other = authority.issue("own"), authority.issue("other")
    one_door.host.write(host_paths.NODE_CERT, own.with_suffix(".pem").read_text() + authority.pem)
    one_door.host.write(host_paths.CA_CERT, authority.pem)
    with listening(own if serves == "own" else other) as (port, heard):
        there = f"case $a in 127.0.0.1:4646) a=127.0.0.1:{port} ;; esac"
        again = f'for a; do shift; {there}; set -- "$@" "$a"; done; exec {needs("openssl")} "$@"'
        shim(one_door.host, "openssl", again)
        one_door.drop(one_door.word(when="ineligible", confirm_s=0))
        said = one_door.run()
    found = (one_door.answers[-1][1], [SECRET_ID in text for text in heard])
    assert found == (("applied", [True]) if serves == "own" else ("refused", [])), said


class Issuer:
    """A certificate authority, and what it issues: ``NAME.pem`` beside ``NAME.key``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._new("authority")
        self.pem = (directory / "authority.pem").read_text()

    def issue(self, name: str) -> Path:
        """The certificate's path without its ending."""
        by = self.directory / "authority"
        return self._new(
            name, "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-addext", "basicConstraints=CA:FALSE"
        )

    def _new(self, name: str, *arguments: str) -> Path:
        path = self.directory / name
        what = ("req", "-x509", "-subj", f"/CN={name}", "-days", "2", "-nodes")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        files = ("-keyout", f"{path}.key", "-out", f"{path}.pem")
        subprocess.run((needs("openssl"), *what, *key, *files, *arguments), check=True, capture_output=True)
        return path


@contextmanager
def listening(certificate: Path) -> Iterator[tuple[int, list[str]]]:
    """An agent's port with that certificate, and what it was sent; it answers as the region of an ineligible node."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.with_suffix(".pem"), certificate.with_suffix(".key"))
    heard: list[str] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                answer(listener.accept()[0])

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            if text := secured.recv(4096).decode():
                heard.append(text)
                secured.sendall(f"HTTP/1.0 200 OK\r\n\r\n{NODE},{INELIGIBLE}}}\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_condition_is_not_met_by_silence(one_door: Door) -> None:
    """A region that does not answer has not said that the node is drained."""
    shim(one_door.host, "openssl", "cat >/dev/null; echo 'connect:errno=111' >&2; exit 1")
    one_door.drop(one_door.word(when="drained"))
    refused(one_door, SERIAL, "node_not_ready")


def test_a_word_for_another_configuration_is_refused(door: Door) -> None:
    """It was made for a host that is not as it was thought to be: an enrolment was faster."""
    door.drop(door.word(stamp="0123456789abcdef-zero"))
    refused(door, SERIAL, "host_changed")


def test_a_word_that_was_kept_back_undoes_no_revocation(door: Door) -> None:
    """An enrolment that changes the signers alone leaves the stamp as it is, and the one who signed need not be the one revoked."""
    door.trust("ada", "mallory")
    word = door.word(new_config(files=(*new_config().files, file(host_paths.ALLOWED_SIGNERS, "both\n"))))
    door.enroll()
    door.drop(word)
    refused(door, SERIAL, "signers_changed")
    assert door.host.read(host_paths.ALLOWED_SIGNERS) == door.signers("ada")


def test_signers_that_an_earlier_word_has_brought_are_those_of_the_next(one_door: Door) -> None:
    """Its answer was lost, and the controller sends the same change again."""
    before = one_door.heeded
    both = Payload(
        ROLLOUT, apply_script(), (file(host_paths.ALLOWED_SIGNERS, one_door.signers("ada", "grace")),)
    )
    for serial in (SERIAL, SERIAL + 1):
        one_door.drop(one_door.word(both, serial=serial, signers=before))
        one_door.run()
    assert one_door.answers == [
        (str(SERIAL), "applied", BEFORE),
        (str(SERIAL + 1), "applied", BEFORE),
    ]


def _signed(door: Door, change: Callable[[bytes], bytes]) -> bytes:
    """A word that was changed before it was signed."""
    text = change(word_text(Word(NodeId(NODE_ID), SERIAL, LATER, BEFORE, door.heeded), new_config()))
    return text + door.sign(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"ionet-maintenance 1\n", b"ionet-maintenance 2\n"),
        lambda text: text.replace(b"\n\n", b"\nreboot yes\n\n", 1),
        lambda text: text.replace(b"\n\n", b"\nwhen drained\n\n", 1),
        lambda text: text.replace(b"when any\n", b""),
        lambda text: text.replace(b"when any\n", b"when ever\n"),
        lambda text: text.replace(b"confirm 180\n", b"confirm 0180\n"),
        lambda text: text.replace(b"confirm 180\n", b"confirm $(id)\n"),
        lambda text: b"\n" + text,
    ],
    ids=["version", "unknown-key", "twice", "missing", "unknown-value", "octal", "command", "no-header"],
)
def test_a_header_that_is_not_understood_is_refused(one_door: Door, change: Callable[[bytes], bytes]) -> None:
    """Signed or not: what this host cannot understand to the last word it does not carry out."""
    one_door.drop(_signed(one_door, change))
    said = one_door.run()
    assert [answer[1:] for answer in one_door.answers] == [("refused", "word_malformed")], said
    assert one_door.stamp == "one"


def test_a_payload_of_another_digest_is_refused(one_door: Door) -> None:
    """The header names what comes with it."""
    one_door.drop(_signed(one_door, lambda text: text.replace(b"\npayload ", b"\npayload 0")))
    refused(one_door, SERIAL, "word_corrupt")


def test_a_payload_that_grows_without_end_is_refused(one_door: Door) -> None:
    """A few kilobytes that unpack to more than 4 MB."""
    bomb = new_config(apply_script=b"\0" * (5 << 20))
    one_door.drop(one_door.word(bomb))
    refused(one_door, SERIAL, "word_corrupt")


# --- what else lies in the drop ---


def test_a_huge_file_is_refused(door: Door) -> None:
    """No more than 64 KiB of anything is copied, though a file of a terabyte costs its maker nothing."""
    path = door.host.path(f"{host_paths.DROP_DIR}/region.word")
    path.touch()
    os.truncate(path, 1 << 40)
    refused(door, "-", "word_too_large")


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory", "link-to-word"])
def test_what_is_no_file_is_removed_unread(door: Door, kind: str) -> None:
    """A link into the host, a pipe that would hang, a directory: nothing is read through them, and what they lead to stays."""
    path = door.host.path(f"{host_paths.DROP_DIR}/region.word")
    elsewhere = door.host.path("/etc/elsewhere")
    elsewhere.write_bytes(door.word())
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
        (path / "x").symlink_to(elsewhere)
    else:
        path.symlink_to({"link": "/etc/shadow", "dangling": "/nowhere"}.get(kind, str(elsewhere)))
    refused(door, "-", "word_unreadable")
    assert elsewhere.exists()


def test_no_other_name_is_looked_at(one_door: Door) -> None:
    """However many files lie there under other names, the region's word is the one that is taken."""
    for name in ("1.word", "-rf.word", "a b\nc.word", "$(touch x).word", ".new"):
        one_door.drop(b"junk", name)
    one_door.drop(one_door.word())
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")]
    assert len(_lying(one_door)) == 5


def test_what_lies_there_for_a_day_is_removed(door: Door) -> None:
    """What a door's task left that was killed, or somebody put there; what is being written stays."""
    yesterday = time.time() - 90_000
    for name in (".17", "-rf"):
        door.drop(b"junk", name)
        os.utime(door.host.path(f"{host_paths.DROP_DIR}/{name}"), (yesterday, yesterday))
    door.drop(b"junk", ".18")
    door.run()
    assert (_lying(door), door.answers) == ([".18"], [])


def test_what_cannot_be_removed_holds_nothing_up(one_door: Door) -> None:
    """A directory to which its owner goes on writing, say: the next word is taken all the same, and it is tried again."""
    shim(
        one_door.host, "rm", f'case "$*" in */maintenance/in*) exit 1 ;; esac; exec {shutil.which("rm")} "$@"'
    )
    one_door.host.path(f"{host_paths.DROP_DIR}/region.word").mkdir()
    one_door.run()
    one_door.drop(one_door.word())
    one_door.run()
    assert [answer[2] for answer in one_door.answers] == ["word_unreadable", "0123456789abcdef-two"]
    (one_door.host.shims / "rm").unlink()
    one_door.run()
    assert list(one_door.host.path("/var/lib/ionet/maintenance").glob("in*")) == []


def test_a_writer_that_holds_its_file_is_not_waited_for(one_door: Door) -> None:
    """Who has a lease of the file lets whoever opens it wait, for 45 s a file."""
    one_door.drop(one_door.word())
    with one_door.host.path(f"{host_paths.DROP_DIR}/region.word").open("r+b") as held:
        old = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            one_door.run()
        finally:
            signal.signal(signal.SIGIO, old)
    assert one_door.answers == [("-", "refused", "word_unreadable")]


def test_answers_do_not_grow_for_ever(one_door: Door) -> None:
    """Beyond 64 KiB the oldest go."""
    log = one_door.host.path(f"{host_paths.ANSWERS_DIR}/log")
    log.write_text("1\t1\trefused\tword_old\ttext\n" * 4000)
    one_door.drop(b"junk")
    one_door.run()
    assert len(one_door.answers) == 51


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "succeeds"])
def test_the_task_leaves_nothing_but_the_word(host: Host, tmp_path: Path, fails: bool) -> None:  # noqa: FBT001  (a parameter)
    """What it writes before it is whole is gone, whether or not that came to be the word; what was left before is no hindrance."""
    script = static("door.nomad.hcl").split("<<-END\n")[1].split("END")[0]
    local, drop = tmp_path / "local", tmp_path / "drop"
    local.mkdir()
    drop.mkdir()
    (local / "word").write_bytes(b"word")
    if fails:
        shim(host, "mv", "exit 1")
    script = script.replace("/local", str(local)).replace("/drop", str(drop))
    done = subprocess.run(host.argv("-c", script), env=host.environ(), check=False)
    assert (done.returncode != 0) == fails
    assert {path.name: path.read_bytes() for path in drop.iterdir()} == (
        {} if fails else {"region.word": b"word"}
    )


# --- when it goes wrong ---


def test_an_agent_that_does_not_start_is_put_back(door: Door) -> None:
    """The apply's own way back, and its code in the answer."""
    door.host.write("/standin/behaviour", "fail\n")
    door.drop(door.word())
    door.run()
    assert door.answers == [(str(SERIAL), "failed", "start_failed")]
    assert door.stamp == "one"


def test_a_configuration_that_is_invalid_changes_nothing(one_door: Door) -> None:
    """Nomad judges it first."""
    broken = config("BROKEN")
    one_door.drop(one_door.word(new_config(files=(broken, manifest(broken)))))
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "failed", "config_invalid")]
    assert one_door.host.read("/standin/starts").count("\n") == 1


def test_what_the_region_does_not_confirm_is_put_back(door: Door) -> None:
    """An agent that runs, and that its region does not show, would be lost for good: the old configuration comes back."""
    shim(door.host, "openssl", 'cat >/dev/null; echo \'{"Status":"down"}\'')
    door.drop(door.word(confirm_s=1))
    door.run()
    assert door.answers == [(str(SERIAL), "failed", "not_confirmed")]
    assert (door.stamp, door.host.read("/standin/active")) == ("one", "active\n")


@pytest.mark.parametrize("ends", ["unconfirmed", "killed"])
def test_no_region_keeps_a_signer_that_was_taken_away(one_door: Door, ends: str) -> None:
    """What it does not confirm is put back, but for the list of signers."""
    one_door.trust("ada", "mallory")
    wait = one_door.host.path("/standin/waits")
    shim(one_door.host, "openssl", f": >'{wait}'; cat >/dev/null; echo '{{}}'")
    left = file(host_paths.ALLOWED_SIGNERS, one_door.signers("ada"))
    payload = new_config(files=(*new_config().files, left))
    one_door.drop(one_door.word(payload, confirm_s=1 if ends == "unconfirmed" else 60))
    process = one_door.start()
    if ends == "killed":
        one_door.wait_for(wait)
        one_door.kill(process)
        one_door.run("recover")
    process.communicate(timeout=60)
    code = "not_confirmed" if ends == "unconfirmed" else "interrupted"
    assert one_door.answers == [(str(SERIAL), "failed", code)]
    assert one_door.stamp == "one"
    assert one_door.host.read(host_paths.ALLOWED_SIGNERS) == one_door.signers("ada")


def test_a_step_that_fails_is_not_passed_over(one_door: Door) -> None:
    """The run ends there, and the service's stop post answers for it."""
    shim(one_door.host, "mkfifo", "exit 1")
    one_door.drop(one_door.word())
    one_door.run(ends=1)
    one_door.run("recover")
    assert one_door.answers == [(str(SERIAL), "failed", "interrupted")]
    assert one_door.stamp == "one"


def test_nobody_else_reaches_what_is_below(one_door: Door) -> None:
    """Whoever could open the directory could hold the host's lock, whatever made it."""
    ours = one_door.host.path(host_paths.OUR_DIR)
    ours.chmod(0o755)
    one_door.run("prepare")
    assert ours.stat().st_mode & 0o7777 == 0o700


def test_a_word_may_leave_the_region_unasked(one_door: Door) -> None:
    """With confirm 0 a start is enough."""
    shim(one_door.host, "openssl", "exit 1")
    one_door.drop(one_door.word(confirm_s=0))
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")]


@contextmanager
def held_lock(door: Door, ticks: str = "") -> Iterator[Path]:
    """The host's lock, held by an enrolment; with other ``ticks``, by one that is gone, whose number another process has now."""
    lock = door.host.path(LOCK)
    with subprocess.Popen(("sleep", "60")) as process:
        started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        holder = f"{ROLLOUT}\tada@ops\t2026-03-01T12:00:00Z\t{process.pid}\t{ticks or started}\t{BOOT_ID}"
        lock.symlink_to(holder)
        try:
            yield lock
        finally:
            process.kill()


def test_an_enrolment_that_is_under_way_is_not_disturbed(one_door: Door) -> None:
    """The lock on the host is one for both."""
    with held_lock(one_door):
        one_door.drop(one_door.word())
        one_door.run()
    assert one_door.answers == [(str(SERIAL), "refused", "locked")]
    assert one_door.stamp == "one"


def test_what_an_enrolment_revokes_while_a_word_is_checked_is_revoked(one_door: Door) -> None:
    """It had taken the lock before the word came, and ends after the signature was found good: nothing but its lock tells of it."""
    one_door.host.write("/standin/revoked", one_door.signers("grace"))
    script = f"""
        echo . >>"$IONET_ROOT/standin/checks"
        {needs("ssh-keygen")} "$@" || exit
        if [ "$(wc -l <"$IONET_ROOT/standin/checks")" = 2 ]; then
            cp "$IONET_ROOT/standin/revoked" "$IONET_ROOT{host_paths.ALLOWED_SIGNERS}"
            rm -f "$IONET_ROOT{LOCK}"
        fi
    """
    shim(one_door.host, "ssh-keygen", script)
    with held_lock(one_door):
        one_door.drop(one_door.word())
        one_door.run()
    assert one_door.answers == [(str(SERIAL), "refused", "locked")]


def test_a_word_does_not_hide_who_holds_the_later_lease(one_door: Door) -> None:
    """The lease of the last enrolment stays beside the fence: a controller whose hosts another took over is still refused."""
    assert one_door.enroll(lease="catalog.7").exit_status == 0
    one_door.drop(one_door.word())
    one_door.run()
    assert one_door.answers == [(str(SERIAL), "applied", "0123456789abcdef-two")]
    failure = one_door.enroll(lease="catalog.6").failure
    assert failure is not None
    assert failure.code == "changed"


def test_a_run_at_a_time(one_door: Door) -> None:
    """A second run leaves the drop alone."""
    wait = one_door.host.path("/standin/waits")
    shim(one_door.host, "openssl", f": >'{wait}'; cat >/dev/null; echo '{{}}'")
    one_door.drop(one_door.word(confirm_s=4))
    first = one_door.start()
    one_door.wait_for(wait)
    one_door.drop(one_door.word(serial=SERIAL + 1))
    one_door.run()
    assert (one_door.answers, _lying(one_door)) == ([], ["region.word"])
    first.communicate(timeout=60)
    assert one_door.answers == [(str(SERIAL), "failed", "not_confirmed")]


# --- killed ---


def test_killed_while_the_region_is_asked_it_is_put_back(door: Door) -> None:
    """The way of an orderly stop: the service's stop post puts back what nobody confirmed."""
    cut_off(door)
    assert door.stamp == "two"
    door.run("recover")
    assert door.answers == [(str(SERIAL), "failed", "interrupted")]
    assert (door.stamp, door.host.read("/standin/active")) == ("one", "active\n")
    assert not door.host.path("/var/lib/ionet/pending").exists()


def test_after_a_power_cut_the_old_files_are_there_before_the_agent_starts(door: Door) -> None:
    """No service is touched: this runs before the agent's own start."""
    cut_off(door)
    door.host.write("/proc/sys/kernel/random/boot_id", "another\n")
    verbs = door.host.read("/standin/verbs")
    door.run("prepare")
    assert "0123456789abcdef-one" in door.host.read(host_paths.CLIENT_CONFIG)
    assert door.host.read("/standin/verbs") == verbs
    assert door.answers == [(str(SERIAL), "failed", "interrupted")]


def cut_off(door: Door) -> None:
    """Let a word be carried out, and killed while the region is asked."""
    wait = door.host.path("/standin/waits")
    shim(door.host, "openssl", f": >'{wait}'; cat >/dev/null; echo '{{}}'")
    door.drop(door.word(confirm_s=60))
    process = door.start()
    door.wait_for(wait)
    door.kill(process)


def test_it_waits_for_what_the_killed_run_had_started(one_door: Door) -> None:
    """A child that ends a moment later still holds the lock among runs, and nothing would put it all back before the next word."""
    cut_off(one_door)
    lock = one_door.host.path("/var/lib/ionet/maintenance/lock")
    holds = ("sh", "-c", 'exec 8>>"$0"; flock 8; echo held; exec cat', str(lock))
    with subprocess.Popen(holds, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        shim(
            one_door.host,
            "flock",
            f'(sleep 1; kill {child.pid}) >/dev/null 2>&1 & exec {needs("flock")} "$@"',
        )
        one_door.run("recover")
    assert (one_door.stamp, one_door.answers) == ("one", [(str(SERIAL), "failed", "interrupted")])


def test_what_is_put_back_has_the_lock_and_raises_the_fence(door: Door) -> None:
    """No enrolment comes between, and none that had surveyed the host before."""
    cut_off(door)
    surveyed = door.host.fence()
    real = (door.host.shims / "systemctl").resolve()
    shim(
        door.host,
        "systemctl",
        f'readlink "$IONET_ROOT{LOCK}" >>"$IONET_ROOT/standin/locks"; exec {real} "$@"',
    )
    door.run("recover")
    held = door.host.read("/standin/locks").splitlines()
    assert {line.split("\t")[0] for line in held} == {f"word-{SERIAL}"}
    assert door.host.fence() == surveyed + 1
    assert not door.host.path(LOCK).is_symlink()
    failure = door.enroll(fence=surveyed).failure
    assert failure is not None
    assert failure.code == "changed"


def test_nothing_is_put_back_under_an_enrolment(one_door: Door) -> None:
    """While it holds the lock, it does what is to be done, and the next word waits. Then what is left is put back."""
    cut_off(one_door)
    one_door.host.path(LOCK).unlink(missing_ok=True)
    with held_lock(one_door) as lock:
        one_door.drop(one_door.word(serial=SERIAL + 1))
        for command in ("recover", "prepare", "take"):
            one_door.run(command)
        assert lock.is_symlink()
        assert (one_door.stamp, one_door.answers, _lying(one_door)) == ("two", [], ["region.word"])
    one_door.run("recover")
    assert (one_door.stamp, one_door.answers) == ("one", [(str(SERIAL), "failed", "interrupted")])


def test_a_lock_whose_holder_is_gone_holds_nothing(one_door: Door) -> None:
    """Though another process has its number now."""
    cut_off(one_door)
    one_door.host.path(LOCK).unlink(missing_ok=True)
    with held_lock(one_door, ticks="17"):
        one_door.run("recover")
    assert (one_door.stamp, one_door.answers) == ("one", [(str(SERIAL), "failed", "interrupted")])


def test_an_enrolment_that_takes_the_lock_while_it_is_answered_keeps_it(one_door: Door) -> None:
    """All is put back by then, and the lock was given up."""
    cut_off(one_door)
    one_door.host.path(LOCK).unlink(missing_ok=True)
    with held_lock(one_door) as lock:
        holder = lock.readlink()
        lock.unlink()
        pending = one_door.host.path("/var/lib/ionet/pending")
        takes = f"if [ ! -L '{lock}' ] && [ ! -e '{pending}' ]; then ln -s '{holder}' '{lock}'; fi"
        shim(one_door.host, "tr", f'{takes}; exec {shutil.which("tr")} "$@"')
        one_door.run("recover")
        assert (one_door.stamp, one_door.answers) == ("one", [(str(SERIAL), "failed", "interrupted")])
        assert lock.readlink() == holder


@pytest.mark.parametrize("command", ["mv", "rm", "cp", "sync", "systemctl"])
def test_killed_at_any_command_it_converges(one_door: Door, command: str, tmp_path: Path) -> None:
    """Whole or as before, and the next word is carried out; nothing is left half done."""
    for last in range(1, 40, 4):
        counter = tmp_path / f"{command}-{last}"
        kill_after(one_door.host, command, counter)
        one_door.host.environment["IONET_TEST_LAST"] = str(last)
        stamp = one_door.stamp
        one_door.drop(
            one_door.word(new_config(f"s{last}"), serial=SERIAL + 2 * last, stamp=f"0123456789abcdef-{stamp}")
        )
        one_door.start().communicate(timeout=60)
        (one_door.host.shims / command).unlink(missing_ok=True)
        shutil.rmtree(one_door.host.shims.parent / "counted", ignore_errors=True)
        if command == "systemctl":
            restore_systemctl(one_door.host)
        one_door.run("recover")
        assert one_door.stamp in {stamp, f"s{last}"}
        now = one_door.stamp
        one_door.drop(
            one_door.word(
                new_config(f"t{last}"), serial=SERIAL + 2 * last + 1, stamp=f"0123456789abcdef-{now}"
            )
        )
        one_door.run()
        assert one_door.stamp == f"t{last}", one_door.answers[-3:]
        if counter.exists() and len(counter.read_text().split()) < last:
            break
    left = {path.name for path in one_door.host.path(host_paths.OUR_DIR).iterdir()}
    assert left == {"manifest", "fence", "maintenance", "maintenance.sh", "drop", "answers"}


def restore_systemctl(host: Host) -> None:
    """The stand-in again, instead of what killed at it."""
    path = host.shims / "systemctl"
    path.unlink(missing_ok=True)
    path.symlink_to(STANDINS / "systemctl")
