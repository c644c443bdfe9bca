"""The ways in which a tenant becomes root, tried by jobs in a real region on real systemd hosts with ``drivers: [docker, exec]``.

Both hosts were enrolled by ionetctl. From one, the control, all was taken away again that fences jobs there: it is as Nomad's
defaults have it. What stays open on the fenced one must be what findings and ``explain`` say.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.checks.tenants import EXEC_ALLOWED, LANDLOCK_OFF, LINKS_FOLLOWED, LOOPBACK_SERVICES
from ionetctl.core import host_paths
from tests.e2e import debs
from tests.e2e.base_root import PASSWORD_USER, base_root, why_unavailable
from tests.e2e.machines import DOCKER_SETTINGS, Fleet
from tests.e2e.real_region import RealRegion
from tests.e2e.site import Site, site_of
from tests.e2e.tenant_jobs import DEADLINE_S, SECOND_NS, Tenant, has_changed, says
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.machines import Machine

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nomad,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

AGENT_SECRET: Final = "hunter2-of-the-agent"
ROOTS_SECRET: Final = "of-root-alone"
PORT: Final = 8099
REBOOT_TIMEOUT_S: Final = 120.0
VICTIMS: Final = ("victim-of-script", "victim-of-task")
LOG_LINK: Final = """\
ln -s /etc/cron.d/tenant /alloc/logs/t.stdout.1
head -c 1300000 /dev/zero | tr '\\0' '#' | sed 's/.\\{64\\}/&\\n/g'
"""
"""Prints more than a log file may hold; the next one is a link."""
TOKEN_LINK: Final = """\
for place in local secrets; do
    rm /$place/nomad_x.jwt
    ln -s /etc/token-of-$place /$place/nomad_x.jwt
done
sleep 30
"""
"""Waits until its tokens have been renewed: they are good for 12 s."""
SETTING: Final = f"""\
set -e
mkdir -m 700 /root/private /root/served
echo {ROOTS_SECRET} | tee /root/private/secret >/root/served/secret
cd /root/private && git init -q && git add secret && git -c user.name=r -c user.email=r@localhost commit -qm secret
systemd-run -q --unit served --working-directory=/root/served python3 -m http.server --bind 127.0.0.1 {PORT}
for unit in {" ".join(VICTIMS)}; do systemd-run -q --unit $unit sleep 86400; done
echo AGENT_SECRET={AGENT_SECRET} >/etc/nomad.d/nomad.env
"""
SECURITYFS: Final = "mount -t securityfs securityfs /sys/kernel/security"
"""As systemd does on hosts that are no containers."""


def unfence(machine: Machine) -> None:
    """Take away all that ionetctl wrote to fence jobs."""
    config = machine.root / host_paths.CLIENT_CONFIG.lstrip("/")
    text = config.read_text()
    for fence in (
        r'    "(driver.allowlist|env.denylist)" = .*\n',
        r"  (template|chroot_env) \{\n(.*\n)*?  \}\n",
    ):
        text, count = re.subn(f"(?m)^{fence}", "", text)
        assert count == 2, fence
    config.write_text(text)
    (machine.root / host_paths.DRIVERS_CONFIG.lstrip("/")).write_text("")
    unit = machine.root / "etc/systemd/system/nomad.service"
    text = re.sub(r"(?m)^ExecStartPre=.*\n", "", unit.read_text())
    unit.write_text(text.replace(f"/bin/sh {host_paths.START_SCRIPT} ", ""))
    machine.run(
        "systemctl daemon-reload; systemctl stop nomad; umount -l /opt/nomad/data/alloc /var/lib/ionet/chroot"
    )


def process_of(machine: Machine, unit: str) -> int:
    """The process id of a service of root's; 0 when it has ended."""
    return int(machine.run(f"systemctl show -P MainPID {unit}").stdout)


def token(name: str, **identity: str) -> dict[str, Any]:
    """A token that is soon renewed, in a file."""
    return {"Name": name, "Audience": ["x"], "File": True, "TTL": 12 * SECOND_NS, **identity}


def jobs(machine: Machine) -> dict[str, dict[str, Any]]:
    """Every way that is tried, by name."""
    template = {"EmbeddedTmpl": '{{ mustEnv "AGENT_SECRET" }}', "DestPath": "local/x"}
    repository = {"GetterSource": "git::file:///root/private", "RelativeDest": "local/repository"}
    served = {"GetterSource": f"http://127.0.0.1:{PORT}/secret", "RelativeDest": "local/served"}
    by_script, by_task = (f"kill -9 {process_of(machine, unit)} && echo killed" for unit in VICTIMS)
    signal = says(by_task)
    return {
        "honest": says("echo works as $(id -u)"),
        "reads": says(f"cat /etc/shadow {host_paths.NODE_KEY}"),
        "writes": says(f"echo '# appended' >>{host_paths.CLIENT_CONFIG}"),
        "environment": says("cat /local/x", Templates=[template]),
        "repository": says("cat /local/repository/secret", Artifacts=[repository]),
        "loopback": says("cat /local/served/secret", Artifacts=[served]),
        "task-signal": {**signal, "Config": {**signal["Config"], "pid_mode": "host"}},
        "log-link": says(LOG_LINK, LogConfig={"MaxFiles": 2, "MaxFileSizeMB": 1}),
        "token-link": says(TOKEN_LINK, Identities=[token("x"), token("y", Filepath="local/nomad_x.jwt")]),
        "hard-link": has_changed("chmod 4777 /bin/tail", "stat -c 'links: %h' /bin/tail"),
        "setuid": has_changed(
            "cp /bin/id /alloc/data/id && chmod 4755 /alloc/data/id", "echo now $(/alloc/data/id -u)"
        ),
        "signal": has_changed(
            f"id -u; grep CapEff /proc/self/status; cat /proc/1/root/etc/shadow; {by_script}",
            "true",
            pid_mode="host",
        ),
    }


CHANGED: Final = ("hard-link", "setuid", "signal")


@dataclass(frozen=True, slots=True)
class Tried:
    """The fenced host and the control, on each of which every way is tried; ``found``: code of finding → message, of the fenced one."""

    fenced: Tenant
    control: Tenant
    found: dict[str, str]

    def both(self, name: str, sign: str) -> tuple[bool, bool]:
        """Whether the sign is in what became of a job, on the fenced host and on the control."""
        return sign in self.fenced.outcome(name), sign in self.control.outcome(name)


@pytest.fixture(scope="module")
def site(nomad_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two hosts with git, enrolled so that jobs may use exec."""
    assert nomad_program
    packages = tmp_path_factory.mktemp("packages") / "git"
    try:
        debs.download(packages, base_root(), "git")
    except RuntimeError as error:
        pytest.skip(f"no package git: {error}")
    with (
        Fleet(2, tmp_path_factory.mktemp("hosts")) as fleet,
        site_of(fleet, tmp_path_factory.mktemp("site")) as site,
    ):
        site.nomad = {"drivers": ["docker", "exec"]}
        site.write(fleet.machines)
        for machine in fleet.machines:
            install(machine, packages)
            machine.run(SECURITYFS)
        done = site.enroll("--batch-size", "100%")
        assert done.exit_code == 0, (done.stdout, done.stderr)
        yield site


def install(machine: Machine, packages: Path) -> None:
    """Packages from files."""
    place = machine.root / "root/packages"
    place.mkdir()
    for package in packages.glob("*.deb"):
        (place / package.name).write_bytes(package.read_bytes())
    machine.run("dpkg -i /root/packages/*.deb; rm -r /root/packages", timeout_s=180)


@pytest.fixture(scope="module")
def tried(site: Site) -> Tried:
    """Both hosts with every job submitted."""
    region = site.region
    assert isinstance(region, RealRegion)
    control, fenced = site.fleet.machines
    for machine in site.fleet.machines:
        machine.run(SETTING)
    unfence(control)
    for machine in site.fleet.machines:
        machine.run("systemctl restart nomad")
    wait_until(
        lambda: [node["Status"] for node in region.nodes()] == ["ready"] * 2,
        "both nodes",
        timeout_s=DEADLINE_S,
    )
    tenants = (Tenant(region, fenced), Tenant(region, control))
    for tenant in tenants:
        for name, task in jobs(tenant.machine).items():
            tenant.submit(name, task)
    for tenant in tenants:
        for name in CHANGED:
            tenant.change(name)
    done = site.run("preflight", str(site.inventory), "-o", "json", "--limit", fenced.name)
    [host] = done.document["hosts"]
    return Tried(*tenants, {each["code"]: each["message"] for each in host["findings"]})


def test_honest_job_runs(tried: Tried) -> None:
    """As nobody: the control of all refusals."""
    assert tried.both("honest", "works as 65534\n") == (True, True)


def test_files_of_root_are_not_read(tried: Tried) -> None:
    """Neither the passwords of accounts nor the node's key."""
    assert tried.both("reads", f"{PASSWORD_USER}:$") == (False, True)
    assert tried.both("reads", "PRIVATE KEY") == (False, True)


def test_configuration_is_not_written(tried: Tried) -> None:
    """On the control the task's file is the host's own."""
    tenants = (tried.fenced, tried.control)
    for tenant in tenants:
        tenant.outcome("writes")
    written = ["# appended" in tenant.machine.read(host_paths.CLIENT_CONFIG) for tenant in tenants]
    assert written == [False, True]


def test_templates_do_not_tell_the_agents_environment(tried: Tried) -> None:
    """The function is denied."""
    assert tried.both("environment", AGENT_SECRET) == (False, True)


def test_script_of_a_template_reaches_no_file_of_the_hosts(tried: Tried) -> None:
    """It is root's, and may change what is in the task's root: copies, where the control has links to the host's files."""
    assert tried.both("hard-link", "links: 1\n") == (True, False)
    modes = [
        tenant.machine.run("stat -c %a /usr/bin/tail").stdout for tenant in (tried.fenced, tried.control)
    ]
    assert modes == ["755\n", "4777\n"]


def test_setuid_file_of_a_script_makes_nobody_root(tried: Tried) -> None:
    """It lies in the directory that the tasks of an allocation share."""
    assert tried.both("setuid", "now 65534") == (True, False)
    assert tried.both("setuid", "now 0") == (False, True)


def test_log_that_is_a_link_leads_nowhere(tried: Tried) -> None:
    """The agent writes logs as root; what it wrote on the control, cron would run as root."""
    tenants = (tried.fenced, tried.control)
    for tenant in tenants:
        tenant.outcome("log-link")
    written = [(tenant.machine.root / "etc/cron.d/tenant").exists() for tenant in tenants]
    assert written == [False, True]


def test_token_is_renewed_through_a_link_in_secrets_alone_as_explained(tried: Tried) -> None:
    """Nomad mounts that directory by itself."""
    tenants = (tried.fenced, tried.control)
    for tenant in tenants:
        tenant.outcome("token-link")
    written = [
        [(tenant.machine.root / "etc" / f"token-of-{place}").exists() for place in ("local", "secrets")]
        for tenant in tenants
    ]
    assert written == [[False, True], [True, True]]


IMAGE: Final = "tenant:1"
MAKE_IMAGE: Final = f"""\
set -e
systemctl restart docker
tar -C /var/lib/ionet/chroot -c . | docker import - {IMAGE}
docker run -d --network none {IMAGE} /bin/sleep 86400
systemctl restart nomad
"""
"""A container keeps Nomad from collecting the image, which nobody could give it again."""
FROM_CONTAINER: Final = """\
ln -s /etc/cron.d/container /shared/logs/t.stdout.1
for second in 1 2 3 4 5 6 7 8 9 10 11 12; do
    head -c 260000 /dev/zero | tr '\\0' '#' | sed 's/.\\{64\\}/&\\n/g'
    sleep 1
done
"""
"""Docker's driver shows a container its logs read-only, and lets it bind the directory that they are in. What is printed last is lost."""
LINKS: Final = """mkdir /local/blobs && echo weights >/local/blobs/1 && ln -s blobs/1 /local/model && [ "$(cat /local/model)" = weights ]"""
SECRETS: Final = """[ "$(cat /secrets/word)" = "of a template" ]"""
HELD: Final = "Exit Code: 0"
"""What a container printed may be lost at its end."""


def contained(script: str, **config: Any) -> dict[str, Any]:
    """A task in a container that runs a shell script."""
    own = {"image": IMAGE, "command": "/bin/sh", "args": ["-c", script], "network_mode": "none", **config}
    return {"Driver": "docker", "Config": own, "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 1}}


CONTAINED: Final = {
    "container-log-link": contained(FROM_CONTAINER, volumes=["../alloc:/shared"]),
    "container-links": contained(LINKS),
    "container-secrets": {
        **contained(SECRETS),
        "Templates": [{"EmbeddedTmpl": "of a template", "DestPath": "secrets/word"}],
    },
}


@pytest.fixture(scope="module")
def with_docker(tried: Tried, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Both hosts with Docker, and every job submitted that needs it."""
    packages = tmp_path_factory.mktemp("packages") / "docker"
    try:
        debs.download(packages, base_root(), "docker.io")
    except RuntimeError as error:
        pytest.skip(f"no package docker.io: {error}")
    tenants = (tried.fenced, tried.control)
    for tenant in tenants:
        daemon = tenant.machine.root / "etc/docker/daemon.json"
        daemon.parent.mkdir()
        daemon.write_text(json.dumps(DOCKER_SETTINGS))
        install(tenant.machine, packages)
        tenant.machine.run(MAKE_IMAGE, timeout_s=180)

    def is_offered() -> bool:
        return all(node["Drivers"].get("docker", {}).get("Healthy") for node in tried.fenced.region.nodes())

    wait_until(is_offered, "both nodes have Docker", timeout_s=DEADLINE_S)
    for tenant in tenants:
        for name, task in CONTAINED.items():
            tenant.submit(name, task)
    return tried


def test_log_of_a_container_that_is_a_link_leads_nowhere(with_docker: Tried) -> None:
    """The agent has tried to follow it; what it wrote on the control, cron would run as root."""
    tenants = (with_docker.fenced, with_docker.control)
    for tenant in tenants:
        tenant.outcome("container-log-link")
    written = [(tenant.machine.root / "etc/cron.d/container").exists() for tenant in tenants]
    refused = [
        "t.stdout.1: too many levels of symbolic links" in tenant.machine.run("journalctl -u nomad").stdout
        for tenant in tenants
    ]
    assert (written, refused) == ([False, True], [True, False])
    assert LINKS_FOLLOWED.name not in with_docker.found


def test_links_of_containers_are_followed_in_them(with_docker: Tried) -> None:
    """As caches of models and environments of Python have them."""
    assert with_docker.both("container-links", HELD) == (True, True)


def test_what_the_agent_mounts_reaches_containers(with_docker: Tried) -> None:
    """The secrets of a task are a file system of their own, which the agent mounts in its namespace."""
    assert with_docker.both("container-secrets", HELD) == (True, True)


def test_task_signals_no_process_of_the_hosts(tried: Tried) -> None:
    """It sees them all by its own wish, and has no right to."""
    assert tried.both("task-signal", "killed") == (False, True)


def test_script_signals_processes_of_root_as_explained(tried: Tried) -> None:
    """That stays open, without a capability; what the finding says is what happened."""
    assert tried.both("signal", "killed") == (True, True)
    assert tried.both("signal", "CapEff:\t0000000000000000") == (True, False)
    assert tried.both("signal", f"{PASSWORD_USER}:$") == (False, False)
    assert [process_of(tried.fenced.machine, unit) > 0 for unit in VICTIMS] == [False, True]
    assert EXEC_ALLOWED.name in tried.found
    assert "with the job's own pid_mode = host it may signal every process" in EXEC_ALLOWED.matters


def test_repository_of_root_is_fetched_where_the_finding_says_so(tried: Tried) -> None:
    """Landlock closes it, with Nomad's defaults too; ionetctl cannot."""
    is_open = LANDLOCK_OFF.name in tried.found
    assert tried.both("repository", ROOTS_SECRET) == (is_open, is_open)


def test_loopback_is_fetched_from_as_the_finding_says(tried: Tried) -> None:
    """Nothing closes it; the finding names the port."""
    assert tried.both("loopback", ROOTS_SECRET) == (True, True)
    assert str(PORT) in tried.found[LOOPBACK_SERVICES.name]


def mounted(machine: Machine) -> list[dict[str, set[str]]]:
    """Directory → the options with which it is mounted, of the two that fence tasks; as the host has them and as the agent has."""
    agent = process_of(machine, "nomad")
    return [_mounted(machine, process) for process in ("self", str(agent))]


def _mounted(machine: Machine, process: str) -> dict[str, set[str]]:
    lines = [line.split() for line in machine.run(f"cat /proc/{process}/mountinfo").stdout.splitlines()]
    sought = {"/var/lib/ionet/chroot", host_paths.ALLOC_DIR}
    return {fields[4]: set(fields[5].split(",")) - {"relatime"} for fields in lines if fields[4] in sought}


CHROOT: Final = {"/var/lib/ionet/chroot": {"ro", "nosuid", "nodev"}}
MOUNTED: Final = [
    {**CHROOT, host_paths.ALLOC_DIR: {"rw", "nosuid", "nodev"}},
    {**CHROOT, host_paths.ALLOC_DIR: {"rw", "nosuid", "nodev", "nosymfollow"}},
]


def test_mounts_are_there_after_a_restart_and_a_reboot(tried: Tried, site: Site) -> None:
    """Made by the unit each time, once; after the reboot a job runs between them, and ionetctl finds nothing to do."""
    fenced = tried.fenced.machine
    assert (mounted(fenced), mounted(tried.control.machine)) == (MOUNTED, [{}, {}])
    fenced.run("systemctl restart nomad")
    assert mounted(fenced) == MOUNTED
    fenced.enter("systemctl reboot", check=False)
    fenced.follow_reboot(REBOOT_TIMEOUT_S)
    fenced.wait_for_ssh()
    wait_until(lambda: process_of(fenced, "nomad") > 0, "the agent", timeout_s=DEADLINE_S)
    wait_until(lambda: mounted(fenced) == MOUNTED, "the mounts", timeout_s=DEADLINE_S)
    assert fenced.run("touch /var/lib/ionet/chroot/bin/sh", check=False).returncode == 1
    tried.fenced.submit("after", says("cat /etc/shadow; stat -c 'links: %h' /bin/tail"))
    outcome = tried.fenced.outcome("after")
    assert ("links: 1\n" in outcome, f"{PASSWORD_USER}:$" in outcome) == (True, False)
    assert site.enroll("--limit", fenced.name).outcomes == {fenced.name: "unchanged"}
