"""Jobs as a tenant submits them to a real region: one task on one host, tried once; and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.machines import Machine
    from tests.e2e.real_region import RealRegion

DEADLINE_S: Final = 180.0
ALLOCATIONS: Final = "opt/nomad/data/alloc"
SECOND_NS: Final = 1_000_000_000


def says(script: str, **task: Any) -> dict[str, Any]:
    """A task that runs a shell script outside of containers."""
    return {"Config": {"command": "/bin/sh", "args": ["-c", script]}, **task}


def has_changed(script: str, then: str, **config: Any) -> dict[str, Any]:
    """A task whose template has Nomad run ``script`` once ``Tenant.change`` was called, and which does ``then`` after that.

    The script's own output is in ``/alloc/data/script``.
    """
    whole = f"{{ {script}\n}} >/alloc/data/script 2>&1; touch /alloc/data/done"
    template = {
        "EmbeddedTmpl": '{{ with nomadVar (printf "nomad/jobs/%s" (env "NOMAD_JOB_ID")) }}{{ .word }}{{ end }}',
        "DestPath": "local/word",
        "ChangeMode": "script",
        "ChangeScript": {"Command": "/bin/sh", "Args": ["-c", whole], "Timeout": 20 * SECOND_NS},
        "Wait": {"Min": SECOND_NS, "Max": 2 * SECOND_NS},
    }
    waiting = "echo waits; until [ -e /alloc/data/done ]; do sleep 1; done; cat /alloc/data/script; " + then
    task = says(waiting, Templates=[template])
    return {**task, "Config": {**task["Config"], **config}}


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whoever may submit jobs to a region, and has them run on one host of it."""

    region: RealRegion
    machine: Machine

    def submit(self, name: str, task: Mapping[str, Any]) -> None:
        """Submit a job of one task, which is tried once, with a variable of its own."""
        group = {
            "Name": "g",
            "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
            "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
            "Tasks": [{"Name": "t", "Driver": "exec", "Resources": {"CPU": 50, "MemoryMB": 64}, **task}],
        }
        here = {"LTarget": "${node.unique.name}", "RTarget": self.machine.name, "Operand": "="}
        job = {
            "ID": self._id(name),
            "Name": self._id(name),
            "Type": "batch",
            "Datacenters": ["*"],
            "NodePool": "gpu",
            "Constraints": [here],
            "TaskGroups": [group],
        }
        self._write_word(name, "first")
        self.region.call("POST", "/v1/jobs", {"Job": job})

    def change(self, name: str) -> None:
        """Once the task runs, have its template's script run."""
        wait_until(lambda: "waits" in self._printed(name), f"{name} runs", timeout_s=DEADLINE_S)
        self._write_word(name, "second")

    def outcome(self, name: str) -> str:
        """What the task printed, what happened to it, or why it was placed nowhere."""
        found: list[str] = []

        def is_over() -> bool:
            found[:] = [*self._unplaced(name), *self._ended(name)]
            return bool(found)

        wait_until(is_over, f"{name} ends on {self.machine.name}", timeout_s=DEADLINE_S)
        return "\n".join(found)

    def _id(self, name: str) -> str:
        return f"{name}-{self.machine.name}"

    def _write_word(self, name: str, word: str) -> None:
        path = f"nomad/jobs/{self._id(name)}"
        self.region.call("PUT", f"/v1/var/{path}", {"Path": path, "Items": {"word": word}})

    def _allocations(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.region.call("GET", f"/v1/job/{self._id(name)}/allocations")
        return found

    def _unplaced(self, name: str) -> list[str]:
        evaluations = self.region.call("GET", f"/v1/job/{self._id(name)}/evaluations")
        failures = [each for one in evaluations for each in (one.get("FailedTGAllocs") or {}).values()]
        return [f"unplaced: {failure['ConstraintFiltered']}" for failure in failures]

    def _ended(self, name: str) -> list[str]:
        ended = [each for each in self._allocations(name) if each["ClientStatus"] in {"complete", "failed"}]
        states = [state for each in ended for state in (each["TaskStates"] or {}).values()]
        events = [event["DisplayMessage"] for state in states for event in state["Events"]]
        return [self._printed(name), *events] if ended else []

    def _printed(self, name: str) -> str:
        folders = [self.machine.root / ALLOCATIONS / each["ID"] for each in self._allocations(name)]
        logs = [log for folder in folders for log in sorted(folder.glob("alloc/logs/t.std*.0"))]
        return "".join(log.read_text(errors="replace") for log in logs)
