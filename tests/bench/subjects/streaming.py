"""Streaming a payload to one host, and the memory of open connections: our transport beside asyncssh alone and ``ssh cat``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from tests.bench.hosts import fleet, has_sshd
from tests.bench.records import Figure, LeftOut, Row
from tests.bench.sizes import MB
from tests.bench.subjects.enrolment import run_program, settings_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.hosts import Fleet
    from tests.bench.records import Finding

NAME: Final = "streaming"
TITLE: Final = "Streaming and memory"
TARGETS: Final = ("stream-ratio", "stream-cpu", "memory-connection")
_KIB: Final = 1.024


def measure(bench: Bench) -> Iterator[Finding]:
    """CPU a gigabyte, then memory a connection."""
    if not has_sshd():
        yield LeftOut(TITLE, "no sshd on this machine", TARGETS)
        return
    with fleet(bench.directory("fleet"), bench.sizes.connections[1]) as site:
        yield from _stream(bench, site)
        yield from _connections(bench, site)


def _stream(bench: Bench, site: Fleet) -> Iterator[Finding]:
    size, rounds = bench.sizes.stream_mb * MB, range(bench.sizes.rounds)
    path = settings_file(site, bench.directory("settings"), 1, size)
    payload = bench.directory("payload") / "payload"
    payload.write_bytes(bytes(size))
    bare, ours, openssh = [], [], []
    for _ in rounds:
        bare.append(run_program(bench, "asyncssh_client", "stream", path, site))
        ours.append(run_program(bench, "our_transport", "stream", path, site))
        openssh.append(bench.run("sh", "-c", _ssh_cat(site, str(payload)), site=site).sample)
    gigabytes = size / 1e9
    floor = Row("asyncssh, 256 KB blocks, drain()", "asyncssh_client.py stream", bare, gigabytes)
    mine = Row("our transport", "our_transport.py stream", ours, gigabytes, floor)
    yield floor
    yield mine
    yield Row("ssh cat, aes128-gcm", "ssh HOST 'cat >/dev/null' <FILE", openssh, gigabytes, floor)
    yield Figure("stream-ratio", mine.cpu_ratio or 0, f"{bench.sizes.stream_mb} MB")
    yield Figure("stream-cpu", mine.cpu_per_unit, f"{bench.sizes.stream_mb} MB")


def _ssh_cat(site: Fleet, payload: str) -> str:
    options = (
        f"-F none -i {site.identity} -p {site.port} -l {site.user} -o UserKnownHostsFile={site.known_hosts}"
    )
    cheap = "-c aes128-gcm@openssh.com -o KexAlgorithms=curve25519-sha256"
    return f"ssh {options} {cheap} {site.hosts[0].address} 'cat >/dev/null' <{payload}"


def _connections(bench: Bench, site: Fleet) -> Iterator[Finding]:
    opened = {}
    for count in bench.sizes.connections:
        addresses = [host.address for host in site.hosts[:count]]
        path = settings_file(site, bench.directory("settings"), bench.sizes.concurrency, hosts=addresses)
        command = (sys.executable, "-m", "tests.bench.programs.our_transport", "hold", str(path))
        done = bench.run(*command)
        opened[count] = json.loads(done.stdout)["open_kib"]
        yield Row(f"{count} connections held open", "our_transport.py hold", [done.sample], count)
    few, many = bench.sizes.connections
    each_kib = (opened[many] - opened[few]) / (many - few)
    yield Figure("memory-connection", each_kib * _KIB, f"between {few} and {many} open connections")
