"""Stands in for systemd on one rehearsal host: loads the Nomad agent's unit, starts and stops it, keeps the journal.

Has one service, ``nomad.service``. Its unit file is read when systemd would read it: at the first start and at a
``daemon-reload``. ``systemd_commands`` has the programs by which it is controlled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.lab.agent.agent import Agent, AgentStartError, RpcError
from ionetctl.lab.agent.door_task import DoorTask
from ionetctl.lab.host.rooted_path import locate
from ionetctl.lab.host.unit_files import Unit, load_unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UNIT: Final = "nomad.service"
AGENT_PID: Final = 4242
_START_TIMEOUT_S: Final = 90.0
_JOURNAL_LINES: Final = 400
_VERSION_TIMEOUT_S: Final = 10.0
NOT_INSTALLED: Final = 5
"""The exit status of systemctl for a unit that is not loaded (LSB: program is not installed)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The exit status of a stand-in program and the lines it prints to standard output and error."""

    status: int = 0
    out: tuple[str, ...] = ()
    err: tuple[str, ...] = ()


@dataclass(slots=True)
class Supervisor:
    """The service supervisor of one host. ``active`` and ``result`` are the unit's ``ActiveState`` and ``Result``."""

    tree: Path
    address: str
    environment: Mapping[str, str] = field(repr=False)
    faults: frozenset[str] = frozenset()
    active: str = "inactive"
    result: str = "success"
    agent: Agent | None = None
    journal: deque[str] = field(default_factory=lambda: deque(maxlen=_JOURNAL_LINES), repr=False)
    loaded: Unit | None = None
    _running: asyncio.Task[None] | None = None
    _door: asyncio.Task[None] | None = None
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def mark_running(self) -> None:
        """Report the service as active without starting an agent: a Nomad that was installed by somebody else."""
        self.active = "active"
        self._update_process_entry()

    def _update_process_entry(self) -> None:
        """Add the agent to the host's ``/proc`` when it is active, remove it otherwise."""
        entry = self.tree / "proc" / str(AGENT_PID)
        if self.active == "active":
            entry.mkdir(exist_ok=True)
            (entry / "comm").write_text("nomad\n")
            command = (
                self.loaded.exec_start
                if self.loaded
                else ("/usr/bin/nomad", "agent", "-config", "/etc/nomad.d")
            )
            (entry / "cmdline").write_text("\0".join(command) + "\0")
        else:
            shutil.rmtree(entry, ignore_errors=True)

    async def close(self) -> None:
        """End the agent without deregistering it, as a power cut would."""
        if self._door is not None:
            self._door.cancel()
            await asyncio.gather(self._door, return_exceptions=True)
        await self.end_agent()

    async def answer_of_agent(self, path: str) -> Reply:
        """What the agent's own API answers on loopback; it knows its node alone, as its region shows it."""
        if self.agent is None or not path.startswith("/v1/node/"):
            return Reply(1, err=("connect:errno=111",))
        try:
            node = (await self.agent.ask("Node.GetNode"))["node"]
        except RpcError as error:
            return Reply(out=("HTTP/1.0 500 Internal Server Error", "", str(error)))
        lines = json.dumps(node, indent=0, separators=(",", ":")).splitlines()
        return Reply(out=("HTTP/1.0 200 OK", "", *lines))

    # --- the service -------------------------------------------------------------------------------------------------

    async def start(self) -> Reply:
        """Start the agent as its unit says; returns once it is ready, has failed or was stopped meanwhile."""
        async with self._starting:
            self.loaded = self.loaded or load_unit(self.tree, UNIT)
            if self.loaded is None:
                return Reply(NOT_INSTALLED, err=(f"Failed to start {UNIT}: Unit {UNIT} not found.",))
            self._stopped.clear()
            self.active = "activating"
            self._log("systemd", f"Starting {UNIT} - Nomad...")
            if "start-hangs" in self.faults:
                return await self._wait_for_stop()
            try:
                await self._start_agent(self.loaded)
            except AgentStartError as error:
                return self._fail("exit-code", str(error))
            if self._stopped.is_set():
                await self.end_agent()
                return self._canceled()
            self.active, self.result = "active", "success"
            self._update_process_entry()
            self._log("systemd", f"Started {UNIT} - Nomad.")
            return Reply()

    async def _start_agent(self, unit: Unit) -> None:
        version = await self.program_version(unit.program)
        if "start-fails" in self.faults:
            raise AgentStartError(
                "==> Error starting agent: client setup failed: failed to create nomad cgroup"
            )
        agent = Agent(
            self.tree, self.address, version, self._agent_log, has_route="no-route" not in self.faults
        )
        agent.start(unit.config_paths)
        await self.end_agent()
        self.agent = agent
        self._running = asyncio.create_task(self.run_agent(agent))
        if self._door is None and locate(self.tree, host_paths.MAINTENANCE_SCRIPT).is_file():
            # It outlives the agent, as a task does, and what it has started may restart the agent.
            task = DoorTask(self.tree, self.environment, lambda: self.agent, self._door_log)
            self._door = asyncio.create_task(task.run())

    async def run_agent(self, agent: Agent) -> None:
        """Keep the agent's node registered, until cancelled."""
        await agent.run()

    async def program_version(self, program: str) -> str:
        """The version that the unit's program prints; raises ``AgentStartError`` where it is missing or broken."""
        path = locate(self.tree, program)
        if not path.is_file() or not os.access(path, os.X_OK):
            raise AgentStartError(
                f"{UNIT}: Failed at step EXEC spawning {program}: No such file or directory"
            )
        process = await asyncio.create_subprocess_exec(
            path, "version", stdout=-1, stderr=-3, env=dict(self.environment)
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _VERSION_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            raise AgentStartError(f"{UNIT}: start operation timed out. Terminating.") from None
        match = re.match(rb"Nomad v(\S+)", output)
        if process.returncode != 0 or match is None:
            raise AgentStartError(f"{UNIT}: Main process exited, code=exited, status={process.returncode}")
        return match.group(1).decode()

    async def _wait_for_stop(self) -> Reply:
        """A start that never becomes ready: fails after ``TimeoutStartSec``, or is cancelled by a stop."""
        try:
            await asyncio.wait_for(self._stopped.wait(), _START_TIMEOUT_S)
        except TimeoutError:
            return self._fail("timeout", f"{UNIT}: start operation timed out. Terminating.")
        return self._canceled()

    def _canceled(self) -> Reply:
        """What a start says that a stop has overtaken."""
        self.active = "inactive"
        return Reply(1, err=(f"Job for {UNIT} canceled.",))

    def _fail(self, result: str, reason: str) -> Reply:
        self.active, self.result = "failed", result
        self._update_process_entry()
        for line in reason.splitlines():
            self._agent_log(line)
        self._log("systemd", f"{UNIT}: Main process exited, code=exited, status=1/FAILURE")
        self._log("systemd", f"{UNIT}: Failed with result '{result}'.")
        hint = f'See "systemctl status {UNIT}" and "journalctl -xeu {UNIT}" for details.'
        cause = (
            "a timeout was exceeded" if result == "timeout" else "the control process exited with error code"
        )
        return Reply(1, err=(f"Job for {UNIT} failed because {cause}.", hint))

    async def stop(self) -> Reply:
        """Stop the agent, whether it runs or is still starting."""
        self._stopped.set()
        if load_unit(self.tree, UNIT) is None and self.active == "inactive":
            return Reply(NOT_INSTALLED, err=(f"Failed to stop {UNIT}: Unit {UNIT} not loaded.",))
        await self.end_agent()
        self.active = "inactive"
        self._update_process_entry()
        self._log("systemd", f"Stopped {UNIT} - Nomad.")
        return Reply()

    async def end_agent(self) -> None:
        """End the agent without deregistering its node."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        self._running = self.agent = None

    # --- the journal -------------------------------------------------------------------------------------------------

    def _door_log(self, line: str) -> None:
        self._log("ionet-maintenance", line)

    def _agent_log(self, line: str) -> None:
        self._log("nomad", line)

    def _log(self, who: str, line: str) -> None:
        """Append a line to the journal, in the format of journalctl's ``short`` output."""
        when = datetime.now(UTC).strftime("%b %d %H:%M:%S")
        process = 1 if who == "systemd" else AGENT_PID
        self.journal.append(f"{when} {self.tree.name} {who}[{process}]: {line}")
