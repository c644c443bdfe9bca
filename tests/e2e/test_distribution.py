"""Programs from host to host, and from a mirror, on real systemd hosts: who got what from where, and what is left behind."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.base_root import why_unavailable
from tests.e2e.machines import GATEWAY
from tests.e2e.site import Site, site_of
from tests.e2e.test_enrolment import leftovers, start_over
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machines import Fleet, Machine
    from tests.rehearsal.site import CommandResult

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

ONE_BY_ONE = ("--canary", "1", "--batch-size", "1")
PORT = 8480


@pytest.fixture(scope="module")
def site(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Six hosts of one rack, and a region."""
    with site_of(fleet, tmp_path_factory.mktemp("site")) as opened:
        yield opened


def origins(done: CommandResult) -> list[tuple[str, str | None]]:
    """Where each host's files came from, in the order of events."""
    return [(line["origin"], line["peer"]) for line in done.lines if line.get("type") == "files_obtained"]


def remains(machine: Machine) -> str:
    """What distribution must not leave behind: units, listeners, files."""
    return machine.run(
        "systemctl list-units --all --plain --no-legend 'ionet-seed-*'; ss -Hltnp | grep python3; "
        "find /var/lib/ionet/serve /var/lib/ionet/artifacts -mindepth 1 2>/dev/null; ls -d /run/ionet-seed-* 2>/dev/null; true"
    ).stdout


def test_rack_gets_its_programs_from_its_first_host(site: Site) -> None:
    """One host is pushed, the others fetch from it; all are enrolled, and nothing listens or lies there afterwards."""
    machines = site.fleet.machines
    site.write(machines, rack="a01")
    run = site.start_enroll("--distribution", "fanout", "--batch-size", "100%")
    run.until(type="files_obtained")
    seed = machines[0]
    described = seed.run("systemctl show 'ionet-seed-*' -p User -p DynamicUser -p RuntimeMaxUSec").stdout
    done = run.end()
    assert done.exit_code == 0, done.stderr
    found = origins(done)
    assert (found[0], len(found)) == (("push", None), len(machines))
    assert {origin for origin, _ in found[1:]} == {"peer"}
    assert {"DynamicUser=yes", "RuntimeMaxUSec=1h"} <= set(described.splitlines())
    assert [(remains(machine), leftovers(machine)) for machine in machines] == [("", "")] * len(machines)
    assert set(site.enroll("--distribution", "fanout").outcomes.values()) == {"unchanged"}


def test_seed_that_dies_in_the_middle_costs_its_peers_alone(site: Site) -> None:
    """Its power is cut after it has served one host: two find it gone and are pushed, then another host takes its place."""
    machines = site.fleet.machines
    start_over(site, machines)
    site.write(machines, rack="a01")
    first, second, *_, fifth, _ = (machine.name for machine in machines)
    run = site.start_enroll("--distribution", "fanout", *ONE_BY_ONE)
    try:
        run.until(type="files_obtained", host=second)
        machines[0].power_cut()
        done = run.end()
    finally:
        machines[0].boot()
        machines[0].wait_for_ssh()
    assert done.exit_code == 0, done.stderr
    push = ("push", None)
    assert origins(done) == [push, ("peer", first), push, push, push, ("peer", fifth)]
    warned = [line for line in done.lines if line.get("type") == "warned"]
    assert {line["code"] for line in warned} == {"files_not_fetched"}
    assert [remains(machine) for machine in machines[1:]] == [""] * 5


def test_hosts_fetch_from_a_mirror(site: Site) -> None:
    """A mirror serves the cache; each host fetches from it, and where it is gone, the hosts are pushed."""
    machines = site.fleet.machines[:2]
    start_over(site, site.fleet.machines)
    site.write(machines)
    document = site.inventory.read_text()
    site.inventory.write_text(
        f'{document[:-1].rstrip()}, "distribution": "mirror", "mirror": "http://{GATEWAY}:{PORT}"}}'
    )
    argv = site.argv("mirror", "serve", "--bind", GATEWAY, "--port", str(PORT), str(site.inventory))
    mirror = subprocess.Popen(
        site.fleet.controller_argv(argv), env=site.environment(), stderr=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert mirror.stderr is not None
        wait_until(
            lambda: "are served at" in (mirror.stderr.readline() if mirror.stderr else ""), "it serves"
        )
        fetched = site.start_enroll().end()
    finally:
        mirror.terminate()
        mirror.communicate(timeout=30)
    assert (fetched.exit_code, origins(fetched)) == (0, [("mirror", None)] * 2), fetched.stderr
    assert mirror.returncode == 0
    start_over(site, machines)
    pushed = site.start_enroll().end()
    assert (pushed.exit_code, origins(pushed)) == (0, [("push", None)] * 2), pushed.stderr
    assert [remains(machine) for machine in machines] == [""] * 2
