"""The same work by ionetctl and by what admins would use instead, against the same real OpenSSH servers.

Ours is a whole ``enroll``: survey and GPU probe, certificates, introduction, program and device plugin (an eighth on top),
configuration, restart, confirmation by the region, records. The peers send the same program, files and commands, and no more.
"""

from __future__ import annotations

import filecmp
import shutil
from itertools import product
from typing import TYPE_CHECKING, Final

from ionetctl.core.plural import counted
from tests.bench.bench import BenchError
from tests.bench.hosts import fleet, has_sshd
from tests.bench.machine_code import machine_code
from tests.bench.peers import FOLDER, SMALL_BYTES, Peer, Task, ansible, openssh, parallel_ssh, pyinfra
from tests.bench.records import Figure, LeftOut, Row, Sample
from tests.bench.subjects.enrolment import ALL_AT_ONCE
from tests.support.programs import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.hosts import Fleet
    from tests.bench.records import Finding
    from tests.bench.sizes import Transfer

NAME: Final = "peers"
TITLE: Final = "The same work by peers"
TARGETS: Final = (
    "peers-large-wall",
    "peers-small-wall",
    "peers-pyinfra-cpu",
    "peers-mitogen-cpu",
    "bytes-a-host",
)
LACKS: Final = "no survey, certificates, region, records"
PEERS: Final = (
    Peer("pyinfra", "peers/bin/pyinfra", pyinfra.deploy, lacks=LACKS, target="peers-pyinfra-cpu"),
    Peer("pdsh and scp", "pdsh", openssh.pdsh, lacks=f"{LACKS}; no difference, sends every time"),
    Peer("clush", "clush", openssh.clush, lacks=f"{LACKS}; no difference, sends every time"),
    Peer(
        "parallel-ssh",
        "peers/bin/python",
        parallel_ssh.program,
        lacks=f"{LACKS}; no difference, checks no host key",
    ),
    Peer(
        "ansible with mitogen",
        "peers/bin/ansible-playbook",
        ansible.with_mitogen,
        is_slow=True,
        lacks=f"{LACKS}; compresses by SSH, as it comes",
        target="peers-mitogen-cpu",
    ),
    Peer("ansible", "peers/bin/ansible-playbook", ansible.plain, is_slow=True, lacks=LACKS),
)


def measure(bench: Bench) -> Iterator[Finding]:
    """Ours and every peer that is here, for each size of transfer."""
    if not has_sshd():
        yield LeftOut(TITLE, "no sshd on this machine", TARGETS)
        return
    for transfer in bench.sizes.transfers:
        yield from _transfer(bench, transfer)


def _transfer(bench: Bench, transfer: Transfer) -> Iterator[Finding]:
    ours: list[Sample] = []
    theirs: dict[str, list[Sample]] = {}
    for _ in range(bench.sizes.peer_rounds):
        with fleet(bench.directory("fleet"), transfer.hosts, transfer.program_bytes) as site:
            ours.append(_enroll(bench, site))
            for peer in PEERS:
                try:
                    sample = _run(bench, peer, site, transfer)
                except BenchError as error:
                    # The last line says what happened; those before it are full of this machine's paths.
                    reason = str(error).strip().splitlines()[-1]
                    yield LeftOut(f"{peer.name}, {transfer.name}", reason)
                else:
                    theirs.setdefault(peer.name, []).append(sample)
    mine = Row(
        f"ionetctl enroll, {transfer.name}",
        f"ionetctl enroll --yes {' '.join(ALL_AT_ONCE)}",
        ours,
        transfer.hosts,
        note="all that an enrolment does",
    )
    yield mine
    rows = {
        peer.name: _row(bench, peer, theirs[peer.name], transfer, mine)
        for peer in PEERS
        if peer.name in theirs
    }
    yield from rows.values()
    yield from _figures(transfer, mine, rows)


def _row(bench: Bench, peer: Peer, samples: list[Sample], transfer: Transfer, mine: Row) -> Row:
    hosts = _hosts_of(bench, transfer, peer)
    lacks = peer.lacks if hosts == transfer.hosts else f"{counted(hosts, 'host')} alone; {peer.lacks}"
    return Row(f"{peer.name}, {transfer.name}", peer.program, samples, hosts, mine, lacks)


def _figures(transfer: Transfer, mine: Row, rows: Mapping[str, Row]) -> Iterator[Figure]:
    """The nearest peer in wall time, CPU against those that are named, and bytes a host."""
    if transfer.target and rows:
        nearest = min(rows.values(), key=lambda row: row.wall_ratio or float("inf"))
        yield Figure(transfer.target, nearest.wall_ratio or 0, nearest.name)
    for peer in PEERS:
        ratio = rows[peer.name].cpu_ratio if peer.name in rows else None
        if peer.target and ratio:
            yield Figure(peer.target, 1 / ratio, transfer.name)
    if mine.sent_mib is not None:
        programs_bytes = transfer.program_bytes * 9 / 8 * transfer.hosts
        detail = "all on loopback, both directions, over the size of program and plugin"
        yield Figure("bytes-a-host", mine.sent_mib * (1 << 20) / programs_bytes, detail)


def _enroll(bench: Bench, site: Fleet) -> Sample:
    options = (*ALL_AT_ONCE, "--concurrency", str(bench.sizes.concurrency))
    command = (*bench.ionetctl, "enroll", str(site.inventory), "--yes", *options)
    return bench.run(*command, environ=bench.admin(), site=site).sample


def _absence(peer: Peer, build: Path) -> str | None:
    """Why a peer cannot be tried here."""
    if "/" in peer.program:
        return None if (build / peer.program).exists() else "it is not installed: see tests/bench/set_up.sh"
    return None if path_of(peer.program) else f"no {peer.program} on this machine"


def _hosts_of(bench: Bench, transfer: Transfer, peer: Peer) -> int:
    return min(transfer.hosts, bench.sizes.slow_peer_hosts) if peer.is_slow else transfer.hosts


def _task(bench: Bench, site: Fleet, transfer: Transfer, peer: Peer) -> Task:
    directory = bench.directory("peer")
    program = directory / "nomad"
    program.write_bytes(machine_code(transfer.program_bytes))
    small = [directory / f"small-{number}" for number in range(4)]
    for path in small:
        path.write_text("# a line of a configuration\n" * (SMALL_BYTES // 28))
    hosts = site.hosts[: _hosts_of(bench, transfer, peer)]
    return Task(site, hosts, program, small, directory, bench.sizes.concurrency)


def _run(bench: Bench, peer: Peer, site: Fleet, transfer: Transfer) -> Sample:
    """Have a peer do the task, and look whether it is done; what an earlier peer left is removed before.

    Raises ``BenchError`` where the peer is not here, fails, or leaves a file undone.
    """
    if reason := _absence(peer, bench.build):
        raise BenchError(reason)
    task = _task(bench, site, transfer, peer)
    for host in task.hosts:
        shutil.rmtree(host.tree / FOLDER, ignore_errors=True)
    invocation = peer.invoke(task, bench.build)
    sample = bench.run(
        *invocation.command,
        environ=invocation.environ,
        site=site,
        timeout_s=bench.sizes.peer_timeout_s,
    ).sample
    if not sample.is_cut:
        for (source, path), host in product(task.copies, task.hosts):
            if not (host.tree / path).exists() or not filecmp.cmp(source, host.tree / path, shallow=False):
                raise BenchError(f"{peer.name} has not written {path} on {host.name}")
    return sample
