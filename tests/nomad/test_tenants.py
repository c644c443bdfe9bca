"""The ways in which a tenant becomes root, tried on a real agent with the configuration that ionetctl writes.

Each is refused, and each succeeds on the control: the same agent with the configuration that Nomad makes of nothing being said, which is what
ionetctl wrote before. Both run in a mount namespace of their own, and what stands for the host's /etc is a directory of the test's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from ionetctl.core import host_paths
from tests.e2e.namespaces import ending_with_us
from tests.e2e.real_region import nomad_binary
from tests.e2e.waiting import wait_until
from tests.nomad.test_region_contract import free_ports
from tests.support.programs import needs
from tests.support.sample import HOST, bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ionetctl.core.model.inventory import TaskDriver

pytestmark = pytest.mark.nomad

SECRET: Final = "root:hash-that-root-alone-may-read"
AGENT_SECRET: Final = "hunter2-of-the-agent"
DEADLINE_S: Final = 120.0
ALL_DRIVERS: Final[tuple[TaskDriver, ...]] = ("docker", "exec", "java", "qemu", "raw_exec")


@pytest.fixture(scope="module")
def program() -> str:
    found = nomad_binary()
    if found is None or os.geteuid() != 0:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD, or no root, which a client needs")
    needs("unshare", "ldd")
    return found


def rendered(*drivers: TaskDriver) -> dict[str, str]:
    """The text files of a host without cards, by path."""
    host = replace(HOST, gpus=replace(HOST.gpus, count=0))
    return {file.path: file.content.decode() for file in bundle(host, drivers=drivers).files if file.content}


@pytest.mark.parametrize("drivers", [("docker",), ("docker", "exec"), ALL_DRIVERS])
def test_rendered_configuration_is_valid(
    program: str, tmp_path: Path, drivers: tuple[TaskDriver, ...]
) -> None:
    """Without a warning but that of the TLS files, which are not there."""
    for path, text in rendered(*drivers).items():
        if path.endswith(".hcl"):
            (tmp_path / path.rpartition("/")[2]).write_text(text)
    done = subprocess.run(
        [program, "config", "validate", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "Configuration is valid!")
    assert [line for line in done.stderr.splitlines() if line and "TLS configuration" not in line] == []


# --- the agent -------------------------------------------------------------------------------------------------------

SERVER: Final = """\
server {{
  enabled          = true
  bootstrap_expect = 1
}}
ports {{
  http = {http}
  rpc  = {rpc}
  serf = {serf}
}}
advertise {{
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}}
"""
UNFENCED: Final = """\
plugin "raw_exec" {
  config {
    enabled = true
  }
}
"""


def without_block(text: str, name: str) -> str:
    """The configuration without an outermost block."""
    found = re.sub(rf"(?m)^{name} \{{\n(?:.*\n)*?\}}\n", "", text)
    assert found != text, name
    return found


@dataclass
class Agent:
    """A server and its only client in one process; a context manager."""

    program: str
    directory: Path
    is_fenced: bool
    http: int = 0
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        self.http, rpc, serf = free_ports(3)
        config = self.directory / "config"
        config.mkdir(parents=True)
        (config / "server.hcl").write_text(SERVER.format(http=self.http, rpc=rpc, serf=serf))
        for name, text in self._files(f"127.0.0.1:{rpc}").items():
            (config / name).write_text(text)
        etc = self.directory / "host-etc"
        etc.mkdir()
        (etc / "shadow").write_text(SECRET)
        (etc / "shadow").chmod(0o600)
        self._start(config)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)

    @property
    def shadow(self) -> str:
        """What the host's own file holds."""
        return (self.directory / "host-etc/shadow").read_text()

    def _files(self, server: str) -> dict[str, str]:
        """What ionetctl writes, but for what it takes to be a region of its own on loopback; the control lacks each fence."""
        files = {path.rpartition("/")[2]: text for path, text in rendered("docker", "exec").items()}
        client = files["nomad.hcl"]
        for name in ("server", "acl", "tls", "advertise"):
            client = without_block(client, name)
        client = client.replace("0.0.0.0", "127.0.0.1").replace("nomad-1.eu-north.example:4647", server)  # noqa: S104
        client = client.replace("  default_ineligible = true\n", '  network_interface = "lo"\n')
        client = client.replace('"gpu"', '"default"')
        # Blocks of drivers that jobs may not use are read too, and a key that a driver does not know ends the start.
        files["drivers.hcl"] = rendered(*ALL_DRIVERS)[host_paths.DRIVERS_CONFIG]
        if not self.is_fenced:
            client = re.sub(r'(?m)^    "(driver.allowlist|env.denylist)" = .*\n', "", client)
            client = re.sub(r"(?m)^  template \{\n.*\n  \}\n", "", client)
            client = client.replace(
                "  chroot_env {\n", f'  chroot_env {{\n    "{self.directory}/host-etc" = "/etc"\n'
            )
            files["drivers.hcl"] = UNFENCED
        files["nomad.hcl"] = client
        wanted = ("nomad.hcl", "docker.hcl", "drivers.hcl", "exec_chroot.sh", "start_agent.sh")
        return {name: self._moved(files[name]) for name in wanted}

    def _moved(self, text: str) -> str:
        ours = str(self.directory / "ionet")
        return (
            text.replace(host_paths.OUR_DIR, ours)
            .replace(host_paths.DATA_DIR, str(self.directory / "data"))
            .replace(host_paths.PLUGIN_DIR, str(self.directory / "plugins"))
        )

    def _start(self, config: Path) -> None:
        script = 'sh "$1/exec_chroot.sh"; [ "$2" = 1 ] || umount "$3/data/alloc" "$3/ionet/chroot"; exec ${5:+sh "$5"} "$4" agent -config "$1"'
        arguments = [str(config), str(int(self.is_fenced)), str(self.directory), self.program]
        arguments += [str(config / "start_agent.sh")] * self.is_fenced
        own = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", *arguments]
        kept = {"PATH": os.environ["PATH"], "AGENT_SECRET": AGENT_SECRET, "HTTPS_PROXY": AGENT_SECRET}
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*ending_with_us(), *own],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=kept,
                start_new_session=True,
            )
        wait_until(self._is_ready, f"the node is ready; {self.directory}/log", timeout_s=DEADLINE_S)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()[-2000:]
        try:
            return [node["Status"] for node in self.call("/v1/nodes")] == ["ready"]
        except OSError:
            return False

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  (our own URL)
            return json.load(reply)

    # Jobs

    def submit(self, name: str, task: dict[str, Any]) -> None:
        """Submit a job of one task, which is tried once."""
        group = {
            "Name": "g",
            "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
            "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
            "Tasks": [{"Name": "t", "Driver": "exec", "Resources": {"CPU": 50, "MemoryMB": 32}, **task}],
        }
        job = {"ID": name, "Name": name, "Type": "batch", "Datacenters": ["*"], "TaskGroups": [group]}
        self.call("/v1/jobs", {"Job": job})

    def outcome(self, name: str) -> str:
        """What the task printed, what happened to it, or why it was placed nowhere."""
        found: list[str] = []

        def is_over() -> bool:
            found[:] = [*self._unplaced(name), *self._ended(name)]
            return bool(found)

        wait_until(is_over, f"{name} ends", timeout_s=DEADLINE_S)
        return "\n".join(found)

    def _unplaced(self, name: str) -> Iterator[str]:
        for evaluation in self.call(f"/v1/job/{name}/evaluations"):
            for failure in (evaluation.get("FailedTGAllocs") or {}).values():
                yield f"unplaced: {failure['ConstraintFiltered']}"

    def _ended(self, name: str) -> Iterator[str]:
        for allocation in self.call(f"/v1/job/{name}/allocations"):
            if allocation["ClientStatus"] in ("complete", "failed"):
                logs = self.directory / "data/alloc" / allocation["ID"] / "alloc/logs"
                yield from (log.read_text() for log in sorted(logs.glob("t.std*")))
                for state in (allocation["TaskStates"] or {}).values():
                    yield from (event["DisplayMessage"] for event in state["Events"])


def says(script: str, **task: Any) -> dict[str, Any]:
    return {"Config": {"command": "/bin/sh", "args": ["-c", script]}, **task}


TEMPLATE: Final = {"EmbeddedTmpl": '{{ mustEnv "AGENT_SECRET" }}', "DestPath": "local/x"}
JOBS: Final[dict[str, dict[str, Any]]] = {
    "honest": says("echo works as $(id -u)"),
    "reads": says("cat /etc/shadow"),
    "writes": says("echo appended >>/etc/shadow"),
    "capabilities": says("grep CapEff /proc/self/status"),
    "template": says("cat /local/x", Templates=[TEMPLATE]),
    "environment": says("env"),
    "daemon": says("echo daemon as $(id -u)", User="daemon"),
    "raw": says("echo raw as $(id -u)", Driver="raw_exec"),
}


@pytest.fixture(scope="module")
def agents(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Agent]]:
    """The fenced agent and the control, each with every job."""
    directory = tmp_path_factory.mktemp("tenants")
    with (
        Agent(program, directory / "fenced", is_fenced=True) as fenced,
        Agent(program, directory / "control", is_fenced=False) as control,
    ):
        for agent in (fenced, control):
            for name, task in JOBS.items():
                agent.submit(name, task)
        yield {True: fenced, False: control}


def both(agents: dict[bool, Agent], name: str, sign: str) -> tuple[bool, bool]:
    """Whether the sign is in what became of a job, on the fenced agent and on the control."""
    return sign in agents[True].outcome(name), sign in agents[False].outcome(name)


def test_honest_job_runs(agents: dict[bool, Agent]) -> None:
    """As nobody: the control of all refusals."""
    assert both(agents, "honest", "works as 65534\n") == (True, True)


def test_files_of_root_are_not_read(agents: dict[bool, Agent]) -> None:
    """There is none of the host's in the task's root."""
    assert both(agents, "reads", SECRET) == (False, True)


def test_files_of_root_are_not_written(agents: dict[bool, Agent]) -> None:
    """On the control the task's file is the host's own."""
    for agent in agents.values():
        agent.outcome("writes")
    assert [agents[fenced].shadow == SECRET for fenced in (True, False)] == [True, False]


def test_tasks_have_no_capability(agents: dict[bool, Agent]) -> None:
    """Not even that which makes nobody read everything."""
    assert both(agents, "capabilities", "CapEff:\t0000000000000000") == (True, False)


def test_templates_do_not_tell_the_agents_environment(agents: dict[bool, Agent]) -> None:
    """The function is denied, and the task never starts."""
    assert both(agents, "template", AGENT_SECRET) == (False, True)
    assert "error calling mustEnv: function is disabled" in agents[True].outcome("template")


def test_tasks_do_not_inherit_what_is_known_to_be_secret(agents: dict[bool, Agent]) -> None:
    """A proxy's address may bear a password; what no list names is inherited, as the documentation says."""
    assert both(agents, "environment", f"HTTPS_PROXY={AGENT_SECRET}") == (False, True)


def test_tasks_are_no_user_of_the_hosts(agents: dict[bool, Agent]) -> None:
    """Root is refused by Nomad's own list, everybody else by ours."""
    assert both(agents, "daemon", "daemon as 1\n") == (False, True)
    assert "running as uid 1 is disallowed" in agents[True].outcome("daemon")


def test_other_drivers_do_not_run(agents: dict[bool, Agent]) -> None:
    """raw_exec is root outright."""
    assert both(agents, "raw", "raw as 0") == (False, True)
    assert "missing drivers" in agents[True].outcome("raw")


def test_node_shows_the_drivers_that_jobs_may_use(agents: dict[bool, Agent]) -> None:
    """As the rehearsal's agent does; the control shows all."""
    shown = {fenced: set(agent.call("/v1/nodes")[0]["Drivers"]) for fenced, agent in agents.items()}
    assert shown[True] == {"docker", "exec"}
    assert shown[False].issuperset(ALL_DRIVERS)
