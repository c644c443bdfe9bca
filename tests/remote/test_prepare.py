"""Preparations, really run under every shell: what they change, what they refuse, and that a second run changes nothing.

The host is looked at by the real survey before and after, so that what a preparation does and what asks for it agree.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ionetctl.core.model.host import Prepare
from ionetctl.plan.packages import Package
from ionetctl.plan.prepare_steps import (
    KERNEL_MODULES,
    MODULES_FILE,
    MODULES_TEXT,
)
from ionetctl.remote import prepare_script, receive_script
from tests.remote.preparing import DOCKER, add, assert_lasting, calls, installed, prepare, run
from tests.remote.rehearsal import ROLLOUT, Host, shim

CASES = Path(__file__).parents[1] / "data" / "cases"

# --- one by one ------------------------------------------------------------------------------------------------------


def test_modules_are_loaded_now_and_at_boot(debian: Host) -> None:
    """What is missing is loaded, and a file has all three loaded at every boot."""
    asked = Prepare(modules=True)
    debian.path("/sys/module/overlay").mkdir()
    reported = prepare(debian, asked)
    assert reported.changes == [
        ("modules", "loaded bridge"),
        ("modules", "loaded br_netfilter"),
        ("modules", f"wrote {MODULES_FILE}"),
    ]
    assert debian.read(MODULES_FILE) == MODULES_TEXT
    assert_lasting(debian, asked)


def test_a_module_that_the_kernel_lacks_is_named(debian: Host) -> None:
    """The host's own output says which."""
    debian.write("/standin/no-modules", "br_netfilter\n")
    reported = prepare(debian, Prepare(modules=True))
    assert reported.error == ("module_missing", "modules: modprobe: FATAL: Module br_netfilter not found.")
    assert reported.exit_status == 1


def test_modules_of_the_controller_and_of_the_script_are_the_same() -> None:
    """The text whose digest the controller knows is the one that the script writes."""
    assert "for module in " + " ".join(KERNEL_MODULES) + ";" in prepare_script().decode()


def test_docker_is_installed_and_started(debian: Host) -> None:
    """What apt offers is installed, enabled and started."""
    asked = Prepare(docker=True)
    reported = prepare(debian, asked)
    assert reported.changes == [
        ("docker", "installed docker.io"),
        ("docker", "enabled docker.service"),
        ("docker", "started docker.service"),
    ]
    assert_lasting(debian, asked)


def test_podmans_stand_in_is_replaced_by_docker(debian: Host) -> None:
    """A program called docker that is Podman's is none: its unit will never be there."""
    shim(debian, "docker", f'exec /bin/sh "{CASES}/podman-docker/docker" "$@"')
    asked = Prepare(docker=True)
    reported = prepare(debian, asked)
    assert reported.changes[0] == ("docker", "installed docker.io")
    assert_lasting(debian, asked)


def test_an_installation_that_hangs_is_named(debian: Host) -> None:
    """Whatever status timeout ends with (uutils' has its own), the clock shows what happened."""
    shim(debian, "timeout", (CASES / "uutils-timeout/timeout").read_text().partition("\n")[2])
    shim(debian, "apt-get", "exec sleep 60")
    reported = run(debian, (("limit", "1"), ("docker",)))
    assert reported.error == ("prepare_failed", "docker: apt-get did not end within 1 s")


def test_docker_of_the_vendor_comes_first(debian: Host) -> None:
    """Where the vendor's repository is set up, its packages are taken."""
    debian.write("/standin/offers", "docker.io 24.0.5\ndocker-ce 27.3.1\n")
    prepare(debian, Prepare(docker=True))
    assert installed(debian) == ["docker-ce", "docker-ce-cli", "containerd.io"]


def test_docker_that_was_stopped_is_started(debian: Host) -> None:
    """Nothing is installed where it is there and only does not run."""
    add(debian, "docker")
    debian.write("/standin/units/docker.service", "enabled inactive\n")
    reported = run(debian, (("docker",),))
    assert reported.changes == [("docker", "started docker.service")]
    assert installed(debian) == []


def test_lists_are_brought_up_to_date_where_apt_offers_nothing(debian: Host) -> None:
    """An image without package lists is no obstacle, and one update is all."""
    debian.write("/standin/offers", "")
    debian.write("/standin/upstream", "docker.io 24.0.5\n")
    reported = prepare(debian, Prepare(docker=True))
    assert reported.is_done
    assert [call.split()[-1] for call in calls(debian, "apt-get")] == ["update", "docker.io"]


def test_what_nobody_offers_is_missing(debian: Host) -> None:
    """Without a repository that has it the toolkit cannot be had."""
    add(debian, "docker")
    reported = prepare(debian, Prepare(container_toolkit=True))
    assert reported.error is not None
    assert (reported.error[0], reported.exit_status) == ("package_missing", 1)


def test_the_runtime_is_entered_beside_what_stands_there(debian: Host) -> None:
    """Foreign keys of Docker's configuration stay, its old text is kept, and Docker is restarted."""
    asked = Prepare(container_toolkit=True)
    add(debian, "docker")
    debian.write("/standin/units/docker.service", "enabled active\n")
    debian.write("/standin/offers", "nvidia-container-toolkit 1.17.8\n")
    debian.write("/etc/docker/daemon.json", '{"data-root": "/srv"}\n')
    reported = prepare(debian, asked)
    assert reported.changes == [
        ("container_toolkit", "installed nvidia-container-toolkit"),
        ("container_toolkit", "entered the runtime nvidia in /etc/docker/daemon.json"),
        ("container_toolkit", "restarted docker.service"),
    ]
    assert debian.read("/etc/docker/daemon.json") == '{"data-root": "/srv", "runtimes": {"nvidia": {}}}\n'
    kept = debian.read("/var/lib/ionet/replaced/before-prepare/etc/docker/daemon.json")
    assert kept == '{"data-root": "/srv"}\n'
    assert_lasting(debian, asked)


def test_containers_that_run_are_not_ended(debian: Host) -> None:
    """Docker is made to read its configuration again, since a restart would end what runs."""
    add(debian, "docker", "nvidia-ctk")
    debian.write("/standin/units/docker.service", "enabled active\n")
    debian.write("/standin/containers", "4c01db0b339c\n")
    reported = prepare(debian, Prepare(container_toolkit=True))
    assert reported.changes[-1] == ("container_toolkit", "reloaded docker.service")
    assert "restart docker.service" not in calls(debian, "systemctl")


def test_containers_that_are_not_listed_in_time_are_not_ended(debian: Host) -> None:
    """Some may run: it is reloaded as where they do."""
    add(debian, "docker", "nvidia-ctk")
    debian.write("/standin/units/docker.service", "enabled active\n")
    shim(debian, "timeout", 'shift 3; case "$*" in "docker ps -q") exit 124 ;; esac; exec "$@"')
    reported = prepare(debian, Prepare(container_toolkit=True))
    assert reported.changes[-1] == ("container_toolkit", "reloaded docker.service")


CONFIGURATIONS = [
    (None, '{\n    "userns-remap": "default"\n}\n'),
    (" {}\n", '{\n    "userns-remap": "default"\n}\n'),
    (
        '{"data-root": "/srv", "a": {"b": 1}}\n',
        '{\n    "userns-remap": "default","data-root": "/srv", "a": {"b": 1}}\n',
    ),
    ('{\n  "a": {},\n  "b": 1\n}\n', '{\n    "userns-remap": "default",\n  "a": {},\n  "b": 1\n}\n'),
]


def with_docker(host: Host) -> Host:
    add(host, "docker")
    host.write("/standin/units/docker.service", "enabled active\n")
    return host


@pytest.mark.parametrize(("before", "after"), CONFIGURATIONS)
def test_containers_are_given_users_of_their_own(debian: Host, before: str | None, after: str) -> None:
    """Keys of others stay, the old text is kept, and Docker is restarted: nothing less makes it map users."""
    asked = Prepare(docker_userns=True)
    with_docker(debian)
    if before is not None:
        debian.write("/etc/docker/daemon.json", before)
    reported = prepare(debian, asked)
    assert reported.changes == [
        ("docker_userns", "gave containers users of their own in /etc/docker/daemon.json"),
        ("docker_userns", "restarted docker.service"),
    ]
    assert debian.read("/etc/docker/daemon.json") == after
    assert json.loads(after) == {**json.loads(before or "{}"), "userns-remap": "default"}
    assert_lasting(debian, asked)


@pytest.mark.parametrize("before", [None, '{"data-root": "/srv"}\n'])
def test_docker_that_does_not_start_with_users_of_its_own_is_put_back(
    debian: Host, before: str | None
) -> None:
    """It is started with the configuration that it had; once nothing keeps it from starting, a second run is done."""
    asked = Prepare(docker_userns=True)
    with_docker(debian)
    if before is not None:
        debian.write("/etc/docker/daemon.json", before)
    debian.write("/standin/complaints/restart-docker.service", "no subordinate ids\n")
    reported = prepare(debian, asked)
    assert reported.error is not None
    code, message = reported.error
    assert code == "prepare_failed"
    assert "does not start: no subordinate ids; /etc/docker/daemon.json was put back" in message
    config = debian.path("/etc/docker/daemon.json")
    assert (config.read_text() if config.exists() else None) == before
    assert calls(debian, "systemctl")[-2:] == ["reset-failed docker.service", "restart docker.service"]
    debian.path("/standin/complaints/restart-docker.service").unlink()
    assert prepare(debian, asked).is_done
    assert_lasting(debian, asked)


def test_users_that_only_a_restart_is_missing_for_are_given(debian: Host) -> None:
    """A run that was killed before it restarted Docker left its key there; where the restart fails the file stays."""
    asked = Prepare(docker_userns=True)
    text = '{\n    "userns-remap": "default"\n}\n'
    with_docker(debian).write("/etc/docker/daemon.json", text)
    debian.write("/standin/complaints/restart-docker.service", "broken\n")
    assert prepare(debian, asked).error == (
        "prepare_failed",
        "docker_userns: docker.service does not start: broken",
    )
    debian.path("/standin/complaints/restart-docker.service").unlink()
    assert prepare(debian, asked).changes == [("docker_userns", "restarted docker.service")]
    assert debian.read("/etc/docker/daemon.json") == text
    assert_lasting(debian, asked)


def refused(host: Host) -> tuple[str, str]:
    """Why containers are not given users: nothing is changed then."""
    before = host.tree(besides=("standin", "var"))
    reported = prepare(host, Prepare(docker_userns=True))
    assert (reported.changes, host.tree(besides=("standin", "var"))) == ([], before)
    assert "restart docker.service" not in calls(host, "systemctl")
    assert reported.error is not None
    return reported.error


def test_no_container_is_ended_for_users_of_their_own(debian: Host) -> None:
    """Where some run Docker is not restarted, and its configuration is as it was."""
    with_docker(debian).write("/standin/containers", "4c01db0b339c\n")
    assert refused(debian) == (
        "containers_running",
        "docker_userns: Docker must be restarted, and containers run",
    )


def test_no_container_that_is_not_listed_in_time_is_ended_either(debian: Host) -> None:
    """Some may run."""
    shim(with_docker(debian), "timeout", 'shift 3; case "$*" in "docker ps -q") exit 124 ;; esac; exec "$@"')
    assert refused(debian)[0] == "containers_running"


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("/etc/docker/daemon.json", '{"userns-remap": "io"}\n', "Docker does not go by the userns-remap"),
        ("/etc/docker/daemon.json", "[1]\n", "is no JSON object"),
        ("/proc/sys/user/max_user_namespaces", "0\n", "the kernel allows no user namespaces"),
    ],
)
def test_users_that_cannot_be_given(debian: Host, path: str, text: str, said: str) -> None:
    """It says why, before anything is changed."""
    with_docker(debian).write(path, text)
    code, message = refused(debian)
    assert (code, said in message) == ("prepare_failed", True), message


def test_cards_that_are_closed_to_others_keep_users_away(debian: Host) -> None:
    """A container's root could not open them any more; device files as the driver makes them are open to all."""
    with_docker(debian).write("/dev/nvidia0", "", 0o666)
    debian.write("/dev/nvidiactl", "", 0o660)
    assert "/dev/nvidiactl is closed to others than its owner" in refused(debian)[1]
    debian.path("/dev/nvidiactl").chmod(0o666)
    assert prepare(debian, Prepare(docker_userns=True)).is_done


@pytest.mark.parametrize(
    ("complaint", "is_done"),
    [("unable to configure: bad key", False), ("unknown flag: --validate", True), ("", True)],
)
def test_docker_looks_at_its_configuration_first(debian: Host, complaint: str, is_done: bool) -> None:  # noqa: FBT001
    """Where it can, as since version 23."""
    shim(with_docker(debian), "dockerd", f'[ -z "{complaint}" ] || {{ echo "{complaint}" >&2; exit 1; }}')
    if is_done:
        assert prepare(debian, Prepare(docker_userns=True)).is_done
    else:
        assert refused(debian) == (
            "prepare_failed",
            f"docker_userns: Docker refuses its new configuration: {complaint}",
        )


def test_cni_plugins_are_linked_where_nomad_looks(debian: Host) -> None:
    """Debian installs them elsewhere; all of them are linked."""
    asked = Prepare(cni=True)
    reported = prepare(debian, asked)
    assert reported.changes == [
        ("cni", "installed containernetworking-plugins"),
        ("cni", "linked into /opt/cni/bin: bridge firewall host-local loopback portmap vlan"),
    ]
    assert_lasting(debian, asked)


def test_cni_plugins_of_others_stay(debian: Host) -> None:
    """A plugin that lies there already is not replaced."""
    debian.write("/opt/cni/bin/bridge", "mine", 0o755)
    prepare(debian, Prepare(cni=True))
    assert debian.read("/opt/cni/bin/bridge") == "mine"


def test_time_is_kept_from_now_on(debian: Host) -> None:
    """Where no time service is installed, one is; the clock need not be right at once for a second run to rest."""
    asked = Prepare(time_sync=True)
    reported = prepare(debian, asked)
    assert reported.changes == [
        ("time_sync", "installed systemd-timesyncd"),
        ("time_sync", "switched time synchronization on"),
    ]
    assert_lasting(debian, asked)


def test_time_service_that_is_there_is_switched_on(debian: Host) -> None:
    """Nothing is installed then."""
    debian.write("/standin/installed", "chrony 4.3\n")
    reported = prepare(debian, Prepare(time_sync=True))
    assert reported.changes == [("time_sync", "switched time synchronization on")]


# --- the driver ------------------------------------------------------------------------------------------------------


def driver_host(debian: Host, offers: str = "nvidia-driver-550 550.90.07-0ubuntu1\n") -> Host:
    """A host with a driver to be had, whose module is on disk once it is installed."""
    debian.write("/standin/offers", offers)
    for line in offers.splitlines():
        debian.write(f"/standin/effects/{line.split()[0]}", 'echo 550.90.07 >"$state/modinfo"')
    return debian


def test_a_driver_that_loads_needs_no_reboot(debian: Host) -> None:
    """Where nothing else has the cards, the module is loaded at once."""
    reported = prepare(driver_host(debian), Prepare(driver="550"))
    assert reported.changes == [
        ("driver", "installed nvidia-driver-550"),
        ("driver", "loaded the driver 550.90.07"),
    ]
    assert (reported.reboot, reported.is_done) == (None, True)


def test_headers_of_the_running_kernel_come_along(debian: Host) -> None:
    """A module that is built on the host needs them."""
    release = subprocess.run(("uname", "-r"), capture_output=True, text=True, check=True).stdout.strip()
    offers = f"nvidia-driver-550 550.90.07-1\nlinux-headers-{release} 6.1\n"
    prepare(driver_host(debian, offers), Prepare(driver="550"))
    assert installed(debian) == [f"linux-headers-{release}", "nvidia-driver-550"]


def test_nouveau_has_to_go_by_a_reboot(debian: Host) -> None:
    """While another driver has the cards, a reboot is needed, and the inventory must allow it."""
    debian.path("/sys/module/nouveau").mkdir()
    driver_host(debian)
    refused = prepare(debian, Prepare(driver="550"))
    allowed = prepare(debian, Prepare(driver="550", reboot=True))
    assert refused.error is not None
    assert (refused.error[0], allowed.reboot) == (
        "reboot_needed",
        "the NVIDIA driver 550.90.07 takes over from what drives the cards now",
    )
    assert [name for name in installed(debian) if name.startswith("nvidia")] == ["nvidia-driver-550"]


def test_an_older_driver_is_replaced_by_a_reboot(debian: Host) -> None:
    """The loaded module stays until then."""
    debian.write("/sys/module/nvidia/version", "535.183.01\n")
    debian.write(
        "/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun\n"
    )
    reported = prepare(driver_host(debian), Prepare(driver="550", reboot=True))
    assert reported.reboot == "the NVIDIA driver 550.90.07 takes over from 535.183.01"


def test_a_driver_that_does_not_load_after_the_reboot_is_not_rebooted_again(debian: Host) -> None:
    """One reboot is tried; then the kernel's words are reported."""
    driver_host(debian)
    debian.write("/standin/no-modules", "nvidia\n")
    asked = Prepare(driver="550", reboot=True)
    assert prepare(debian, asked).reboot is not None
    debian.write("/proc/sys/kernel/random/boot_id", "b0071d00-0000-4000-8000-000000000002\n")
    reported = prepare(debian, asked)
    assert reported.error is not None
    assert (reported.error[0], "Module nvidia not found" in reported.error[1]) == ("driver_not_loaded", True)


def test_a_driver_that_is_installed_is_not_installed_again(debian: Host) -> None:
    """Only its module is loaded."""
    debian.write("/standin/installed", "nvidia-driver-550 550.90.07-0ubuntu1\n")
    debian.write("/standin/modinfo", "550.90.07\n")
    reported = prepare(debian, Prepare(driver="550"))
    assert reported.changes == [("driver", "loaded the driver 550.90.07")]


@pytest.mark.parametrize(
    ("offers", "taken"),
    [
        ("nvidia-driver 550.54.15-1~deb12u1\n", "nvidia-driver"),
        ("nvidia-driver 535.216.01-1~deb12u1\ncuda-drivers-550 550.90.07-1\n", "cuda-drivers-550"),
    ],
)
def test_debian_s_driver_is_taken_where_it_is_of_the_branch(debian: Host, offers: str, taken: str) -> None:
    """On Debian the branch stands in the version, not in the name."""
    prepare(driver_host(debian, offers), Prepare(driver="550"))
    assert installed(debian) == [taken]


@pytest.mark.parametrize("offers", ["nvidia-driver 535.216.01-1~deb12u1\n", ""])
def test_another_branch_than_the_one_asked_for_is_missing(debian: Host, offers: str) -> None:
    """Nothing else is installed instead."""
    reported = prepare(driver_host(debian, offers), Prepare(driver="550"))
    assert reported.error is not None
    assert (reported.error[0], installed(debian)) == ("package_missing", [])


def test_a_held_driver_is_left_alone(debian: Host) -> None:
    """Whoever put it on hold had a reason."""
    debian.write("/standin/held", "libnvidia-compute-535\n")
    reported = prepare(driver_host(debian), Prepare(driver="550"))
    assert (reported.error, installed(debian)) == (
        ("package_held", "driver: libnvidia-compute-535 is on hold"),
        [],
    )


def test_a_hold_on_something_else_does_not_matter(debian: Host) -> None:
    """The control."""
    debian.write("/standin/held", "linux-image-generic\n")
    assert prepare(driver_host(debian), Prepare(driver="550")).is_done


def test_persistence_is_kept_by_a_unit_of_ours(debian: Host) -> None:
    """Where the vendor's daemon is missing, a unit sets the mode at every boot."""
    reported = run(debian, (("persistence",),))
    own = "ionet-persistence.service"
    assert reported.changes == [
        ("persistence", f"wrote {own}"),
        ("persistence", f"{own} keeps the driver loaded"),
    ]
    assert f"ExecStart={debian.shims}/nvidia-smi -pm 1\n" in debian.read(f"/etc/systemd/system/{own}")
    assert debian.read(f"/standin/units/{own}") == "enabled active\n"


def test_persistence_is_kept_by_the_vendor_s_daemon(debian: Host) -> None:
    """Where it is installed and does its work, nothing is added."""
    debian.write("/standin/units/nvidia-persistenced.service", "disabled inactive\n")
    debian.write("/standin/persistence", "Enabled\n")
    reported = run(debian, (("persistence",),))
    assert reported.changes == [("persistence", "nvidia-persistenced keeps the driver loaded")]


# --- packages --------------------------------------------------------------------------------------------------------


def package(directory: Path, preparation: str, name: str) -> Package:
    path = directory / name
    path.write_bytes(b"!<arch>\n")
    return Package(preparation, str(path), 8)


def test_files_that_came_along_are_installed(debian: Host, tmp_path: Path) -> None:
    """Without a way out, and without asking anybody else."""
    debian.write("/standin/offers", "")
    brought = package(tmp_path, "docker", "docker.io_24.0.5_amd64.deb")
    reported = prepare(debian, Prepare(docker=True), (brought,))
    assert reported.changes[0] == ("docker", "installed docker.io from files")
    (call,) = calls(debian, "apt-get")
    assert "Dir::Etc::sourcelist=/dev/null" in call
    assert not debian.path("/var/lib/ionet/staging").exists()


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 9 (apt)",
            "packages_locked",
        ),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "disk_full"),
        ("dpkg: error processing archive x.deb (--unpack): No space left on device", "disk_full"),
        ("E: Unable to locate package docker.io", "package_missing"),
        (
            "The following packages have unmet dependencies:\n docker.io : Depends: runc but",
            "package_missing",
        ),
        (
            "E: Held packages were changed and -y was used without --allow-change-held-packages.",
            "package_held",
        ),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", "prepare_failed"),
        ("something nobody has heard of", "prepare_failed"),
    ],
)
def test_what_a_package_manager_complains_of_has_a_code(debian: Host, output: str, code: str) -> None:
    """Its own output is shown, under a code that scripts can match."""
    debian.write("/standin/complaints/apt-get", f"Reading package lists...\n{output}\n")
    reported = prepare(debian, Prepare(docker=True))
    assert reported.error is not None
    assert reported.error[0] == code
    assert output.splitlines()[-1].removeprefix("E: ").strip()[:40] in reported.error[1]


def test_an_installation_that_was_cut_off_is_completed_first(debian: Host) -> None:
    """After a power cut dpkg refuses everything until that is done."""
    debian.write("/var/lib/dpkg/updates/0001", "")
    reported = prepare(debian, Prepare(docker=True))
    assert reported.changes[0] == ("docker", "completed an installation that was cut off")


def test_without_apt_nothing_can_be_installed(debian: Host) -> None:
    """On another family of systems the message says so."""
    (debian.shims / "apt-get").unlink()
    debian.environment["PATH"] = f"{debian.shims}:{without('apt-get', debian)}"
    reported = prepare(debian, Prepare(docker=True))
    assert reported.error == ("package_missing", "docker: this host has no apt-get to install docker-ce with")


def without(name: str, host: Host) -> str:
    """The host's PATH with a folder of links instead of those that hold ``name``."""
    folder = host.shims.parent / "linked"
    folder.mkdir()
    path = host.environ()["PATH"].split(":")[1:]
    for place in path:
        for program in Path(place).iterdir():
            if program.name != name and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return str(folder)


# --- all together ----------------------------------------------------------------------------------------------------


def test_all_at_once_comes_in_its_order(debian: Host) -> None:
    """Each step is announced; what follows builds on what came before, and a second survey needs nothing."""
    asked = Prepare(docker=True, container_toolkit=True, cni=True, modules=True, time_sync=True)
    with debian.path("/standin/offers").open("a") as offers:
        offers.write("nvidia-container-toolkit 1.17.8\n")
    reported = prepare(debian, asked)
    announced = [report[1] for report in reported.reports if report[0] == "step"]
    assert announced == ["time_sync", "modules", "docker", "container_toolkit", "cni"]
    assert reported.is_done
    assert_lasting(debian, asked)


def test_what_asks_for_a_reboot_is_granted_one(debian: Host) -> None:
    """A package may ask for it; a request from before is not ours."""
    debian.write(
        "/standin/effects/docker.io",
        f'{DOCKER}\nmkdir -p "$IONET_ROOT/run"; : >"$IONET_ROOT/run/reboot-required"',
    )
    reported = prepare(debian, Prepare(docker=True, reboot=True))
    assert reported.reboot == "a package that was installed asks for it"
    debian.path("/opt").mkdir(exist_ok=True)
    assert prepare(debian, Prepare(cni=True)).reboot is None


def test_a_rehearsal_host_changes_nothing_of_the_machine(debian: Host) -> None:
    """Below another root only stand-ins may be called."""
    debian.environment.pop("IONET_STANDINS")
    reported = prepare(debian, Prepare(docker=True))
    assert reported.error == ("prepare_failed", "prepare: a rehearsal host has no apt-get of its own")


def test_another_rollout_s_lock_is_respected(debian: Host) -> None:
    """Nothing is done on a host at which another rollout is at work."""
    lock = debian.path("/var/lib/ionet/lock")
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(("sleep", "60")) as holder:
        started = Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = debian.read("/proc/sys/kernel/random/boot_id").strip()
        lock.symlink_to("\t".join(("r0", "eve@ops", "now", str(holder.pid), started, boot)))
        identity = ("n0nce", ROLLOUT, "ada@ops", "now", "0")
        done = subprocess.run(
            debian.argv("-c", receive_script(), "sh", *identity),
            capture_output=True,
            env=debian.environ(),
            check=False,
        )
        holder.kill()
    assert (done.returncode, done.stdout) == (75, b"error\tlocked\tr0 eve@ops now\n")
    assert not debian.path(MODULES_FILE).exists()
