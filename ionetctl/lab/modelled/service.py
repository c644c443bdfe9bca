"""The agent's service on a modelled host: the rehearsal's supervisor and agent, on a file tree that exists while they need one.

The tree is written before the configuration is validated, and removed once the agent is registered: a resting host has no files.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.host_paths import INTRODUCTION_TOKEN, STATE_DIR
from ionetctl.lab.agent.agent import Agent, AgentStartError, pause_before_retry
from ionetctl.lab.host.supervisor import UNIT, Supervisor
from ionetctl.lab.host.unit_files import load_unit
from ionetctl.lab.modelled.host_files import HostFiles, text_file
from ionetctl.lab.modelled.payload_reader import version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.lab.modelled.shared_heartbeats import Heartbeats

_KEPT_STATE: Final = ("client-id", "secret-id", "state.db")


@dataclass(slots=True)
class ModelledService(Supervisor):
    """The supervisor of one modelled host. ``system_files`` gives what its agent reads besides ``files``.

    ``files`` is set before every start. ``is_enabled`` is whether a boot would start the service.
    """

    heartbeats: Heartbeats = field(kw_only=True, repr=False)
    system_files: Callable[[], dict[str, bytes]] = field(kw_only=True, repr=False)
    files: HostFiles = field(default_factory=HostFiles, repr=False)
    is_enabled: bool = False
    _node_id: str = ""

    def write_tree(self, files: HostFiles) -> None:
        """Write the host's tree as it is with these files."""
        self.remove_tree()
        for path, content in self.system_files().items():
            target = self.tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        files.write_tree(self.tree)

    def update_tree(self, files: HostFiles) -> None:
        """As ``write_tree``, where the tree may be there already: the files are, all but the token."""
        if not self.tree.is_dir():
            self.write_tree(files)
        elif token := files.files.get(INTRODUCTION_TOKEN):
            HostFiles({INTRODUCTION_TOKEN: token}).write_tree(self.tree)

    def reload(self) -> None:
        """Read the unit anew (``systemctl daemon-reload``)."""
        self.loaded = load_unit(self.tree, UNIT)

    def remove_tree(self) -> None:
        """Remove the tree again."""
        shutil.rmtree(self.tree, ignore_errors=True)

    def keep_state(self) -> None:
        """Take what the agent has saved into the host's files."""
        for name in _KEPT_STATE:
            path = self.tree / STATE_DIR[1:] / name
            if path.is_file():
                self.files.files[f"{STATE_DIR}/{name}"] = text_file(path.read_bytes())

    async def program_version(self, program: str) -> str:
        """The version of the unit's program; raises ``AgentStartError`` where it is missing or none."""
        file = self.files.resolved(program)
        if file is None or file.program is None:
            raise AgentStartError(
                f"{UNIT}: Failed at step EXEC spawning {program}: No such file or directory"
            )
        version = version_of(file.program)
        if not version:
            raise AgentStartError(f"{UNIT}: Main process exited, code=exited, status=1")
        return version

    async def run_agent(self, agent: Agent) -> None:
        """Register the agent, and leave its heartbeats to the others'."""
        delay_s = await agent.register()
        self.keep_state()
        self.remove_tree()
        self.agent = self._running = None
        self._node_id = agent.registration.node_id
        self.heartbeats.add(agent, delay_s, self._register_again)

    def _register_again(self, reason: str) -> None:
        self._agent_log(f"client: error heartbeating. retrying: error={reason!r}")
        self._running = asyncio.create_task(self._restart_agent())

    async def _restart_agent(self) -> None:
        """Start the agent anew, as after a connection that was lost: its node registers with what it has saved."""
        await pause_before_retry()
        unit = self.loaded
        if unit is None:
            return
        self.write_tree(self.files)
        version = await self.program_version(unit.program)
        has_route = "no-route" not in self.faults
        agent = Agent(self.tree, self.address, version, self._agent_log, has_route)
        agent.start(unit.config_paths)
        await self.run_agent(agent)

    async def end_agent(self) -> None:
        """End the agent without deregistering its node."""
        self.heartbeats.remove(self._node_id)
        await Supervisor.end_agent(self)
