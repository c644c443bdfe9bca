"""An enrolment by worker processes: the same outcomes as by one, a worker that is killed, and where secrets are meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncssh
import pytest

if TYPE_CHECKING:
    from tests.rehearsal.conftest import NewAdmin, RaiseFleet

WORKERS: Final = ("--engine=processes", "--workers=2")
PASSPHRASE: Final = "hunter2-of-the-key"

pytestmark = pytest.mark.timeout(900)


def workers_of(coordinator: int) -> list[int]:
    """The process ids of a process's workers."""
    children = Path(f"/proc/{coordinator}/task/{coordinator}/children").read_text().split()
    return [
        int(child) for child in children if b"app.start_worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_hosts_end_as_they_do_without_workers(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Sound hosts are enrolled, and each fault has its code; again, nothing changes."""
    faults = {"auth": "auth_failed", "start-fails": "start_failed", "refused": "connection_lost"}
    with raise_fleet(6, *(f"{fault}=1" for fault in faults)) as rehearsal:
        admin = new_admin()
        inventory = rehearsal.inventory
        first = admin.enroll(inventory, "--max-failures=100%", "--timeout=20", "--diff", *WORKERS)
        again = admin.enroll(inventory, "--max-failures=100%", "--timeout=20", *WORKERS)
        codes = {
            rehearsal.faults[host["name"]]: host["error"]["code"]
            for host in first.document["hosts"]
            if host["name"] in rehearsal.faults
        }
        assert codes == faults, first.stderr
        assert {first.outcomes()[host] for host in rehearsal.sound} == {"enrolled"}
        assert {again.outcomes()[host] for host in rehearsal.sound} == {"unchanged"}, again.stderr


def test_killed_worker_loses_nothing(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Its hosts are looked at again by the one that takes its place, and all are enrolled; the coordinator says what happened."""
    with raise_fleet(4) as rehearsal:
        running = new_admin().start_enroll(rehearsal.inventory, *WORKERS)
        running.until(type="step_started", step="apply", detail="verify")
        for worker in workers_of(running.process.pid):
            os.kill(worker, signal.SIGKILL)
        ended = running.end()
        outcomes = {
            line["host"]: line["outcome"] for line in ended.lines if line.get("type") == "host_finished"
        }
        lost = [line["message"] for line in ended.lines if line.get("code") == "worker_lost"]
        assert (ended.exit_code, {each["result"] for each in outcomes.values()}) == (0, {"enrolled"}), (
            ended.stderr
        )
        assert lost
        assert [rehearsal.leftovers(host) for host in rehearsal.hosts] == [[]] * 4


def test_secrets_reach_workers_over_their_sockets_alone(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """What the owner's other programs could see of a worker has none; what they see of the coordinator has the variable."""
    with raise_fleet(2) as rehearsal:
        key = asyncssh.read_private_key(rehearsal.directory / "id_ed25519")
        key.write_private_key(rehearsal.directory / "locked", passphrase=PASSPHRASE)
        (rehearsal.directory / "locked").chmod(0o600)
        identity = "identity: ./locked, passphrase: {env: RIG_PASSPHRASE}"
        inventory = rehearsal.edited("locked", ("identity: ./id_ed25519", identity))
        running = new_admin(RIG_PASSPHRASE=PASSPHRASE).start_enroll(inventory, *WORKERS)
        running.until(type="step_started", step="apply", detail="verify")
        seen = {
            pid: b"".join(Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
            for pid in (running.process.pid, *workers_of(running.process.pid))
        }
        ended = running.end()
        assert ended.exit_code == 0, ended.stderr
        coordinator, *workers = (PASSPHRASE.encode() in text for text in seen.values())
        assert (coordinator, set(workers)) == (True, {False})
        assert PASSPHRASE not in ended.stdout + ended.stderr
