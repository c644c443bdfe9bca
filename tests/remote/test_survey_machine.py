"""What the survey finds of a machine: its parts, its kernel, what would run containers, its driver."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

import pytest

from ionetctl.core.observed import Docker, Driver, Xid
from tests.remote.rehearsal import Host, make_host, shim
from tests.support.programs import needs

DOCKER = "24.0.7|systemd|/srv/docker|nvidia|io.containerd.runc.v2 nvidia runc |name=seccomp,profile=builtin name=userns |2"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
EFI_VARIABLE = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.fixture
def bare(tmp_path: Path) -> Host:
    """A host that has no program but busybox's."""
    needs("busybox")
    return make_host(tmp_path, "busybox")


def pci(host: Host, *devices: tuple[str, str]) -> None:
    """A PCI bus with devices of that vendor and class."""
    host.path("/sys/bus/pci/devices").mkdir(parents=True)
    for number, (vendor, kind) in enumerate(devices):
        host.write(f"/sys/bus/pci/devices/{number}/vendor", f"{vendor}\n")
        host.write(f"/sys/bus/pci/devices/{number}/class", f"{kind}\n")


def test_the_machine_is_told(host: Host) -> None:
    """Name, processor, product, swap and huge pages are what the kernel shows."""
    host.write("/proc/sys/kernel/hostname", "rig-7\n")
    host.write("/proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC 7543 32-Core Processor\n" * 2)
    meminfo = "MemTotal:       2048 kB\nSwapTotal:   1048576 kB\nHugePages_Total:    4\n"
    host.write("/proc/meminfo", meminfo + "Hugepagesize:       2048 kB\n")
    host.write("/sys/class/dmi/id/sys_vendor", "Supermicro\n")
    host.write("/sys/class/dmi/id/product_name", "AS -4124GS-TNR\n")
    host.write("/sys/class/dmi/id/product_uuid", "6F1C11D5-5FD1-4E23-9C39-1F2E3A4B5C6D\n")
    machine = host.survey().machine
    assert machine.hostname == "rig-7"
    assert machine.cpu_model == "AMD EPYC 7543 32-Core Processor"
    assert machine.product == "Supermicro AS -4124GS-TNR"
    assert machine.product_uuid == "6f1c11d5-5fd1-4e23-9c39-1f2e3a4b5c6d"
    assert (machine.swap_mib, machine.hugepages_mib) == (1024, 8)


def test_huge_pages_of_all_sizes_count(host: Host) -> None:
    """Where the kernel tells the sum over all sizes, that is what counts."""
    host.write("/proc/meminfo", "HugePages_Total: 0\nHugepagesize: 2048 kB\nHugetlb:  4194304 kB\n")
    assert host.survey().machine.hugepages_mib == 4096


def test_what_is_not_there_is_not_known(bare: Host) -> None:
    """Without files and programs nothing is claimed of the machine, neither good nor bad."""
    shim(bare, "dmesg", "exit 1")
    shim(bare, "journalctl", "exit 1")
    machine = bare.survey().machine
    assert (machine.hostname, machine.cpu_model, machine.product) == (None, None, None)
    assert (machine.systemd_version, machine.virtualization, machine.is_time_synchronized) == (
        None,
        None,
        None,
    )
    assert (machine.docker, machine.toolkit_version, machine.cni_plugins) == (None, None, None)
    assert (machine.modules, machine.gpus_on_bus, machine.xids, machine.interfaces) == (
        None,
        None,
        None,
        None,
    )
    assert (machine.firewalls, machine.package_manager, machine.needs_reboot) == (None, None, None)
    assert (machine.driver, machine.has_python) == (Driver(), False)


def test_systemd_s_programs_are_asked(host: Host) -> None:
    """Version, virtualization and time are systemd's words."""
    shim(host, "systemctl", "echo 'systemd 255 (255.4-1ubuntu8)'; echo '+PAM +AUDIT'")
    shim(host, "systemd-detect-virt", "echo none; exit 1")
    shim(host, "timedatectl", "echo NTP=yes; echo NTPSynchronized=no")
    machine = host.survey().machine
    assert (machine.systemd_version, machine.virtualization) == (255, "none")
    assert (machine.is_ntp_on, machine.is_time_synchronized) == (True, False)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (["cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0"], ("v2", {"cpu", "memory"})),
        (["cgroup2 /sys/fs/cgroup cgroup2 ro,nosuid 0 0"], ("v2", set[str]())),
        (
            [
                "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0",
                "cgroup /sys/fs/cgroup/memory cgroup ro,memory 0 0",
                "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0",
            ],
            ("v1", {"cpu", "cpuacct"}),
        ),
        (
            [
                "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
                "cgroup /sys/fs/cgroup/memory cgroup ro,memory 0 0",
                "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0",
            ],
            ("hybrid", {"memory"}),
        ),
        (["proc /proc proc rw 0 0"], (None, None)),
    ],
    ids=["v2", "v2 read-only", "v1", "hybrid", "none"],
)
def test_usable_controllers_are_told(host: Host, mounts: list[str], expected: tuple[object, object]) -> None:
    """A controller counts where the topmost mount of it may be written to."""
    host.write("/proc/mounts", "\n".join([*mounts, ""]))
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    machine = host.survey().machine
    controllers = machine.cgroup_controllers
    assert (machine.cgroups, None if controllers is None else set(controllers)) == expected


def test_modules_are_loaded_or_built_in(host: Host) -> None:
    """A module counts when it is loaded or part of the kernel, and no other that only begins like it."""
    release = host.survey().kernel
    host.write("/proc/modules", "bridge 311296 1 br_netfilter, Live 0x0\nnvidia_uvm 1 0 - Live 0x0\n")
    host.write(f"/lib/modules/{release}/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n")
    host.path("/sys/module/br_netfilter").mkdir(parents=True)
    machine = host.survey().machine
    assert machine.modules == ("bridge", "br_netfilter", "overlay")
    assert machine.driver.is_nouveau_loaded is False
    host.write("/proc/modules", "nouveau 2306048 1 - Live 0x0\n")
    assert host.survey().machine.driver.is_nouveau_loaded is True


@pytest.mark.parametrize(
    ("program", "expected"), [("apt-get", ("apt", False)), ("dnf", ("dnf", None)), ("apk", ("apk", None))]
)
def test_the_package_manager_is_told(bare: Host, program: str, expected: tuple[str, bool | None]) -> None:
    """The manager is named; that no reboot is due is known of the Debian families alone."""
    shim(bare, program, "")
    machine = bare.survey().machine
    assert (machine.package_manager, machine.needs_reboot) == expected


def test_a_due_reboot_is_told(host: Host) -> None:
    """The mark that upgrades leave is seen."""
    host.write("/run/reboot-required", "")
    assert host.survey().machine.needs_reboot is True


def test_docker_is_told_whole(host: Host) -> None:
    """The daemon's version, cgroups, runtimes and root directory, with the room there."""
    shim(host, "docker", f'[ "$1" = ps ] || echo "{DOCKER}"')
    facts = host.survey()
    assert facts.machine.docker == Docker(
        version="24.0.7",
        cgroup_driver="systemd",
        cgroup_version="2",
        root_dir="/srv/docker",
        runtimes=("io.containerd.runc.v2", "nvidia", "runc"),
        default_runtime="nvidia",
    )
    assert "/srv/docker" in [disk.path for disk in facts.disks]


@pytest.mark.parametrize(
    ("options", "expected"), [("name=seccomp name=userns ", True), ("name=seccomp ", False), ("", False)]
)
def test_a_docker_that_maps_users_says_so(host: Host, options: str, expected: bool) -> None:  # noqa: FBT001
    """By its security options."""
    shim(host, "docker", f'[ "$1" = ps ] || echo "27.3.1|systemd|/var/lib/docker|runc|runc |{options}|2"')
    assert host.survey().machine.is_docker_remapped is expected


@pytest.mark.parametrize(
    ("modules", "expected"),
    [("lockdown,capability,landlock,yama\n", True), ("capability,yama\n", False), (None, None)],
)
def test_landlock_is_among_the_modules_of_security(
    host: Host,
    modules: str | None,
    expected: bool | None,  # noqa: FBT001
) -> None:
    """Where the kernel lists them."""
    shim(host, "python3", "exit 1")
    if modules is not None:
        host.write("/sys/kernel/security/lsm", modules)
    assert host.survey().machine.has_landlock is expected


@pytest.mark.parametrize(("said", "expected"), [("1", True), ("0", False)], ids=["granted", "refused"])
def test_landlock_is_what_the_kernel_grants(host: Host, said: str, expected: bool) -> None:  # noqa: FBT001
    """A container's filter may refuse what the kernel lists; that is asked as Nomad asks it."""
    host.write("/sys/kernel/security/lsm", "capability,landlock\n")
    shim(host, "python3", f'case "$*" in *444*) echo {said} ;; *) exit 1 ;; esac')
    assert host.survey().machine.has_landlock is expected


def test_landlock_is_asked_for_by_its_system_call(host: Host) -> None:
    """A Python that is refused every call says so: the number is the call's."""
    host.write("/sys/kernel/security/lsm", "landlock\n")
    answers = host.path("/answers")
    answers.mkdir()
    refusing = "CDLL = lambda _: type('libc', (), {'syscall': lambda *given: -1})()\nc_size_t = int\n"
    (answers / "ctypes.py").write_text(refusing)
    # -I leaves PYTHONPATH out.
    program = f'import sys; sys.path.insert(0, "{answers}"); exec(sys.argv[1])'
    shim(host, "python3", f"exec {sys.executable} -c '{program}' \"$4\"")
    assert host.survey().machine.has_landlock is False


@pytest.mark.parametrize(
    ("script", "number", "expected"),
    [("echo nosymfollow", 1000, True), ("exit 1", 0, False), ("exit 1", 1000, None), ("true", 0, False)],
    ids=["refused", "no namespace", "not root", "followed"],
)
def test_links_can_be_refused_where_it_was_tried(
    host: Host,
    script: str,
    number: int,
    expected: bool | None,  # noqa: FBT001
) -> None:
    """In a mount namespace; only root may try, so that what fails for others tells nothing."""
    shim(host, "unshare", script)
    shim(host, "id", f"echo {number}")
    assert host.survey().machine.can_refuse_links is expected


@pytest.mark.skipif(os.geteuid() != 0, reason="making a mount namespace takes root")
@pytest.mark.parametrize("knows", [True, False], ids=["mount knows", "mount passes over"])
def test_links_are_refused_by_this_kernel(host: Host, knows: bool) -> None:  # noqa: FBT001
    """By mount, or where it is an old one, by Python; what was tried is gone then."""
    unshare = needs("unshare")
    if subprocess.run([unshare, "--mount", "--propagation", "private", "true"], check=False).returncode:
        pytest.skip("no mount namespace here: the root is none of its own, as in a chroot")
    shim(host, "python3", f'exec {sys.executable} "$@"')
    if not knows:
        shim(host, "mount", f'exec {which("mount")} $(echo "$@" | sed s/,nosymfollow//)')
    before = Path("/proc/self/mountinfo").read_text()
    assert host.survey().machine.can_refuse_links is True
    assert Path("/proc/self/mountinfo").read_text() == before


SOCKETS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   2: 0100007F:1226 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   3: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   4: 0100007F:9C40 0100007F:0277 01 00000000:00000000 00:00000000 00000000     0        0 1 1
"""
SOCKETS_6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A
   2: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A
   3: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A
   4: 0000000000000000FFFF00000700000A:1F93 00000000000000000000000000000000:0000 0A
"""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Too few arguments for verify: missing namespace", True),
        ("unknown option -- Y", False),
        ("illegal option", False),
    ],
    ids=["new", "old", "old-on-another-libc"],
)
def test_whether_signatures_can_be_checked_is_told(one_host: Host, said: str, expected: bool) -> None:  # noqa: FBT001
    """An old ssh-keygen does not know the option; a new one misses what comes after it."""
    shim(one_host, "ssh-keygen", f"echo '{said}' >&2; exit 255")
    assert one_host.survey().machine.verifies_signatures is expected


def test_services_on_loopback_are_told(host: Host) -> None:
    """Those that listen there and nowhere else, of both families, each port once; Nomad's own is left out.

    A server of Java's listens on ``::ffff:127.0.0.1``.
    """
    host.write("/proc/net/tcp", SOCKETS)
    host.write("/proc/net/tcp6", SOCKETS_6)
    assert host.survey().machine.loopback_ports == (53, 631, 8080, 8082)


def test_no_service_on_loopback_is_told_as_none(host: Host) -> None:
    """Which is not the same as a kernel that does not say."""
    before = host.survey().machine.loopback_ports
    host.write("/proc/net/tcp", SOCKETS.splitlines(keepends=True)[0])
    assert (before, host.survey().machine.loopback_ports) == (None, ())


def test_of_many_services_some_are_told(host: Host) -> None:
    """A record has a limit."""
    rows = [f"  {n}: 0100007F:{n + 1:04X} 00000000:0000 0A\n" for n in range(100)]
    host.write("/proc/net/tcp", "header\n" + "".join(rows))
    assert host.survey().machine.loopback_ports == tuple(range(1, 33))


def test_an_old_docker_stops_printing(host: Host) -> None:
    """A Docker that does not know what a cgroup version is says all the rest."""
    shim(host, "docker", f'[ "$1" = ps ] || {{ echo "{DOCKER.removesuffix("2")}"; exit 1; }}')
    docker = host.survey().machine.docker
    assert docker is not None
    assert (docker.version, docker.cgroup_version, docker.default_runtime) == ("24.0.7", None, "nvidia")


def test_a_docker_without_daemon_has_no_version(host: Host) -> None:
    """A client whose daemon does not answer is not nothing, and not a Docker that works."""
    shim(host, "docker", "echo 'Cannot connect to the Docker daemon' >&2; echo; exit 1")
    facts = host.survey()
    assert facts.machine.docker == Docker(version=None)
    assert "/var/lib/docker" in [disk.path for disk in facts.disks]


def test_a_snap_of_docker_is_told(one_host: Host) -> None:
    """Docker from a snap is found where snaps are, and named as one."""
    one_host.write("/snap/bin/docker", f"#!/bin/sh\necho '{DOCKER}'\n", 0o755)
    docker = one_host.survey().machine.docker
    assert docker is not None
    assert docker.is_snap


def test_a_root_directory_of_odd_characters_is_not_acted_upon(host: Host) -> None:
    """What Docker says is a text; only a plain path of it is looked at."""
    shim(host, "docker", f"[ $1 = ps ] || echo '{DOCKER.replace('/srv/docker', '/srv/a b')}'")
    facts = host.survey()
    assert facts.machine.docker is not None
    assert facts.machine.docker.root_dir == "/srv/a b"
    assert "/srv/a b" not in [disk.path for disk in facts.disks]


def test_the_container_toolkit_is_told(host: Host) -> None:
    """Its version is the last word of its first line."""
    shim(host, "nvidia-ctk", "echo 'NVIDIA Container Toolkit CLI version 1.17.0'; echo 'commit: 0b1d3c7'")
    assert host.survey().machine.toolkit_version == "1.17.0"


def test_network_plugins_are_programs(host: Host) -> None:
    """What can be run in the plugins' directory is one, what is a mere file is not."""
    host.write("/opt/cni/bin/bridge", "", 0o755)
    host.write("/opt/cni/bin/loopback", "", 0o755)
    host.write("/opt/cni/bin/README.md", "")
    assert host.survey().machine.cni_plugins == ("bridge", "loopback")


def test_an_empty_plugin_directory_is_not_a_missing_one(host: Host) -> None:
    """No plugins are there, and that is known."""
    host.path("/opt/cni/bin").mkdir(parents=True)
    assert host.survey().machine.cni_plugins == ()


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs-builder)",
    ],
)
def test_the_driver_is_told(host: Host, line: str) -> None:
    """The module's version is the kernel's word, the library's that of the file that its name leads to."""
    host.write("/proc/driver/nvidia/version", f"{line}\nGCC version: 12.3.0\n")
    host.write(f"{LIBRARY}.550.90.07", "")
    host.path(f"{LIBRARY}.1").symlink_to("libnvidia-ml.so.550.90.07")
    driver = host.survey().machine.driver
    assert (driver.module_version, driver.library_version) == ("550.54.14", "550.90.07")


def test_a_library_elsewhere_is_found(host: Host) -> None:
    """Where the linker knows the library in another directory, it is that one."""
    host.write("/opt/nvidia/libnvidia-ml.so.535.183.01", "")
    host.path("/opt/nvidia/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.535.183.01")
    cache = "\tlibnvidia-ml.so.1 (libc6,x86-64) => /opt/nvidia/libnvidia-ml.so.1"
    shim(host, "ldconfig", f"echo '2 libs found'; echo '{cache}'")
    assert host.survey().machine.driver.library_version == "535.183.01"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            ["ii  cuda-drivers", "hi  nvidia-driver-550-server", "hi  nvidia-settings"],
            ("nvidia-driver-550-server", ("nvidia-driver-550-server", "nvidia-settings")),
        ),
        (["un  nvidia-driver", "ii  nvidia-headless-535", "ii  nvidia-smi"], ("nvidia-headless-535", ())),
        (
            ["un  nvidia-driver", "rc  nvidia-driver-470", "hn  libnvidia-gl-570"],
            (None, ("libnvidia-gl-570",)),
        ),
        ([], (None, None)),
    ],
)
def test_the_driver_s_package_is_told(
    host: Host, rows: list[str], expected: tuple[str | None, tuple[str, ...] | None]
) -> None:
    """The package that is installed is named, the driver's own before others, and what is on hold."""
    pci(host, ("0x10de", "0x030000"))
    shim(host, "dpkg-query", "".join(f"echo '{row}'\n" for row in rows) + "exit 1")
    driver = host.survey().machine.driver
    assert (driver.package, driver.held) == expected


def test_holds_without_end_are_bounded(one_host: Host) -> None:
    """Of hundreds of held packages some are named."""
    pci(one_host, ("0x10de", "0x030000"))
    names = "".join(f"hi  nvidia-{number}\n" for number in range(500))
    says(one_host, "dpkg-query", names)
    assert len(one_host.survey().machine.driver.held or ()) == 16


def test_the_driver_s_package_is_told_by_rpm(bare: Host) -> None:
    """Among what rpm says are sentences on what is not there."""
    pci(bare, ("0x10de", "0x030000"))
    shim(bare, "rpm", "echo 'package nvidia-driver is not installed'; echo kmod-nvidia; exit 1")
    driver = bare.survey().machine.driver
    assert (driver.package, driver.held) == ("kmod-nvidia", None)


UNINSTALLER = "/usr/bin/nvidia-uninstall"
OWNED_BY_RPM = "case $1 in -qf) echo nvidia-driver-libs-550 ;; *) echo nvidia-driver ;; esac"
OWNED_BY_NONE = 'case $1 in -qf) echo "file $2 is not owned by any package"; exit 1 ;; esac'


def install_driver(host: Host) -> None:
    """Its library, and a module that is loaded."""
    host.write("/proc/driver/nvidia/version", "NVRM version: NVIDIA Kernel Module  550.54.14\n")
    host.write(f"{LIBRARY}.550.54.14", "")
    host.path(f"{LIBRARY}.1").symlink_to("libnvidia-ml.so.550.54.14")


@pytest.mark.parametrize(
    ("program", "script", "expected"),
    [
        (
            "dpkg-query",
            f'[ "$1" = -S ] && [ "$2" = {LIBRARY}.550.54.14 ] && echo "libnvidia-compute-550: $2"',
            False,
        ),
        ("dpkg-query", 'echo "no path found matching pattern $2" >&2; exit 1', True),
        ("rpm", OWNED_BY_RPM, False),
        ("rpm", OWNED_BY_NONE, True),
        ("apk", "exit 0", True),
    ],
)
def test_a_driver_of_no_package_is_told(bare: Host, program: str, script: str, expected: bool) -> None:  # noqa: FBT001
    """NVIDIA's installer leaves an uninstaller; a package that came later owns the library."""
    install_driver(bare)
    shim(bare, program, script)
    assert bare.survey().machine.driver.is_run_file is False
    bare.write(UNINSTALLER, "", 0o755)
    assert bare.survey().machine.driver.is_run_file is expected


def test_an_uninstaller_without_a_library_is_a_driver_of_no_package(host: Host) -> None:
    """No package is asked for the owner of nothing, which it would say it is."""
    pci(host, ("0x10de", "0x030000"))
    shim(host, "dpkg-query", "echo 'libc6: /'")
    host.write(UNINSTALLER, "", 0o755)
    assert host.survey().machine.driver.is_run_file is True


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("BOOT_IMAGE=/boot/vmlinuz root=UUID=7 ro mitigations=off quiet\n", False),
        ("mitigations=off", False),
        ("root=/dev/sda1 mitigations=auto,nosmt x_mitigations=off", True),
        ("", None),
    ],
)
def test_mitigations_are_told(host: Host, line: str, expected: bool | None) -> None:  # noqa: FBT001
    """The kernel's command line says whether they were switched off."""
    host.write("/proc/cmdline", line)
    assert host.survey().machine.has_mitigations is expected


def test_no_package_is_looked_for_without_a_card(host: Host) -> None:
    """A host without NVIDIA's cards and driver is spared the question."""
    pci(host, ("0x8086", "0x030000"))
    shim(host, "dpkg-query", "echo 'ii  nvidia-driver'")
    assert host.survey().machine.driver.package is None


def test_cards_on_the_bus_are_counted(host: Host) -> None:
    """NVIDIA's display devices count, its sound devices and others' displays do not."""
    pci(host, ("0x10de", "0x030000"), ("0x10de", "0x040300"), ("0x10de", "0x030200"), ("0x1002", "0x030000"))
    assert host.survey().machine.gpus_on_bus == 2


@pytest.mark.parametrize(("word", "expected"), [("enabled", True), ("disabled", False)])
def test_secure_boot_is_asked_of_mokutil(host: Host, word: str, expected: bool) -> None:  # noqa: FBT001  (a case)
    """Its sentence says whether it is on."""
    shim(host, "mokutil", f"echo 'SecureBoot {word}'")
    assert host.survey().machine.driver.is_secure_boot_on is expected


@pytest.mark.parametrize(("value", "expected"), [(1, True), (0, False)])
def test_secure_boot_is_read_from_the_firmware(bare: Host, value: int, expected: bool) -> None:  # noqa: FBT001
    """Without mokutil the firmware's variable says it, after four bytes of attributes."""
    bare.write(EFI_VARIABLE, bytes([6, 0, 0, 0, value]))
    assert bare.survey().machine.driver.is_secure_boot_on is expected


KERNEL_LOG = """[    0.000000] Linux version 6.8.0-45-generic
[  101.000000] NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.
[  102.000000] NVRM: Xid (PCI:0000:02:00): 31, pid='<unknown>', Ch 00000008
[  103.000000] NVRM: Xid (PCI:0000:02:00): 31, pid='<unknown>', Ch 00000008
[  104.000000] NVRM: Xid (0000:03:00): 13, Graphics Exception
[  105.000000] NVRM: GPU at PCI:0000:01:00: GPU-aaaa
"""
XIDS = {Xid(79, "0000:01:00", 1), Xid(31, "0000:02:00", 2), Xid(13, "0000:03:00", 1)}


def says(host: Host, program: str, text: str) -> None:
    """A program that prints this."""
    host.write(f"/standin/{program}", text)
    shim(host, program, f"cat '{host.path(f'/standin/{program}')}'")


def test_the_driver_s_errors_are_counted(host: Host) -> None:
    """Every code and card comes once, with how often it was logged."""
    says(host, "dmesg", KERNEL_LOG)
    shim(host, "journalctl", "echo 'asked in vain' >&2; exit 1")
    assert set(host.survey().machine.xids or ()) == XIDS


def test_a_log_without_errors_is_known_to_have_none(host: Host) -> None:
    """None is not unknown."""
    says(host, "dmesg", "[    0.000000] Linux version 6.8.0-45-generic\n")
    assert host.survey().machine.xids == ()


def test_a_log_that_lost_its_beginning_is_not_all(host: Host) -> None:
    """When the kernel's own log has turned over, the journal is asked; it failing, what is there counts."""
    says(host, "dmesg", "[ 9101.000000] NVRM: Xid (PCI:0000:01:00): 79, pid=1\n")
    shim(host, "journalctl", "exit 1")
    assert host.survey().machine.xids == (Xid(79, "0000:01:00", 1),)
    says(host, "journalctl", KERNEL_LOG)
    assert set(host.survey().machine.xids or ()) == XIDS


def test_a_log_that_may_not_be_read_is_read_from_the_journal(host: Host) -> None:
    """The kernel's log may be closed to users, the journal open."""
    shim(host, "dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1")
    says(host, "journalctl", KERNEL_LOG)
    assert set(host.survey().machine.xids or ()) == XIDS


def test_errors_without_end_are_bounded(one_host: Host) -> None:
    """A log of thousands of different errors gives no more than the survey takes."""
    lines = (f"[    1.000000] NVRM: Xid (PCI:0000:{bus:02x}:00): {bus % 90}, x\n" for bus in range(250))
    says(one_host, "dmesg", "[    0.000000] Linux version 6.8.0\n" + "".join(lines))
    assert len(one_host.survey().machine.xids or ()) == 64


def test_a_program_that_hangs_is_left_behind(host: Host) -> None:
    """What waits for a program that heeds no signal does not hold up the rest."""
    # The deadline itself is not waited for: a sleep that ends at once stands for the time that passes.
    shim(host, "sleep", "exit 0")
    fifo = host.shims / "never"
    os.mkfifo(fifo)
    shim(host, "timedatectl", f"trap '' TERM; read -r _ <'{fifo}'")
    host.write("/proc/sys/kernel/hostname", "rig-7\n")
    before = time.monotonic()
    machine = host.survey().machine
    took_s = time.monotonic() - before
    with os.fdopen(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "wb", buffering=0) as stuck:
        stuck.write(b"free\n")
    assert (machine.hostname, machine.is_time_synchronized) == ("rig-7", None)
    # The program's own deadline is 5 s: neither it nor a copy of our output in its hands was waited for.
    assert took_s < 4
