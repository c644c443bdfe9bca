"""Every check reports on a fleet with a host for each condition; hosts without one are the control."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.checks import CODES
from ionetctl.lab.faults.conditions import CONDITIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, Rehearsal

SOUND: Final = 6
CLONES: Final = tuple(name for name in CONDITIONS if name.startswith("same-"))
FAULTS: Final = {
    "clock": "clock_off",
    "foreign-nomad": "foreign_nomad",
    "gpu-missing": "gpu_count_mismatch",
    "locked": "host_locked",
}
"""Fault → the code by which a survey reports it."""
ALSO: Final = {
    "clock": {"clock_apart"},
    "clock-apart": {"clock_off"},
    "gpu-remap-failed": {"gpu_memory_retired"},
    "gpu-remap-pending": {"gpu_memory_retired"},
    "memory-low": {"memory_mismatch"},
    "memory-missing": {"memory_low_for_gpus"},
    "mig-empty": {"mig_on"},
    "mig-mixed": {"mig_on"},
    "root-full": {"disk_shared_low"},
    "same-rig": {"mining_os"},
    "secure-boot": {"driver_missing"},
}
"""Condition or fault → codes of the findings that it causes besides its own."""
BY_HAND: Final = {
    "door_opens_exec",
    "door_unsupported",
    "driver_held",
    "exec_allowed",
    "host_drivers_allowed",
    "known_as_another",
    "name_taken",
    "openssl_missing",
    "reserved_gpu_unknown",
    "rig_mismatch",
}
"""Findings that depend on region or inventory too: each has a test of its own."""
NOT_REHEARSED: Final = {
    "host_key_doubled": "its hosts each have a key of their own",
    "nomad_downgrade": "its releases are of one version",
    "nat_connections": "it takes a hundred hosts that reach servers with public addresses",
}
"""Code → why no rehearsal can produce it."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A preflight over one host for each condition; ``findings`` are codes by host."""

    rehearsal: Rehearsal
    findings: dict[str, set[str]]

    def of(self, condition: str) -> list[set[str]]:
        """The codes for each host with this condition."""
        return [self.findings[host] for host, its in self.rehearsal.faults.items() if its == condition]


@pytest.fixture(scope="module")
def surveyed(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Surveyed]:
    requests = [f"{name}={2 if name in CLONES else 1}" for name in (*CONDITIONS, *FAULTS)]
    with raise_fleet(len(requests) + len(CLONES) + SOUND, *requests) as rehearsal:
        yield Surveyed(rehearsal, preflight(new_admin(), rehearsal.inventory))


def preflight(admin: Admin, inventory: Path, *options: str) -> dict[str, set[str]]:
    """Host → codes of its findings; few hosts at a time, so that no program exceeds its time limit on a busy machine."""
    ended = admin.run("preflight", str(inventory), *options, "--concurrency=6", "-o", "ndjson")
    found: defaultdict[str, set[str]] = defaultdict(set)
    for event in ended.lines:
        if event.get("type") in ("host_surveyed", "host_judged"):
            found[event["host"]] |= {finding["code"] for finding in event["findings"]}
    return dict(found)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_is_found_and_nothing_else(surveyed: Surveyed, condition: str) -> None:
    """Every host that has the condition has its finding."""
    codes = {CONDITIONS[condition].finding} | ALSO.get(condition, set())
    assert surveyed.of(condition) == [codes] * (1 + (condition in CLONES))


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_that_a_survey_can_see(surveyed: Surveyed, fault: str) -> None:
    """The survey reports them, so nothing was changed."""
    assert surveyed.of(fault) == [{FAULTS[fault]} | ALSO.get(fault, set())]


@pytest.mark.parametrize("number", range(SOUND))
def test_nothing_is_found_of_a_sound_host(surveyed: Surveyed, number: int) -> None:
    """Not even a finding of severity info."""
    assert surveyed.findings[surveyed.rehearsal.sound[number]] == set()


def test_every_check_is_rehearsed() -> None:
    """Each check has a condition, or a reason why there is none."""
    rehearsed = {condition.finding for condition in CONDITIONS.values()} | set(FAULTS.values()) | BY_HAND
    assert rehearsed.isdisjoint(NOT_REHEARSED)
    assert rehearsed | set(NOT_REHEARSED) == set(CODES)


def test_a_name_that_another_node_has(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """A host that was enrolled and has lost its client id has the finding; its neighbour has not."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        assert admin.enroll(rehearsal.inventory, f"--limit={first}").exit_code == 0
        (rehearsal.tree(first) / "opt/nomad/data/client/client-id").unlink()
        assert preflight(admin, rehearsal.inventory) == {first: {"name_taken"}, second: set()}


def test_a_machine_that_the_catalog_knows_by_another_name(
    raise_fleet: RaiseFleet, new_admin: NewAdmin
) -> None:
    """Whoever answers with the machine-id of an enrolled host is refused, with both named, though that host is not looked at."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        assert admin.enroll(rehearsal.inventory, f"--limit={first}").exit_code == 0
        machine_id = rehearsal.tree(first) / "etc/machine-id"
        (rehearsal.tree(second) / "etc/machine-id").write_text(machine_id.read_text())
        ended = admin.enroll(rehearsal.inventory, f"--limit={second}", "-o", "json")
    (host,) = ended.document["hosts"]
    assert (ended.exit_code, host["error"]["code"]) == (6, "known_as_another")
    assert host["error"]["message"].startswith(
        f"it has the machine-id ({machine_id.read_text().strip()}) of {first}"
    )


def test_hosts_whose_addresses_were_swapped(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Each is refused, and named together with the one whose key it answers with."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        one, other = re.findall(r"address: ([0-9.]+), ssh", rehearsal.inventory.read_text())
        swapped = rehearsal.edited(
            "swapped",
            (f"address: {one},", "address: X,"),
            (f"address: {other},", f"address: {one},"),
            ("address: X,", f"address: {other},"),
        )
        ended = admin.enroll(swapped, "-o", "json")
    errors = {host["name"]: host["error"] for host in ended.document["hosts"]}
    assert {error["code"] for error in errors.values()} == {"host_key_changed"}
    assert [errors[host]["message"].rpartition(" ")[2] for host in (first, second)] == [second, first]


async def test_a_clone_behind_the_same_address(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Two hosts of one address, told apart by the port: the second has the first's machine-id, and is no renamed host."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        text = rehearsal.inventory.read_text()
        (port,) = re.findall(r"user: miner, port: (\d+)", text)
        entries = re.findall(r"address: ([0-9.]+), ssh: \{", text)
        async with AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(forwarded(address, int(port))) for address in entries]
            behind = rehearsal.edited(
                "nat",
                *(
                    (f"address: {address}, ssh: {{", f"address: 127.0.0.1, ssh: {{port: {outer}, ")
                    for address, outer in zip(entries, ports, strict=True)
                ),
            )
            enrolled = await asyncio.to_thread(admin.enroll, behind, f"--limit={first}")
            machine_id = (rehearsal.tree(first) / "etc/machine-id").read_text()
            (rehearsal.tree(second) / "etc/machine-id").write_text(machine_id)
            ended = await asyncio.to_thread(admin.enroll, behind, f"--limit={second}", "-o", "json")
    (host,) = ended.document["hosts"]
    assert (enrolled.exit_code, ended.exit_code, host["error"]["code"]) == (0, 6, "known_as_another")
    assert host["error"]["message"].endswith(f" of {first} at 127.0.0.1 port {ports[0]}")


@asynccontextmanager
async def forwarded(address: str, port: int) -> AsyncIterator[int]:
    """A port of 127.0.0.1 that leads to another place, as one of a router with NAT."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(address, port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async with await asyncio.start_server(forward, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]


def test_a_clone_of_a_host_that_the_run_leaves_out(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """What the catalog noted of an enrolled host is compared although --limit leaves it out; in one run they are compared as they are."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        own, copied = (rehearsal.tree(host) / "sys/class/dmi/id/product_uuid" for host in (first, second))
        for uuid in (own, copied):
            uuid.parent.mkdir(parents=True, exist_ok=True)
            uuid.write_text("c10ec10e-c10e-c10e-c10e-c10ec10ec10e\n")
        assert admin.enroll(rehearsal.inventory, f"--limit={first}").exit_code == 0
        found = {second: {"product_uuid_doubled"}}
        assert preflight(admin, rehearsal.inventory, f"--limit={second}") == found
        own.write_text("0f7e5d3c-9b1a-4c2e-8d6f-123456789abc\n")
        assert preflight(admin, rehearsal.inventory) == {first: set(), second: set()}
        assert preflight(admin, rehearsal.inventory, f"--limit={second}") == {second: set()}


def test_held_packages_of_a_driver_that_is_to_be_changed(
    raise_fleet: RaiseFleet, new_admin: NewAdmin
) -> None:
    """They block where the inventory asks for another branch, and are nobody's business else."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        for host in rehearsal.hosts:
            (rehearsal.tree(host) / "run/lab/says/dpkg-query").write_text("hi  nvidia-driver-550\n")
        asking = (f"name: {first},", f"name: {first}, prepare: {{driver: 570}},")
        found = preflight(admin, rehearsal.edited("held", asking))
        assert found == {first: {"driver_held"}, second: set()}


def test_a_reserved_gpu_that_the_host_does_not_have(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Index 8 is an error with eight GPUs; index 7 is not."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        edited = rehearsal.edited(
            "reserved",
            (f"name: {first},", f"name: {first}, reserve: {{gpus: [8]}},"),
            (f"name: {second},", f"name: {second}, reserve: {{gpus: [7]}},"),
        )
        found = preflight(admin, edited)
        assert found == {first: {"reserved_gpu_unknown"}, second: set()}


def test_a_rig_that_the_inventory_does_not_mean(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """A host whose panel calls it otherwise is named; one that says what the inventory says is not."""
    admin = new_admin()
    with raise_fleet(2) as rehearsal:
        first, second = rehearsal.hosts
        for number, host in enumerate((first, second)):
            config = rehearsal.tree(host) / "hive-config/rig.conf"
            config.parent.mkdir()
            config.write_text(f"RIG_ID={number}\nRIG_PASSWD=s3cret\n")
        edited = rehearsal.edited(
            "rigs",
            (f"name: {first},", f"name: {first}, rig: {{id: 1}},"),
            (f"name: {second},", f"name: {second}, rig: {{id: 1}},"),
        )
        found = preflight(admin, edited)
        assert found == {first: {"mining_os", "rig_mismatch"}, second: {"mining_os"}}


def test_drivers_that_jobs_may_use_outside_of_containers(
    raise_fleet: RaiseFleet, new_admin: NewAdmin
) -> None:
    """Every host is told of them, since they are the inventory's."""
    with raise_fleet(2) as rehearsal:
        asking = ("  own_builds: true\n", "  own_builds: true\n  drivers: [docker, exec, raw_exec]\n")
        found = preflight(new_admin(), rehearsal.edited("drivers", asking))
        assert list(found.values()) == [{"exec_allowed", "host_drivers_allowed"}] * 2


def test_a_door_opens_exec_or_is_not_had(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Each host is told which: by whether its ssh-keygen checks signatures."""
    with raise_fleet(2) as rehearsal:
        able, unable = rehearsal.hosts
        for host, answer in ((able, "Too few arguments for verify"), (unable, "unknown option -- Y")):
            program = rehearsal.tree(host) / "usr/bin/ssh-keygen"
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit 255\n")
            program.chmod(0o755)
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGIn1Jv4Cd9E7zSVOX9zQpKbpNNSUv2fCkVSFnzvBf0z"
        asking = ("  own_builds: true\n", f"  own_builds: true\nmaintenance:\n  signers: [{key}]\n")
        found = preflight(new_admin(), rehearsal.edited("door", asking))
        assert found == {able: {"door_opens_exec"}, unable: {"door_unsupported"}}
