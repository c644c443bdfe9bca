"""A real systemd host with a real Nomad changed by ``ionetctl update``: no SSH, and the job on it goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core import host_paths
from tests.e2e.base_root import why_unavailable
from tests.e2e.test_maintenance import TIMEOUT_S, Door, control, door
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.site import Finished

__all__ = ["door"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

SECONDS: Final = "86399"
"""What the job's process is known by."""
JOB: Final[dict[str, Any]] = {
    "ID": "sleeper",
    "Namespace": "ionet-maintenance",
    "Type": "service",
    "Datacenters": ["*"],
    "NodePool": "all",
    "TaskGroups": [
        {
            "Name": "sleeper",
            "Count": 1,
            "Tasks": [
                {
                    "Name": "sleeper",
                    "Driver": "exec",
                    "Config": {"command": "/bin/sleep", "args": [SECONDS]},
                    "Resources": {"CPU": 20, "MemoryMB": 32},
                }
            ],
        }
    ],
}


def write(door: Door, **fields: Any) -> None:
    """The inventory with these fields of its hosts, and its door as it was."""
    maintenance = json.loads(door.site.inventory.read_text())["maintenance"]
    door.site.write(door.site.fleet.machines, **fields)
    door.site.change(maintenance=maintenance)


def update(door: Door, *options: str) -> Finished:
    return door.site.run(
        "update", str(door.site.inventory), "--yes", f"--signer={door.key}", "-o", "json", *options
    )


def process(door: Door) -> str:
    """The job's process on the host, and when it began."""
    found = door.machine.enter(
        f"pgrep -f '^/bin/sleep {SECONDS}' | xargs -r ps -o pid=,lstart= -p", check=False
    )
    return " ".join(found.stdout.split())


def test_host_is_changed_without_ssh_under_its_job(door: Door) -> None:
    """A value of its meta: planned, carried, shown by the region; the process lives, the SSH server is off, and a second run changes nothing."""
    control(door.site, "setup")
    wait_until(lambda: door.allocation() is not None, "the door's task", timeout_s=TIMEOUT_S)
    door.region.call("PUT", "/v1/jobs", {"Job": JOB})
    wait_until(lambda: process(door) != "", "the job's process", timeout_s=TIMEOUT_S)
    before, started, running = door.detail, agent(door), process(door)
    write(door, meta={"power": "updated"})
    door.machine.enter("systemctl stop ssh.socket ssh.service")
    try:
        check = update(door, "--check")
        done = update(door)
        again = update(door)
    finally:
        door.machine.enter("systemctl start ssh.service")
    assert (check.exit_code, set(check.outcomes.values())) == (9, {"skipped"}), check.stderr
    assert (done.exit_code, set(done.outcomes.values())) == (0, {"done"}), done.stdout + done.stderr
    assert set(again.outcomes.values()) == {"unchanged"}
    after = door.detail
    assert (before["Meta"]["power"], after["Meta"]["power"]) == ("one", "updated")
    assert (after["Status"], after["ID"]) == ("ready", before["ID"])
    assert after["Meta"][host_paths.STAMP_KEY] != before["Meta"][host_paths.STAMP_KEY]
    assert agent(door) != started
    assert process(door) == running
    assert door.region.call("GET", "/v1/vars?namespace=ionet-maintenance") == []
    door.machine.wait_for_ssh()
    enrolled = door.site.enroll()
    assert set(enrolled.outcomes.values()) == {"unchanged"}, enrolled.stdout


def test_update_that_cuts_the_host_off_is_put_back(door: Door) -> None:
    """The region does not confirm it, so the host restores what it had; the next update goes on from there."""
    before = door.detail["Meta"][host_paths.STAMP_KEY]
    write(door, meta={"power": "cut off"})
    document = json.loads(door.site.inventory.read_text())
    (region,) = document["regions"].values()
    servers, region["servers"] = region["servers"], ["10.77.0.1:9"]
    door.site.change(regions=document["regions"])
    failed = update(door)
    assert set(failed.codes.values()) == {"not_confirmed"}, failed.stdout + failed.stderr
    wait_until(lambda: door.detail["Status"] == "ready", "the node", timeout_s=TIMEOUT_S)
    assert door.detail["Meta"][host_paths.STAMP_KEY] == before
    region["servers"] = servers
    door.site.change(regions=document["regions"])
    assert set(update(door).outcomes.values()) == {"done"}
    assert door.detail["Meta"]["power"] == "cut off"


def agent(door: Door) -> str:
    """When the agent was started last."""
    return door.machine.enter("systemctl show -p ExecMainStartTimestampMonotonic nomad.service").stdout
