"""Stands for the maintenance door's task on a host, and for the path unit beside it: a word from the region is dropped and carried out.

What carries it out is the host's own ``maintenance.sh``; its answers become the task's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.lab.agent.agent import RpcError
from ionetctl.lab.host.rooted_path import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ionetctl.lab.agent.agent import Agent

POLL_S: Final = 1.0
WORD: Final = "region.word"


@dataclass(slots=True)
class DoorTask:
    """The task on the host with this tree; ``agent`` gives the one that runs there now, ``log`` takes what the script says."""

    tree: Path
    environment: Mapping[str, str] = field(repr=False)
    agent: Callable[[], Agent | None]
    log: Callable[[str], None] = field(repr=False)
    _seen: str = field(default="", repr=False)

    async def run(self) -> None:
        """Carry words until cancelled; nothing is carried while the host has no door or no agent."""
        while True:
            await asyncio.sleep(POLL_S)
            agent = self.agent()
            if (
                agent is None
                or not agent.is_registered
                or not self._path(host_paths.MAINTENANCE_SCRIPT).is_file()
            ):
                continue
            try:
                word = str((await agent.ask("Door.Carry", log=self._answers()))["word"])
            except RpcError:
                continue
            if word != self._seen:
                self._seen = word
                if word:
                    await self._carry_out(word)

    async def _carry_out(self, word: str) -> None:
        await self._script("prepare")
        drop = self._path(host_paths.DROP_DIR)
        (drop / ".word").write_text(word)
        (drop / ".word").rename(drop / WORD)
        await self._script("take")

    async def _script(self, verb: str) -> None:
        script = str(self._path(host_paths.MAINTENANCE_SCRIPT))
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            script,
            verb,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **self.environment,
                "PATH": f"{self.environment['LAB_AGENT_STANDINS']}:{self.environment['PATH']}",
            },
            start_new_session=True,
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        for line in said.decode(errors="replace").splitlines():
            self.log(line)

    def _answers(self) -> str:
        path = self._path(f"{host_paths.ANSWERS_DIR}/log")
        return path.read_text(errors="replace") if path.is_file() else ""

    def _path(self, path: str) -> Path:
        return locate(self.tree, path)
