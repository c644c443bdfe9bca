"""What ``systemctl``, ``journalctl`` and ``nomad config validate`` do, print and exit with on a rehearsal host.

Translates arguments into calls of the supervisor, and its state into output and exit status as the original programs
have them (systemctl(1), journalctl(1)). Options that ionetctl does not use are ignored.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.lab.agent.config import validate_config
from ionetctl.lab.host.rooted_path import locate
from ionetctl.lab.host.standin_files import SYSTEMD_FILE, UNITS_DIR
from ionetctl.lab.host.supervisor import AGENT_PID, NOT_INSTALLED, UNIT, Reply, Supervisor
from ionetctl.lab.host.unit_files import load_unit

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.lab.host.unit_files import Unit

_NO_SUCH_UNIT: Final = 4
_NOT_ACTIVE: Final = 3
LINKS_DIR: Final = "/etc/systemd/system"
_SUB_STATES: Final = {"active": "running", "activating": "start", "failed": "failed"}
_Verb = Callable[[frozenset[str]], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class OtherUnits:
    """Units besides Nomad's, on the host with this tree: they run nothing, and are enabled and started as their files are."""

    tree: Path
    _active: set[str] = field(default_factory=set)

    def run(self, verb: str, name: str) -> Reply:
        """Do what the verb says; without a unit file as systemctl does for a unit that nobody installed."""
        if verb == "stop" and self._end_transient(name):
            return Reply()
        unit, is_active = load_unit(self.tree, name), name in self._active
        if verb in {"is-active", "is-failed"}:
            is_so = is_active and verb == "is-active"
            return Reply(0 if is_so else _NO_SUCH_UNIT, out=("active" if is_active else "inactive",))
        if verb == "show":
            return Reply(out=(f"LoadState={'loaded' if unit else 'not-found'}",))
        if unit is None:
            return _not_installed(verb, name)
        return self._change(verb, name, unit)

    def close(self) -> None:
        """End what ``systemd-run`` has started."""
        for path in self.tree.glob(f"{UNITS_DIR}/*"):
            self._end_transient(path.name)

    def _end_transient(self, name: str) -> bool:
        """End a unit that ``systemd-run`` has started; whether there was one of that name."""
        path = self.tree / UNITS_DIR / name
        try:
            process = int(path.read_text())
        except (OSError, ValueError):
            return False
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
        path.unlink()
        shutil.rmtree(self.tree / "run" / name.removesuffix(".service"), ignore_errors=True)
        return True

    def _change(self, verb: str, name: str, unit: Unit) -> Reply:
        links = _links_to(self.tree, name)
        match verb:
            case "is-enabled":
                return Reply(0 if links else 1, out=("enabled" if links else "disabled",))
            case "start" | "restart":
                self._active.add(name)
            case "stop":
                self._active.discard(name)
            case "disable":
                for link in links:
                    link.unlink()
            case "enable":
                for target in unit.wanted_by:
                    link = locate(self.tree, f"{LINKS_DIR}/{target}.wants") / name
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.unlink(missing_ok=True)
                    link.symlink_to(unit.fragment)
            case _:
                return Reply(NOT_INSTALLED, err=(f"Failed to {verb} {name}: not rehearsed.",))
        return Reply()


def _links_to(tree: Path, name: str) -> list[Path]:
    """The links that enable a unit."""
    directories = locate(tree, LINKS_DIR).glob("*.wants")
    return [path / name for path in directories if (path / name).is_symlink()]


def _not_installed(verb: str, name: str) -> Reply:
    if verb == "is-enabled":
        return Reply(1, err=(f"Failed to get unit file state for {name}: No such file or directory",))
    return Reply(NOT_INSTALLED, err=(f"Failed to {verb} {name}: Unit {name} not found.",))


@dataclass(frozen=True, slots=True)
class SystemdCommands:
    """The programs of one host that call its supervisor."""

    supervisor: Supervisor
    others: OtherUnits

    @property
    def _tree(self) -> Path:
        return self.supervisor.tree

    async def run(self, program: str, arguments: list[str]) -> Reply:
        """Do what ``program`` does with these arguments; returns its output and exit status."""
        if program == "agent-api":
            return await self.supervisor.answer_of_agent(arguments[0])
        if program == "journalctl":
            return self._journalctl(arguments)
        if program == "nomad-config-validate":
            version, path = arguments
            status, lines = validate_config(self._tree, path or "/etc/nomad.d", version)
            return Reply(status, out=tuple(lines))
        return await self._systemctl(arguments)

    async def _systemctl(self, arguments: list[str]) -> Reply:
        options = frozenset(each for each in arguments if each.startswith("-"))
        if "--version" in options:
            return Reply(out=(f"systemd {(self._tree / SYSTEMD_FILE).read_text().strip()}",))
        verb, *names = [each for each in arguments if not each.startswith("-")] or [""]
        if names and _is_unit(names[-1]) and _unit_name(names[-1]) != UNIT:
            return self.others.run(verb, _unit_name(names[-1]))
        if verb == "show":
            return self._show(arguments)
        action = self._verbs().get(verb)
        if action is None:
            return Reply(1, err=(f"Unknown command verb {verb}.",))
        return await action(options)

    def _verbs(self) -> dict[str, _Verb]:
        return {
            "cat": self._cat,
            "daemon-reload": self._daemon_reload,
            "disable": self._disable,
            "enable": self._enable,
            "is-active": self._is_active,
            "is-enabled": self._is_enabled,
            "is-failed": self._is_failed,
            "is-system-running": self._is_system_running,
            "kill": self._stop,
            "reload": self._reload,
            "reload-or-restart": self._restart,
            "reset-failed": self._reset_failed,
            "restart": self._restart,
            "start": self._start,
            "status": self._status,
            "stop": self._stop,
            "try-restart": self._restart,
        }

    async def _daemon_reload(self, _: frozenset[str]) -> Reply:
        self.supervisor.loaded = load_unit(self._tree, UNIT)
        return Reply()

    async def _is_system_running(self, _: frozenset[str]) -> Reply:
        return Reply(out=("running",))

    async def _is_active(self, options: frozenset[str]) -> Reply:
        return self._state_is("active", options)

    async def _is_failed(self, options: frozenset[str]) -> Reply:
        return self._state_is("failed", options)

    def _state_is(self, wanted: str, options: frozenset[str]) -> Reply:
        active = self.supervisor.active
        return Reply(0 if active == wanted else _NOT_ACTIVE, out=() if _is_quiet(options) else (active,))

    async def _is_enabled(self, options: frozenset[str]) -> Reply:
        if load_unit(self._tree, UNIT) is None:
            return Reply(1, err=(f"Failed to get unit file state for {UNIT}: No such file or directory",))
        is_enabled = bool(_links_to(self._tree, UNIT))
        state = "enabled" if is_enabled else "disabled"
        return Reply(0 if is_enabled else 1, out=() if _is_quiet(options) else (state,))

    async def _enable(self, options: frozenset[str]) -> Reply:
        unit = load_unit(self._tree, UNIT)
        if unit is None:
            return Reply(1, err=(f"Failed to enable unit: Unit file {UNIT} does not exist.",))
        lines = []
        for target in unit.wanted_by:
            link = locate(self._tree, f"{LINKS_DIR}/{target}.wants") / UNIT
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(unit.fragment)
                lines.append(f"Created symlink {LINKS_DIR}/{target}.wants/{UNIT} → {unit.fragment}.")
        self.supervisor.loaded = unit  # it ends with a daemon-reload, whether or not a link was made
        return await self._start(options) if "--now" in options else Reply(err=tuple(lines))

    async def _disable(self, options: frozenset[str]) -> Reply:
        for link in _links_to(self._tree, UNIT):
            link.unlink()
        return await self.supervisor.stop() if "--now" in options else Reply()

    async def _start(self, _: frozenset[str]) -> Reply:
        return Reply() if self.supervisor.active == "active" else await self.supervisor.start()

    async def _restart(self, _: frozenset[str]) -> Reply:
        await self.supervisor.stop()
        return await self.supervisor.start()

    async def _stop(self, _: frozenset[str]) -> Reply:
        return await self.supervisor.stop()

    async def _reset_failed(self, _: frozenset[str]) -> Reply:
        if self.supervisor.active == "failed":
            self.supervisor.active = "inactive"
        return Reply()

    async def _reload(self, _: frozenset[str]) -> Reply:
        return Reply() if self.supervisor.active == "active" else Reply(1, err=(f"{UNIT} is not active.",))

    async def _status(self, _: frozenset[str]) -> Reply:
        active = self.supervisor.active
        lines = (f"● {UNIT}", f"     Active: {active}", *list(self.supervisor.journal)[-10:])
        return Reply(0 if active == "active" else _NOT_ACTIVE, out=lines)

    async def _cat(self, _: frozenset[str]) -> Reply:
        unit = load_unit(self._tree, UNIT)
        if unit is None:
            return Reply(1, err=(f"No files found for {UNIT}.",))
        return Reply(out=(f"# {unit.fragment}", *unit.text.splitlines()))

    def _show(self, arguments: list[str]) -> Reply:
        """``-p A,B``, ``-pA``, ``--property=A`` or ``--property A``, each as often as given; all properties without any."""
        joined = "\n".join(arguments)
        names = re.findall(r"(?:^|\n)(?:-p\n?|--property[=\n])([A-Za-z,]+)", joined)
        wanted = [name for group in names for name in group.split(",")]
        values = self._properties()
        chosen = [(name, values.get(name, "")) for name in (wanted or values)]
        values_only = "--value" in arguments
        return Reply(out=tuple(value if values_only else f"{name}={value}" for name, value in chosen))

    def _properties(self) -> dict[str, str]:
        unit, supervisor = load_unit(self._tree, UNIT), self.supervisor
        process = str(AGENT_PID if supervisor.active == "active" else 0)
        needs_reload = unit is not None and supervisor.loaded is not None and unit != supervisor.loaded
        return {
            "LoadState": "loaded" if unit else "not-found",
            "ActiveState": supervisor.active,
            "SubState": _SUB_STATES.get(supervisor.active, "dead"),
            "UnitFileState": "enabled" if _links_to(self._tree, UNIT) else "disabled" if unit else "",
            "FragmentPath": unit.fragment if unit else "",
            "ExecStart": " ".join(unit.exec_start) if unit else "",
            "MainPID": process,
            "ExecMainPID": process,
            "ExecMainStatus": "0" if supervisor.result == "success" else "1",
            "Result": supervisor.result,
            "NRestarts": "0",
            "NeedDaemonReload": "yes" if needs_reload else "no",
        }

    def _journalctl(self, arguments: list[str]) -> Reply:
        joined = " ".join(arguments)
        number = re.search(r"(?:-n\s*|--lines[= ])(\d+)", joined)
        lines = (
            list(self.supervisor.journal)[-int(number.group(1)) :]
            if number
            else list(self.supervisor.journal)
        )
        if re.search(r"(?:-o\s*|--output[= ])cat", joined):
            lines = [line.split("]: ", 1)[1] for line in lines]
        return Reply(out=tuple(lines))


def _is_quiet(options: frozenset[str]) -> bool:
    return bool(options & {"-q", "--quiet"})


def _is_unit(name: str) -> bool:
    """Whether this is a unit's name, rather than the value of an option (``show -p A,B``)."""
    return "." in name or not name[:1].isupper()


def _unit_name(name: str) -> str:
    return name if "." in name else f"{name}.service"
