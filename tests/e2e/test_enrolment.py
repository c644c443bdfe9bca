"""Real systemd hosts with OpenSSH, enrolled as a site would: first time, again, with faults, and after a power cut.

Where a real Nomad is at hand, region and clients are real ones; else the rehearsal's region and agent stand in.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.base_root import why_unavailable
from tests.e2e.held_host import HeldHost
from tests.e2e.machines import Fleet
from tests.e2e.real_region import Address, RealRegion, nomad_binary
from tests.e2e.region_api import RegionApi
from tests.e2e.site import NOMAD_VERSION, Site, write_release
from tests.e2e.standin_nomad import build
from tests.e2e.standin_region import StandInRegion
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.e2e.machines import Machine
    from tests.rehearsal.site import CommandResult

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

HOSTS = 6
STEPS = ["receive", "verify", "validate", "token", "backup", "install", "switch", "start", "node", "finish"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Six hosts that nobody has touched."""
    with Fleet(HOSTS, tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture(scope="module", params=["stand-in", "real"])
def site(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site of those hosts, with a region of its own; the hosts are wiped of the site before."""
    directory = tmp_path_factory.mktemp("site")
    address = Address("10.77.0.1", prefix=("ip", "netns", "exec", fleet.bridge_namespace))
    if request.param == "real":
        program = nomad_binary()
        if program is None:
            pytest.skip("no real Nomad: put one on PATH, or name it in IONETCTL_TEST_NOMAD")
        region: RealRegion | StandInRegion = RealRegion(program, directory / "region", address)
        release = Path(program)
    else:
        region = StandInRegion(directory / "region", address)
        release = build(NOMAD_VERSION, directory / "nomad")
    write_release(directory / "mirror", "nomad", NOMAD_VERSION, release)
    for machine in fleet.machines:
        wipe(machine)
    with region:
        yield Site(fleet, region, directory)


def wipe(machine: Machine) -> None:
    """Make a host as if nobody had ever enrolled it."""
    machine.run(
        "systemctl disable --now nomad.service 2>/dev/null; umount -R /opt/nomad/data/alloc 2>/dev/null; rm -rf /etc/nomad.d "
        "/opt/nomad /var/lib/ionet /usr/local/bin/nomad /etc/systemd/system/nomad.service; systemctl daemon-reload"
    )


def start_over(site: Site, machines: Sequence[Machine]) -> None:
    """Wipe hosts, and have the region forget all nodes: a name that another node bears would be refused."""
    for machine in site.fleet.machines:
        machine.run("systemctl stop nomad.service 2>/dev/null; true")
    for machine in machines:
        wipe(machine)
    region_api(site).purge_nodes()


def region_api(site: Site) -> RegionApi:
    """The region, asked with the admin's token."""
    prefix = ("ip", "netns", "exec", site.fleet.bridge_namespace)
    return RegionApi("10.77.0.1", 4646, f"server.{site.region.name}.nomad", site.region.directory, prefix)


def stamps(machine: Machine) -> str:
    """What tells whether a host was touched: its files' times and its agent's start."""
    return machine.run(
        "find /etc/nomad.d /opt/nomad/releases /var/lib/ionet /etc/systemd/system/nomad.service -printf '%p %T@ %C@\\n' "
        "| sort; systemctl show -p ExecMainStartTimestampMonotonic nomad.service"
    ).stdout


def leftovers(machine: Machine) -> str:
    """What an apply must not leave behind."""
    return machine.run(
        "ls -d /var/lib/ionet/staging /var/lib/ionet/lock /var/lib/ionet/pending /var/lib/ionet/rollback "
        "/opt/nomad/data/client/intro_token.jwt 2>/dev/null; find / -xdev -name '*.ionet-new' 2>/dev/null; true"
    ).stdout


def test_fleet_is_enrolled_and_stays_as_it_is(site: Site) -> None:
    """Bare hosts become registered clients; a second run finds nothing to do, touches nothing and restarts nothing."""
    machines = site.fleet.machines
    site.write(machines)
    first = site.enroll("--batch-size", "100%")
    assert (first.exit_code, set(first.outcomes.values())) == (0, {"enrolled"}), first.stderr
    ids = {host["node_id"] for host in first.document["hosts"]}
    assert {machine.read("/opt/nomad/data/client/client-id") for machine in machines} == ids
    if isinstance(site.region, RealRegion):
        printed = site.region.node_status()
        assert {line.split()[0] for line in printed.splitlines()[1:]} == ids
    before = [stamps(machine) for machine in machines]
    second = site.enroll()
    assert (second.exit_code, set(second.outcomes.values())) == (0, {"unchanged"}), second.stderr
    assert [stamps(machine) for machine in machines] == before
    assert [leftovers(machine) for machine in machines] == [""] * HOSTS
    status = site.run("status", "-o", "json")
    assert json.loads(status.stdout)["summary"]["ready"] == HOSTS
    assert site.run("verify", str(site.inventory)).exit_code == 0


def test_edited_file_is_all_that_changes(site: Site) -> None:
    """What a host has is read off the host: with the catalog gone, one edited file is one change."""
    edited = site.fleet.machines[2]
    edited.run("sed -i 's/INFO/DEBUG/; $ a # by hand' /etc/nomad.d/docker.hcl")
    for path in (site.directory / "state").glob("catalog*"):
        path.unlink()
    check = site.run("enroll", str(site.inventory), "--check", "-o", "json")
    done = site.enroll()
    assert (check.exit_code, done.exit_code) == (9, 0), done.stderr
    assert {name for name, outcome in done.outcomes.items() if outcome == "enrolled"} == {edited.name}


def test_faulty_hosts_end_each_in_its_own_way(site: Site) -> None:
    """One host off, one with a foreign Nomad, one with a full disk: the others are enrolled all the same."""
    off, foreign, full, *others = site.fleet.machines
    start_over(site, site.fleet.machines)
    off.unplug()
    foreign.run(
        "printf '[Service]\\nExecStart=/bin/sleep 600\\n' > /etc/systemd/system/nomad.service && systemctl daemon-reload && "
        "systemctl start nomad.service"
    )
    full.fill_disk(free_mib=20)
    site.write(site.fleet.machines, ssh={"user": "miner", "identity": str(site.fleet.identity)})
    try:
        done = site.enroll("--canary", "0", "--max-failures", "100%", "--timeout", "20")
        refused = dict(done.codes)
        taken_over = site.enroll("--takeover", "--limit", foreign.name)
    finally:
        off.plug()
        full.empty_disk()
    assert done.exit_code == 5, done.stderr
    assert refused == {
        off.name: refused[off.name],
        foreign.name: "foreign_nomad",
        full.name: "disk_low",
    }
    assert done.outcomes == {
        off.name: "unreachable",
        foreign.name: "failed",
        full.name: "failed",
        **{machine.name: "enrolled" for machine in others},
    }
    assert taken_over.outcomes == {foreign.name: "enrolled"}, taken_over.stderr
    healed = site.enroll()
    assert (healed.exit_code, set(healed.outcomes.values())) == (0, {"enrolled", "unchanged"}), healed.stderr


@pytest.mark.parametrize("step", STEPS)
def test_controller_killed_in_the_middle_converges(site: Site, step: str) -> None:
    """Killed without a word at any step, the same command converges, and nothing is left behind."""
    machine = site.fleet.machines[3]
    start_over(site, [machine])
    site.write([machine])
    run = site.start_enroll()
    run.until(type="step_started", detail=step)
    run.kill()
    done = site.enroll("--timeout", "60")
    assert (done.exit_code, leftovers(machine)) == (0, ""), done.stderr
    assert site.enroll().outcomes == {machine.name: "unchanged"}


@pytest.mark.parametrize("step", ["install", "start", "node"])
def test_power_cut_in_the_middle_converges(site: Site, step: str) -> None:
    """A host that loses its power in the middle of an apply is whole after the next one."""
    machine = site.fleet.machines[4]
    start_over(site, [machine])
    site.write([machine])
    run = site.start_enroll("--timeout", "10")
    run.until(type="step_started", detail=step)
    machine.power_cut()
    machine.boot()
    run.end()
    machine.wait_for_ssh()
    machine.run("systemctl is-system-running --wait", check=False)
    done = site.enroll()
    assert (done.exit_code, leftovers(machine)) == (0, ""), done.stderr


def endings(done: CommandResult) -> dict[str, tuple[str, str | None]]:
    """Each host's outcome and the code of its error, by the events."""
    outcomes = {line["host"]: line["outcome"] for line in done.lines if line.get("type") == "host_finished"}
    return {
        host: (outcome["result"], (outcome["problem"] or {}).get("code"))
        for host, outcome in outcomes.items()
    }


def test_token_that_dies_in_mid_rollout_stops_the_regions_waves(site: Site) -> None:
    """It is revoked after the canary, while a host of the second wave is at work: nothing is changed there or after it."""
    canary, held, *later = machines = site.fleet.machines[:4]
    start_over(site, machines)
    site.write(machines)
    try:
        with HeldHost(held) as hold:
            run = site.start_enroll("--canary", "1", "--batch-size", "1")
            run.until(type="step_started", host=held.name, detail="receive")
            site.region.revoke_token()
            wait_until(lambda: not answers(site), "the token is refused")
            hold.release()
            done = run.end()
    finally:
        site.region.renew_token()
    wait_until(lambda: answers(site), "the new token is taken")
    lost = ("skipped", "region_forbidden")
    assert endings(done) == {
        canary.name: ("enrolled", None),
        **{machine.name: lost for machine in (held, *later)},
    }, done.stderr
    problems = [line["outcome"]["problem"] for line in done.lines if line.get("type") == "host_finished"]
    assert all(problem["message"].startswith(f"region {site.region.name}: ") for problem in problems[1:])
    begun = {line["host"] for line in done.lines if line.get("step") == "apply"}
    assert (done.exit_code, begun) == (8, {canary.name, held.name})
    assert [installed(machine) for machine in (held, *later)] == [""] * 3


def answers(site: Site) -> bool:
    """Whether the region takes the admin's token."""
    try:
        region_api(site).call("GET", "/v1/nodes")
    except RuntimeError:
        return False
    return True


def installed(machine: Machine) -> str:
    """What an apply installs, or leaves behind; the folder of the host's lock stays with its count, and what the next one need not be sent again."""
    return machine.run(
        "find /etc/nomad.d /opt/nomad /etc/systemd/system/nomad.service /usr/local/bin/nomad /var/lib/ionet "
        "! -path /var/lib/ionet ! -path /var/lib/ionet/fence ! -path '/var/lib/ionet/artifacts*' 2>/dev/null; true"
    ).stdout


def test_second_controller_looks_again_after_the_first(site: Site) -> None:
    """With other records it knows of the first by the host's lock alone: it waits, and its old plan is not carried out."""
    other, contested = machines = site.fleet.machines[:2]
    start_over(site, machines)
    site.write(machines)
    with HeldHost(other) as hold_other, HeldHost(contested) as hold_contested:
        second = site.start_enroll("--canary", "1", "--max-failures", "100%")
        second.until(type="step_started", host=other.name, detail="receive")  # its plan of both is made
        first = site.start_enroll("--limit", contested.name, "--state-dir", str(site.directory / "first"))
        first.until(type="step_started", host=contested.name, detail="receive")  # it has the lock
        before = commands_as_root(contested)
        hold_other.release()
        # The second command over the same connection: the first one, a survey, has seen the lock.
        wait_until(lambda: commands_as_root(contested) >= before + 2, "the second one waits", timeout_s=120)
        second.signal(signal.SIGSTOP)
        try:
            hold_contested.release()
            done_first = first.end()
            after_first = stamps(contested)
        finally:
            second.signal(signal.SIGCONT)
        done_second = second.end()
    assert (done_first.exit_code, endings(done_first)) == (0, {contested.name: ("enrolled", None)})
    assert endings(done_second) == {
        other.name: ("enrolled", None),
        contested.name: ("failed", "host_changed"),
    }, done_second.stderr
    assert (done_second.exit_code, stamps(contested)) == (7, after_first)


def commands_as_root(machine: Machine) -> int:
    """How many commands sudo has run there."""
    return int(machine.run("journalctl -o cat _COMM=sudo | grep -c ' COMMAND='; true").stdout)
