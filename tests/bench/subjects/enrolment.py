"""A first and a second ``enroll`` beside the bare program, all against the same real OpenSSH servers in the same rounds."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Final

from tests.bench.hosts import fleet, has_sshd
from tests.bench.records import Figure, LeftOut, Row, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.hosts import Fleet
    from tests.bench.records import Finding

NAME: Final = "enrolment"
TITLE: Final = "Enrolment beside the bare program"
BARE: Final = "bare asyncssh: connect, log in, 3 execs, close"
ALL_AT_ONCE: Final = ("--canary", "0", "--batch-size", "100%")


def measure(bench: Bench) -> Iterator[Finding]:
    """The bare program, our transport, ``preflight``, and both enrolments."""
    if not has_sshd():
        yield LeftOut(
            TITLE, "no sshd on this machine", ("first-enrolment", "second-enrolment", "memory-base")
        )
        return
    hosts = bench.sizes.enrolled
    found: dict[str, list[Sample]] = {}
    for _ in range(bench.sizes.rounds):
        with fleet(bench.directory("fleet"), hosts) as site:
            for name, sample in _round(bench, site):
                found.setdefault(name, []).append(sample)
    bare = Row(BARE, "asyncssh_client.py connect", found["bare"], hosts, note="without Python's start")
    yield bare
    yield Row("our transport: the same", "our_transport.py connect", found["ours"], hosts, bare, "likewise")
    enroll = f"ionetctl enroll --yes {' '.join(ALL_AT_ONCE)}"
    preflight = Row("preflight", "ionetctl preflight", found["preflight"], hosts, bare, "whole process")
    first = Row(
        "first enroll", enroll, found["first"], hosts, bare, "whole process, region and artifacts too"
    )
    second = Row("second enroll, unchanged", enroll, found["second"], hosts, bare, "whole process")
    yield from (preflight, first, second)
    detail = f"{hosts} hosts, {bench.sizes.concurrency} at once"
    yield Figure("first-enrolment", first.cpu_ratio or 0, detail)
    yield Figure("second-enrolment", second.cpu_ratio or 0, detail)
    yield Figure("memory-base", first.peak_mib * 1.048576, f"peak of the first enroll, {detail}")


def _round(bench: Bench, site: Fleet) -> Iterator[tuple[str, Sample]]:
    admin = bench.admin()
    common = ("--concurrency", str(bench.sizes.concurrency))
    enroll = (*bench.ionetctl, "enroll", str(site.inventory), "--yes", *ALL_AT_ONCE, *common)
    path = settings_file(site, bench.directory("settings"), bench.sizes.concurrency)
    yield "bare", run_program(bench, "asyncssh_client", "connect", path, site)
    yield "ours", run_program(bench, "our_transport", "connect", path, site)
    preflight = (*bench.ionetctl, "preflight", str(site.inventory), *common)
    yield "preflight", bench.run(*preflight, environ=admin, site=site).sample
    yield "first", bench.run(*enroll, environ=admin, site=site).sample
    yield "second", bench.run(*enroll, environ=admin, site=site).sample


def settings_file(
    site: Fleet, directory: Path, concurrency: int, size: int = 0, hosts: Sequence[str] | None = None
) -> Path:
    """The settings of a program of ``programs``, as a file."""
    document = {
        "addresses": hosts or [host.address for host in site.hosts],
        "port": site.port,
        "user": site.user,
        "identity": str(site.identity),
        "host_key": site.host_key,
        "concurrency": concurrency,
        "size": size,
    }
    path = directory / "settings.json"
    path.write_text(json.dumps(document))
    return path


def run_program(bench: Bench, program: str, what: str, settings: Path, site: Fleet) -> Sample:
    """Run a program of ``programs``: its own account of CPU and wall time, without Python's start; the meter's memory."""
    done = bench.run(sys.executable, "-m", f"tests.bench.programs.{program}", what, str(settings), site=site)
    return dataclasses.replace(done.sample, **json.loads(done.stdout))
