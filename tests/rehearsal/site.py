"""A rehearsal site and an admin who works on it with the command line, each in processes of its own.

What tests do to hosts they do to the files that stand for them; what they learn they learn from exit codes, from
standard output, and from those files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec

from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S: Final = 240.0
"""For one run of the command line, on a machine whose cores may be busy."""
ALL_AT_ONCE: Final = ("--canary=0", "--batch-size=100%")
LAB_DIR: Final = "run/lab"
"""Pipes and files of the stand-ins: the only files of a host that change without an apply."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a process that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return msgspec.json.decode(self.stdout)

    @property
    def lines(self) -> list[Any]:
        """Standard output as NDJSON."""
        return [msgspec.json.decode(line) for line in self.stdout.splitlines()]

    def outcomes(self) -> dict[str, str]:
        """Host → outcome, of an ``enroll`` document."""
        return {host["name"]: host["outcome"] for host in self.document["hosts"]}

    def host(self, name: str) -> Any:
        """The entry of one host in the document."""
        return next(host for host in self.document["hosts"] if host["name"] == name)


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin who runs ``ionetctl`` without a terminal, with a home directory of their own."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    stdin: str = ""

    @property
    def state(self) -> Path:
        """Journals and catalog."""
        return self.home / "state"

    def environment(self) -> dict[str, str]:
        """The whole environment of the commands: of the user's own only ``PATH``."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "IONETCTL_STATE_DIR": str(self.state),
            "IONETCTL_CACHE_DIR": str(self.home / "cache"),
        } | self.variables

    def run(self, *arguments: str, **variables: str) -> CommandResult:
        """Run a command and wait for its end."""
        done = subprocess.run(
            [sys.executable, "-m", "ionetctl", *arguments],
            input=self.stdin,
            env=self.environment() | variables,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
            check=False,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def enroll(self, inventory: Path, *options: str, **variables: str) -> CommandResult:
        """Run ``enroll`` without confirmation and with JSON output, all hosts in one wave unless ``options`` say otherwise."""
        return self.run("enroll", str(inventory), "--yes", *ALL_AT_ONCE, "-o", "json", *options, **variables)

    def start(self, *arguments: str) -> Running:
        """Start a command that streams NDJSON, and leave it running."""
        process = subprocess.Popen(
            [sys.executable, "-m", "ionetctl", *arguments, "-o", "ndjson"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
            encoding="utf-8",
        )
        return Running(process)

    def start_enroll(self, inventory: Path, *options: str) -> Running:
        """As ``enroll``, left running."""
        return self.start("enroll", str(inventory), "--yes", *ALL_AT_ONCE, *options)

    @contextlib.contextmanager
    def mirror(self, inventory: Path) -> Iterator[int]:
        """Within the block the cached programs of an inventory are served at this port."""
        words = ("mirror", "serve", "--bind", "127.0.0.1", "--port", "0", str(inventory))
        process = subprocess.Popen(
            [sys.executable, "-m", "ionetctl", *words],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment(),
            encoding="utf-8",
        )
        assert process.stderr is not None
        try:
            served = next(line for line in process.stderr if "are served at" in line)
            yield int(served.rstrip().rstrip("/.").rpartition(":")[2].split("/")[0])
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)

    def journals(self) -> list[Path]:
        """The journals, oldest first."""
        return sorted((self.state / "rollouts").glob("*.ndjson"))


@dataclass(frozen=True, slots=True)
class Running:
    """A running command; ``events`` has what it has streamed so far."""

    process: subprocess.Popen[str]
    events: list[Any] = field(default_factory=list)

    def until(self, **wanted: object) -> Any:
        """The next event with these values; raises ``EOFError``, with the command's standard error, when there is none."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = msgspec.json.decode(line)
            self.events.append(event)
            if all(event.get(key) == value for key, value in wanted.items()):
                return event
        raise EOFError(f"it ended without {wanted}: {self.end().stderr}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> CommandResult:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        lines = [json.dumps(event) for event in self.events]
        return CommandResult(self.process.returncode, "\n".join([*lines, out]), err)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.process.kill()
        self.process.communicate()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal that is up, in ``directory``."""

    directory: Path
    faults: dict[str, str]

    @property
    def inventory(self) -> Path:
        """The inventory of the rehearsal."""
        return self.directory / "inventory.yaml"

    @property
    def hosts(self) -> list[str]:
        """The hosts' names, in the inventory's order."""
        return sorted(path.name for path in (self.directory / "hosts").iterdir())

    @property
    def sound(self) -> list[str]:
        """The hosts without a fault."""
        return [host for host in self.hosts if host not in self.faults]

    def host_with(self, fault: str) -> str:
        """The host with this fault."""
        return next(host for host, its in self.faults.items() if its == fault)

    def tree(self, host: str) -> Path:
        """The directory that stands for ``/`` on a host."""
        return self.directory / "hosts" / host

    def edited(self, name: str, *replacements: tuple[str, str]) -> Path:
        """A copy of the inventory, beside it, with each text of ``replacements`` replaced by the other."""
        text = self.inventory.read_text()
        for old, new in replacements:
            assert old in text, f"the inventory has no {old!r}"
            text = text.replace(old, new)
        path = self.directory / f"{name}.yaml"
        path.write_text(text)
        return path

    def snapshot(self, host: str) -> dict[str, tuple[int, int, str]]:
        """Path → mode, modification time in ns, and digest or link target: equal snapshots mean that nothing was changed.

        The agent's entry in the process table is among them: it is written at its start.
        """
        tree = self.tree(host)
        return {str(path.relative_to(tree)): _seen(path) for path in _all_paths(tree)}

    def snapshots(self) -> dict[str, dict[str, tuple[int, int, str]]]:
        """The snapshot of every host."""
        return {host: self.snapshot(host) for host in self.hosts}

    def leftovers(self, host: str) -> list[str]:
        """The files that an apply should have removed and did not."""
        tree = self.tree(host)
        ours = [tree / "var/lib/ionet" / name for name in ("staging", "pending", "rollback", "lock")]
        token = tree / "opt/nomad/data/client/intro_token.jwt"
        found = [path for path in (*ours, token) if path.is_symlink() or path.exists()]
        return sorted(str(path.relative_to(tree)) for path in (*found, *tree.rglob("*.ionet-new*")))

    def wait_unlocked(self, host: str) -> None:
        """Return once no apply is running on the host."""
        lock = self.tree(host) / "var/lib/ionet/lock"
        wait_until(lambda: not lock.is_symlink(), f"{host} is unlocked")

    def api(self) -> httpx.Client:
        """The region's API as the admin may use it."""
        port = json.loads((self.directory / "run/region.ready").read_text())["api_port"]
        pki = self.directory / "pki"
        context = ssl.create_default_context(cafile=pki / "ca.pem")
        context.load_cert_chain(pki / "cli.pem", pki / "cli-key.pem")
        token = (self.directory / "token").read_text().strip()
        return httpx.Client(
            verify=context,
            base_url=f"https://127.0.0.1:{port}",
            headers={"X-Nomad-Token": token},
            trust_env=False,
        )

    @contextlib.contextmanager
    def region_misbehaving(self, mode: str) -> Iterator[None]:
        """Within the block the region answers every call with the failure ``mode`` (see docs/reference/lab.md)."""
        control = self.directory / "run/region-control.json"
        control.write_text(json.dumps({"api": mode}))
        with self.api() as api:
            wait_until(lambda: not self._is_well(api), "the region misbehaves")
            try:
                yield
            finally:
                control.unlink()
                wait_until(lambda: self._is_well(api), "the region is well again")

    def fence_region(self) -> None:
        """Keep the jobs of all namespaces but the maintenance door's to docker, as an operator does once."""
        drivers = {"default": ["docker"], "ionet-maintenance": ["exec"]}
        (self.directory / "run/region-control.json").write_text(json.dumps({"task_drivers": drivers}))
        with self.api() as api:
            wait_until(lambda: len(api.get("/v1/namespaces").json()) == len(drivers), "the region is fenced")

    @contextlib.contextmanager
    def region_silent(self) -> Iterator[None]:
        """Within the block the region accepts connections and answers nothing."""
        pid = json.loads((self.directory / "run/region.pid").read_text())["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _is_well(self, api: httpx.Client) -> bool:
        answer = api.get("/v1/nodes")
        return answer.is_success and "json" in answer.headers["content-type"]

    def is_ready(self, name: str) -> bool:
        """Whether the region shows exactly one node of this name, ready."""
        with self.api() as api:
            nodes = api.get("/v1/nodes").raise_for_status().json()
        return [node["Status"] for node in nodes if node["Name"] == name] == ["ready"]

    # --- scripts on the hosts ---------------------------------------------------------------------------------------

    def install_wrapper(self) -> None:
        """Put a wrapper in front of every host's systemctl, which ``before_start`` and ``hold`` need."""
        programs = self.directory / "bin"
        (programs / "real").mkdir()
        (programs / "common/systemctl").rename(programs / "real/systemctl")
        wrapper = programs / "common/systemctl"
        wrapper.write_text(_WRAPPER)
        wrapper.chmod(0o755)

    def before_start(self, host: str, script: str) -> None:
        """Run ``script`` on the host before each start of its agent; when the script fails, so does the start."""
        (self.tree(host) / _BEFORE_START).write_text(script)

    def remove_script(self, host: str) -> None:
        """Remove the host's script again."""
        (self.tree(host) / _BEFORE_START).unlink()

    def hold(self, host: str) -> Hold:
        """Block the start of the host's agent until ``release``."""
        sign = self.tree(host) / LAB_DIR / "hold"
        sign.touch()
        self.before_start(host, _WAIT)
        return Hold(sign)


@dataclass(frozen=True, slots=True)
class Hold:
    """A host whose agent's start waits for as long as the file ``sign`` exists."""

    sign: Path

    def wait_reached(self) -> None:
        """Return once the host waits."""
        wait_until(self.sign.with_name("held").exists, f"{self.sign} is reached")

    def release(self) -> None:
        """Let the start continue, and later ones too."""
        self.sign.unlink()


_BEFORE_START: Final = f"{LAB_DIR}/before-start"
_WAIT: Final = """cd "$IONET_ROOT/run/lab"
: >held
while [ -e hold ]; do sleep 0.1; done
"""
_WRAPPER: Final = f"""#!/bin/sh
# Runs the script of a test before this host's agent is started, then the stand-in itself.
case " $* " in
*' start '* | *' restart '*)
    if [ -e "$IONET_ROOT/{_BEFORE_START}" ]; then sh "$IONET_ROOT/{_BEFORE_START}" || exit 1; fi
    ;;
esac
exec "${{0%/*}}/../real/systemctl" "$@"
"""


def _all_paths(tree: Path) -> Iterator[Path]:
    skipped = tree / LAB_DIR
    for folder, folders, files in os.walk(tree):
        place = Path(folder)
        folders[:] = [name for name in folders if place / name != skipped]
        yield from (place / name for name in (*folders, *files))


def _seen(path: Path) -> tuple[int, int, str]:
    status = path.lstat()
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        content = str(path.readlink()) if path.is_symlink() else ""
    return status.st_mode, status.st_mtime_ns, content
