"""Packed programs on a host: from standard input, from a mirror, from a neighbour; and a host that serves them for a while."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.names import Digest
from ionetctl.facts.obtain_output import ObtainOutput, parse_obtained
from ionetctl.remote import end_seed_script, obtain_script, start_obtain_script
from tests.remote.rehearsal import Host, shim
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CONTENT = bytes(range(256)) * 4096
OTHER = b"a device plugin" * 1000
TOKEN = "0123456789abcdef" * 2
STORE = "/var/lib/ionet/artifacts"


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


NOMAD, PLUGIN = digest_of(CONTENT), digest_of(OTHER)
FILES = {NOMAD: CONTENT, PLUGIN: OTHER}


@dataclass
class Mirror:
    """An HTTP server on loopback: ``answers`` by path, each content or a status; ``asked`` is what was asked for."""

    answers: dict[str, bytes | int]
    asked: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None
    url: str = ""


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    known = Mirror({f"/{digest}": content for digest, content in FILES.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(self.path)
            known.on_request()
            answer = known.answers.get(self.path, 404)
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("Location", known.url + "/elsewhere")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"" if isinstance(answer, int) else answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def obtain(
    host: Host,
    source: str = "-",
    seed: str = "",
    *,
    files: Mapping[Digest, bytes] = FILES,
    sent: bytes | None = None,
    addresses: tuple[str, ...] = (),
) -> ObtainOutput:
    """What the host answers; with ``-`` as the source all files are sent to it, or ``sent`` instead."""
    wanted = [f"{digest}:{len(content)}" for digest, content in files.items()]
    data = b"".join(files.values()) if sent is None else sent
    run = subprocess.run(
        host.argv("-c", start_obtain_script(), "ionet-obtain", "n0nce", *wanted),
        input=obtain_script() + f"{source} {seed}\n".encode() + (data if source == "-" else b""),
        capture_output=True,
        env=host.environ(),
        check=True,
        timeout=60,
    )
    assert run.stderr == b""
    return parse_obtained(run.stdout, "n0nce", files, addresses)


def kept(host: Host) -> dict[str, bytes]:
    """What lies where an apply looks, hidden files too."""
    return {path.name: path.read_bytes() for path in host.path(STORE).iterdir()}


@pytest.fixture(params=["curl", "wget", "python3"])
def tool(request: pytest.FixtureRequest, host: Host) -> str:
    """The only program by which the host can fetch."""
    needs(request.param)
    only(host, request.param)
    return str(request.param)


@pytest.fixture(params=["curl", "wget", "python3"])
def tool_of_peer(request: pytest.FixtureRequest) -> str:
    """One of the programs by which a host can fetch."""
    needs(request.param)
    return str(request.param)


def with_python(host: Host) -> None:
    """A host of busybox's programs has none of its own."""
    shim(host, "python3", f'exec {sys.executable} "$@"')


def only(host: Host, *tools: str) -> None:
    """Hide the other programs that can fetch, by a folder that has all but them."""
    folder = host.shims.parent / "chosen"
    folder.mkdir()
    hidden = {"curl", "wget", "python3"} - set(tools)
    for directory in os.environ["PATH"].split(":"):
        for program in Path(directory).iterdir() if Path(directory).is_dir() else ():
            if program.name not in hidden and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    for name in ("sh", "head", "tail"):
        real = shutil.which(name, path=host.environ()["PATH"])
        if real:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(Path(real).resolve() if name != "sh" else real)
    host.environment["PATH"] = f"{host.shims}:{folder}"


def test_files_are_sent(host: Host) -> None:
    """What follows the script on standard input is kept under its digests, for root alone; sent again, it stays as it is."""
    for _ in range(2):
        assert obtain(host) == ObtainOutput({NOMAD: len(CONTENT), PLUGIN: len(OTHER)})
        assert kept(host) == FILES
        assert host.path(f"{STORE}/{NOMAD}").stat().st_mode & 0o777 == 0o600
        assert host.path(STORE).stat().st_mode & 0o777 == 0o700


def test_what_was_changed_on_its_way_is_not_kept(host: Host) -> None:
    """A file that differs from its digest is left out, and the next one is taken all the same."""
    output = obtain(host, sent=b"x" + CONTENT[1:] + OTHER)
    assert (output.got, output.kind) == ({PLUGIN: len(OTHER)}, "wrong_digest")
    assert kept(host) == {PLUGIN: OTHER}


def test_files_are_fetched(host: Host, mirror: Mirror, tool: str) -> None:
    """Each of curl, wget and python3 will do; what lies there already is not asked for again."""
    assert obtain(host, mirror.url) == ObtainOutput({NOMAD: len(CONTENT), PLUGIN: len(OTHER)}), tool
    assert kept(host) == FILES
    asked = list(mirror.asked)
    assert obtain(host, mirror.url) == ObtainOutput({NOMAD: 0, PLUGIN: 0})
    assert mirror.asked == asked


def test_partial_file_is_replaced(host: Host, mirror: Mirror) -> None:
    """A file that an upload left unfinished becomes the whole one."""
    with_python(host)
    host.write(f"{STORE}/{NOMAD}", CONTENT[:100], 0o600)
    assert obtain(host, mirror.url).got == {NOMAD: len(CONTENT), PLUGIN: len(OTHER)}
    assert kept(host) == FILES


@pytest.mark.parametrize("answer", [404, 500, 302, b"another file", CONTENT + b"and more", CONTENT[:-1]])
def test_what_cannot_be_fetched_is_told(host: Host, mirror: Mirror, tool: str, answer: bytes | int) -> None:
    """An error, a redirection, another content, more or less than was asked for: nothing is kept, and elsewhere is not asked."""
    mirror.answers[f"/{NOMAD}"] = answer
    mirror.answers["/elsewhere"] = CONTENT
    output = obtain(host, mirror.url)
    assert (output.got, output.kind) == ({PLUGIN: len(OTHER)}, "fetch_failed"), tool
    assert output.reason
    assert not output.is_hosts_own_fault
    assert kept(host) == {PLUGIN: OTHER}
    assert "/elsewhere" not in mirror.asked


@pytest.mark.parametrize(
    "answer", [b"", b"another file", CONTENT + b"and more"], ids=["empty", "other", "more"]
)
def test_another_content_is_told_as_that(host: Host, mirror: Mirror, tool: str, answer: bytes) -> None:
    """The program was content: what it says of a download is no reason, and may have the URL."""
    mirror.answers[f"/{TOKEN}/{NOMAD}"] = answer
    output = obtain(host, f"{mirror.url}/{TOKEN}", files={NOMAD: CONTENT})
    assert (output.kind, output.reason) == ("fetch_failed", "what came has another digest"), tool


def test_no_url_is_told(host: Host, mirror: Mirror) -> None:
    """A program's complaint is passed on, without the URL, which may have a token."""
    shim(host, "curl", 'read -r _ _ url; echo "curl: (6) cannot resolve ${url#?}: try again" >&2; exit 6')
    output = obtain(host, f"{mirror.url}/{TOKEN}", files={NOMAD: CONTENT})
    assert output.reason == "curl: (6) cannot resolve URL try again"


def test_endless_answer_is_cut_off(host: Host, mirror: Mirror) -> None:
    """No more than a byte beyond the file's size is written."""
    shim(host, "curl", "exec cat /dev/zero")
    shim(host, "sha256sum", 'wc -c | tee "$IONET_ROOT/measured"; exit 1')
    assert obtain(host, mirror.url, files={NOMAD: CONTENT}).kind == "fetch_failed"
    assert int(host.read("/measured")) == len(CONTENT) + 1


def test_server_that_does_not_answer(host: Host, tool: str) -> None:
    """A refused connection is told with the tool's own words."""
    output = obtain(host, "http://127.0.0.1:1")
    assert (output.got, output.kind) == ({}, "fetch_failed"), tool
    assert "refused" in output.reason.lower() or "connect" in output.reason.lower()


def test_host_without_any_tool(host: Host, mirror: Mirror) -> None:
    """It says so, and is not the mirror's fault."""
    only(host)
    output = obtain(host, mirror.url)
    assert (output.kind, output.is_hosts_own_fault, mirror.asked) == ("no_tool", True, [])


def test_wget_of_busybox_is_not_used(host: Host, mirror: Mirror) -> None:
    """It follows redirections and checks no certificate."""
    only(host)
    shim(host, "wget", "echo 'BusyBox v1.36 multi-call binary.'")
    assert obtain(host, mirror.url).kind == "no_tool"


def test_place_that_cannot_be_made(host: Host, mirror: Mirror) -> None:
    """Where nothing can be written, the host says so."""
    host.write("/var/lib/ionet", "a file in its way")
    assert obtain(host, mirror.url).is_hosts_own_fault


SYSTEMD_RUN = f"""
folder=''
while [ $# -gt 0 ]; do
    case $1 in
    --unit=*) unit=${{1#--unit=}} ;;
    -p) shift
        printf '%s\\n' "$1" >>"$IONET_ROOT/properties"
        case $1 in
        BindReadOnlyPaths=*) folder=${{1#*=}} folder=${{folder%%:/*}} ;;
        RuntimeDirectory=*) mkdir -p "$IONET_ROOT/run/${{1#*=}}" ;;
        esac ;;
    --*) ;;
    *) break ;;
    esac
    shift
done
cd "$folder" || exit 1
ls >"$IONET_ROOT/shown"
shift
setsid {sys.executable} "$@" >/dev/null 2>"$IONET_ROOT/server-errors" &
echo $! >"$IONET_ROOT/server-pid"
"""


@pytest.fixture
def seed(host: Host) -> Iterator[Host]:
    """A host whose systemd starts what it is told to; the server is ended with the test."""
    with_python(host)
    shim(host, "systemd-run", SYSTEMD_RUN)
    yield host
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(host.read("/server-pid")), 9)


def seed_line(limit_s: int = 60, idle_s: int = 60, addresses: str = "127.0.0.1", token: str = TOKEN) -> str:
    return f"ionet-seed-1 {token} {limit_s} {idle_s} 2 {addresses}"


def command_lines_with(word: str) -> list[str]:
    """The command lines of all processes, those that have the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if word in line]


def answer_of(url: str) -> bytes | int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  (loopback)
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.code


def test_host_serves_what_it_has(seed: Host) -> None:
    """The files by token and digest, on the first address that is its own, and nothing else that lies there."""
    output = obtain(seed, seed=seed_line(addresses="192.0.2.1,127.0.0.1"), addresses=("127.0.0.1",))
    assert output.serving is not None
    address, port = output.serving
    base = f"http://{address}:{port}"
    assert [answer_of(f"{base}/{TOKEN}/{digest}") for digest in FILES] == [CONTENT, OTHER]
    others = (
        "/",
        f"/{TOKEN}",
        f"/{TOKEN}/",
        f"/{TOKEN}/server.py",
        f"/{'0' * 32}/{NOMAD}",
        f"/{TOKEN}/../{NOMAD}",
        f"/{TOKEN}/{'0' * 64}",
    )
    assert [answer_of(base + path) for path in others] == [404] * len(others)


def test_server_sees_the_files_alone(seed: Host) -> None:
    """Its unit ends by its time limit, as a user of its own, without our directory, which is covered by the files' folder."""
    obtain(seed, seed=seed_line())
    folder = seed.path("/var/lib/ionet/serve/ionet-seed-1")
    properties = seed.read("/properties").splitlines()
    assert {
        "DynamicUser=yes",
        "RuntimeMaxSec=60",
        "CapabilityBoundingSet=",
        f"BindReadOnlyPaths={folder}:{seed.path('/var/lib/ionet')}",
    } <= set(properties)
    assert sorted(seed.read("/shown").split()) == sorted([*FILES, "server.py", "token"])


def test_nothing_is_left_of_what_is_served(seed: Host) -> None:
    """The server has the files open, whose folder is gone by then: there is nothing to remove, however it ends."""
    output = obtain(seed, seed=seed_line(), addresses=("127.0.0.1",))
    shutil.rmtree(seed.path(STORE))
    assert output.serving is not None
    assert not seed.path("/var/lib/ionet/serve").exists()
    url = f"http://127.0.0.1:{output.serving[1]}/{TOKEN}"
    assert [answer_of(f"{url}/{digest}") for digest in FILES] == [CONTENT, OTHER]


def test_token_is_in_no_command_line(seed: Host, mirror: Mirror, tool_of_peer: str) -> None:
    """Neither the server's nor that of whoever fetches from it, while they run; one that has it would be found."""
    token = secrets.token_hex(16)
    obtain(seed, seed=seed_line(token=token))
    mirror.answers = {f"/{token}/{digest}": content for digest, content in FILES.items()}
    mirror.on_request = lambda: mirror.seen.extend(command_lines_with(token))
    shutil.rmtree(seed.path(STORE))
    only(seed, tool_of_peer)
    assert obtain(seed, f"{mirror.url}/{token}").got == {NOMAD: len(CONTENT), PLUGIN: len(OTHER)}
    assert (len(mirror.asked), mirror.seen) == (2, [])
    telling = f"{sys.executable} -uc print();input() {token}"
    pipe = subprocess.PIPE
    with subprocess.Popen(telling.split(), stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert command_lines_with(token) == [f"{telling} "]
        process.communicate(b"\n")


def test_neighbour_fetches_from_a_seed(seed: Host, tmp_path: Path) -> None:
    """What one host serves, another takes as from a mirror."""
    output = obtain(seed, seed=seed_line(), addresses=("127.0.0.1",))
    assert output.serving is not None
    (tmp_path / "peer").mkdir()
    peer = Host(tmp_path / "peer root", seed.shell, seed.shims)
    got = obtain(peer, f"http://127.0.0.1:{output.serving[1]}/{TOKEN}").got
    assert (got, kept(peer)) == ({NOMAD: len(CONTENT), PLUGIN: len(OTHER)}, FILES)


@pytest.mark.parametrize(("limit_s", "idle_s"), [(1, 60), (60, 1)])
def test_server_ends_by_itself(seed: Host, limit_s: int, idle_s: int) -> None:
    """After its limit, and when nobody asks, nothing listens any more."""
    output = obtain(seed, seed=seed_line(limit_s, idle_s), addresses=("127.0.0.1",))
    assert output.serving is not None
    server = Path(f"/proc/{seed.read('/server-pid').strip()}")
    deadline = time.monotonic() + 30
    while server.exists() and "Z" not in (server / "stat").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(OSError, match="refused"):
        answer_of(f"http://127.0.0.1:{output.serving[1]}/")


def test_host_that_lacks_a_file_serves_nobody(seed: Host, mirror: Mirror) -> None:
    """Half a seed is none."""
    mirror.answers[f"/{NOMAD}"] = 404
    output = obtain(seed, mirror.url, seed_line(), addresses=("127.0.0.1",))
    assert (output.serving, output.not_serving) == (None, "")
    assert not seed.path("/properties").exists()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'Failed to start transient service unit' >&2; exit 1", "Failed to start transient"),
        ("exit 0", "its server did not start"),
    ],
)
def test_host_whose_systemd_refuses_serves_nobody(host: Host, script: str, expected: str) -> None:
    """It keeps the files all the same, and leaves nothing of the server behind."""
    with_python(host)
    shim(host, "systemd-run", script)
    shim(host, "sleep", "exit 0")
    output = obtain(host, seed=seed_line())
    assert (output.serving, output.not_serving[: len(expected)]) == (None, expected)
    assert kept(host) == FILES
    assert not host.path("/var/lib/ionet/serve").exists()


def test_host_without_systemd_serves_nobody(host: Host) -> None:
    """It says what it lacks."""
    only(host)
    assert obtain(host, seed=seed_line()).not_serving in (
        "there is no systemd-run",
        "there is no python3",
    )


def test_server_is_ended(seed: Host) -> None:
    """Its unit is stopped, and its folder removed if it is still there; ended again, nothing happens."""
    obtain(seed, seed=seed_line())
    seed.write("/var/lib/ionet/serve/ionet-seed-1/server.py", "")
    shim(seed, "systemctl", 'echo "$@" >>"$IONET_ROOT/asked"; exit 5')
    for _ in range(2):
        argv = seed.argv("-c", end_seed_script(), "sh", "ionet-seed-1")
        run = subprocess.run(argv, env=seed.environ(), capture_output=True, check=True, timeout=60)
        assert (run.stdout, run.stderr) == (b"", b"")
        assert not seed.path("/var/lib/ionet/serve").exists()
    assert seed.read("/asked").splitlines() == ["stop ionet-seed-1.service"] * 2


def test_what_a_lost_server_left_is_removed(seed: Host) -> None:
    """The folder of a unit that is not active any more goes with the next exchange."""
    shim(seed, "systemctl", "exit 3")
    seed.write("/var/lib/ionet/serve/ionet-seed-0/server.py", "")
    obtain(seed)
    assert list(seed.path("/var/lib/ionet/serve").iterdir()) == []
