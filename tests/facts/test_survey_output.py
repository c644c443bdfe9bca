"""What a host says is read strictly, whoever wrote it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.core.errors import HostError, HostFailedError, HostUnreachableError
from ionetctl.core.model.facts import Disk, Facts, NomadState, RemoteFile
from ionetctl.core.model.names import Digest, NodeId
from ionetctl.core.model.plan import Form
from ionetctl.core.observed import (
    Docker,
    Driver,
    Firewall,
    Interface,
    MachineFacts,
    MiningSign,
    Reach,
    Rig,
    Workload,
    Xid,
)
from ionetctl.facts.survey_output import SURVEY_LIMIT_BYTES, parse_survey, parted
from ionetctl.facts.survey_records import RECORD_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parent / "cases"
BAD = sorted(CASES.glob("*.txt"))
NODE_ID = NodeId("7b0dcd2c-6b2f-4c3c-9f0a-3d1c7f1f2a11")

MACHINE = MachineFacts(
    hostname="rig-7",
    systemd_version=255,
    cgroups="v2",
    cgroup_controllers=("cpu", "memory", "pids"),
    cpu_model="AMD EPYC 7543",
    product="Supermicro AS -4124GS-TNR",
    virtualization="none",
    swap_mib=1024,
    hugepages_mib=0,
    has_mitigations=False,
    is_on_stick=True,
    unpartitioned_mib=7168,
    is_time_synchronized=True,
    is_ntp_on=True,
    has_python=True,
    package_manager="apt",
    needs_reboot=False,
    modules=("bridge", "overlay"),
    docker=Docker("24.0.7", "systemd", "2", "/var/lib/docker", ("nvidia", "runc"), "runc"),
    toolkit_version="1.17.0",
    cni_plugins=("bridge", "host-local"),
    driver=Driver(
        module_version="550.54.14",
        library_version="550.90.07",
        package="nvidia-driver-550",
        held=("nvidia-settings", "libnvidia-gl-550"),
        is_run_file=True,
        is_nouveau_loaded=False,
        is_secure_boot_on=False,
    ),
    gpus_on_bus=2,
    xids=(Xid(79, "0000:01:00", 2),),
    interfaces=(
        Interface("eth0", "02:00:00:00:00:01", 1500, is_up=True, speed_mbps=10000, has_default_route=True),
        Interface("eth1", "02:00:00:00:00:02"),
    ),
    reaches=(
        Reach("nomad-1.eu-north.example", 4647, 12.345, None, "192.0.2.7", "198.51.100.1"),
        Reach("2001:db8::1", 4647, failure="timeout"),
    ),
    firewalls=(Firewall("ufw", blocks_outbound=True, allows_rpc=False),),
    miners=(Workload("t-rex", 4711, "t-rex.service"),),
    rig=Rig("HiveOS", "0.6-201", "123456", "rig 07"),
    mining_signs=(
        MiningSign("unit", "hive.service"),
        MiningSign("crontab", "/var/spool/cron/crontabs/root"),
    ),
    watchdog_cards=("watchdoginua",),
    is_vpn_by_rig=True,
    ionet_workers=(),
    nomad_region="eu-north",
    nomad_drivers=("docker", "exec"),
    is_docker_remapped=True,
    has_landlock=False,
    can_refuse_links=True,
    loopback_ports=(631, 8080),
)


def survey(*records: str) -> Facts:
    text = "\n".join(("ionet-survey\t1\tn0nce", *records, "ionet-survey-end\tn0nce", ""))
    return parse_survey(text.encode(), "n0nce", controller_time=0.0)


WHOLE = b"ionet-survey\t1\tn0nce\nuid\t0\nionet-survey-end\tn0nce\n"
PROBE = b"ionet-probe\t1\tn0nce\nempty\nionet-probe-end\tn0nce\n"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            WHOLE + PROBE + b"ionet-probed\tn0nce\t1250\n",
            (WHOLE, PROBE + b"ionet-probed\tn0nce\t1250\n", 12.5),
        ),
        (WHOLE, (WHOLE, b"", 0.0)),
        (WHOLE + PROBE[:-9], (WHOLE, PROBE[:-9], 0.0)),
        (
            WHOLE + PROBE + b"ionet-probed\tother\t1250\n",
            (WHOLE, PROBE + b"ionet-probed\tother\t1250\n", 0.0),
        ),
        (WHOLE + b"ionet-probed\tn0nce\t-7\n", (WHOLE, b"ionet-probed\tn0nce\t-7\n", 0.0)),
        (WHOLE[:-9], (WHOLE[:-9], b"", 0.0)),
        (b"\xff", (b"\xff", b"", 0.0)),
    ],
)
def test_survey_and_probe_are_parted(output: bytes, expected: tuple[bytes, bytes, float]) -> None:
    """Each has what was said of it; a time is believed where it bears the nonce."""
    assert parted(output, "n0nce") == expected


def test_a_whole_survey_is_read() -> None:
    """Every record ends in its place."""
    expected = Facts(
        os_id="ubuntu",
        os_version="24.04",
        os_name="Ubuntu 24.04 LTS",
        kernel="6.8.0-45-generic",
        architecture="x86_64",
        init="systemd",
        is_root=True,
        clock_offset_s=2.5,
        machine_id="0123456789abcdef0123456789abcdef",
        boot_id="b0071d00-0000-4000-8000-000000000001",
        cpu_cores=16,
        memory_mib=32000,
        disks=(
            Disk(
                "/opt/nomad",
                51200,
                "ext4",
                is_read_only=False,
                is_noexec=False,
                mount="/",
                remounts_read_only=True,
            ),
            Disk("/usr/local/bin", 100, "overlay", is_read_only=True, is_noexec=True, mount="/usr local"),
        ),
        gpus=None,
        gpu_source="not probed",
        nomad=NomadState(
            is_ours=True,
            active="active",
            is_enabled=True,
            is_running=True,
            agent_version="Nomad v2.0.5",
            node_id=NODE_ID,
            stamp="0123456789abcdef-n1",
            has_introduction_token=True,
            allocations=3,
            is_interrupted=True,
            config_files=("/etc/nomad.d/nomad.hcl",),
        ),
        files={
            "/etc/nomad.d/nomad.hcl": RemoteFile(
                "/etc/nomad.d/nomad.hcl", Digest("a" * 64), 0o640, "root:root"
            )
        },
        links={"/usr/local/bin/nomad": "/opt/nomad/releases/2.0.5/nomad"},
        manifest={"/etc/nomad.d/nomad.hcl": Digest("b" * 64)},
        node_certificate="-----BEGIN CERTIFICATE-----\n",
        node_public_key="MFkwEwYHKoZIzj0=",
        lock_owner="ada@ops (rollout 20260301T120000Z-7f3a)",
        lock_started_at="2026-03-01T12:00:00Z",
        has_gzip=True,
        best_form=Form.XZ,
        has_tar=True,
        has_openssl=False,
        machine=MACHINE,
    )
    output = (CASES / "whole.survey").read_bytes()
    assert parse_survey(output, "n0nce", controller_time=1763859859.5) == expected


def test_an_error_of_the_driver_may_name_no_card() -> None:
    """Its number is a fact all the same."""
    assert survey("xid\t95\t\t2").machine.xids == (Xid(95, "", 2),)


def test_podmans_stand_in_is_no_docker() -> None:
    """There is no daemon, and the reason is known."""
    machine = survey("podman\t1").machine
    assert (machine.docker, machine.is_docker_podman) == (None, True)


def test_an_empty_survey_claims_nothing() -> None:
    """What no record says is unknown, not zero."""
    facts = survey()
    unknown = {each.name for each in fields(facts) if getattr(facts, each.name) is None}
    assert unknown == {
        "boot_id",
        "clock_offset_s",
        "cpu_cores",
        "cuda_version",
        "driver_version",
        "gpus",
        "host_key",
        "lock_owner",
        "lock_started_at",
        "machine_id",
        "memory_mib",
        "node_certificate",
        "node_public_key",
    }
    assert facts.machine == MachineFacts()
    tools = (facts.has_tar, facts.has_gzip, facts.has_openssl, facts.best_form)
    assert (facts.is_root, *tools, facts.nomad.active) == (
        False,
        False,
        False,
        False,
        Form.GZIP,
        "unknown",
    )


@pytest.mark.parametrize("said", ["Not Settable", "x" * 250, "\x1b[31m"])
def test_firmware_that_gives_no_uuid(said: str) -> None:
    """Boards leave all kinds of texts there: none of them is a UUID, and none is an error."""
    assert survey(f"product-uuid\t{said}").machine.product_uuid is None


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_survey_is_refused(path: Path) -> None:
    """What is malformed is refused by the name of its field, what is torn is worth another try."""
    code, _, field = path.with_suffix(".expected").read_text().strip("\n").partition(" ")
    with pytest.raises(HostError) as caught:
        parse_survey(path.read_bytes(), "n0nce", controller_time=0.0)
    assert caught.value.code == code
    assert caught.value.hint
    is_torn = code == "survey_incomplete"
    assert isinstance(caught.value, HostUnreachableError if is_torn else HostFailedError)
    assert caught.value.transient is is_torn
    assert is_torn or f"field {field!r} is" in caught.value.message


def test_every_record_is_documented() -> None:
    """The protocol's document names all the records of a survey, and no others."""
    document = Path(__file__).parents[2].joinpath("docs/explanation/host-protocol.md").read_text()
    section = document[document.index("## Survey") : document.index("## Apply")]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == RECORD_NAMES


def test_endless_output_is_refused() -> None:
    """Output beyond its budget is not even looked at."""
    with pytest.raises(HostFailedError, match="more than"):
        parse_survey(bytes(SURVEY_LIMIT_BYTES + 1), "n0nce", controller_time=0.0)


@pytest.mark.parametrize(
    ("records", "expected"),
    [(["gpu.bus\t0"], ((), "pci")), (["gpu.bus\t1"], (None, "not probed")), ([], (None, "not probed"))],
)
def test_gpus_are_the_probe_s_to_tell(records: list[str], expected: tuple[object, str]) -> None:
    """Only a bus without any makes the number of GPUs zero; what else is there, a probe must say."""
    facts = survey(*records)
    assert (facts.gpus, facts.gpu_source) == expected


@pytest.mark.parametrize("name", ["xids", "interfaces", "firewalls", "miners", "mining", "ionet"])
def test_having_looked_makes_a_list_empty(name: str) -> None:
    """A list is known to be empty where the survey says that it looked, and no other list is."""
    machine = survey(f"looked\t{name}").machine
    lists = {
        "xids": machine.xids,
        "interfaces": machine.interfaces,
        "firewalls": machine.firewalls,
        "miners": machine.miners,
        "mining": machine.mining_signs,
        "ionet": machine.ionet_workers,
    }
    assert {key for key, value in lists.items() if value == ()} == {name}
    assert [value for value in lists.values() if value is not None] == [()]


def test_what_was_found_counts_even_so() -> None:
    """A record is believed though its list was never finished."""
    assert survey("miner\txmrig\t7\t").machine.miners == (Workload("xmrig", 7),)


def test_a_rig_s_identity_may_be_unknown() -> None:
    """What the host does not know of it is unknown, not empty."""
    assert survey("rig\tmmpOS\t\t\t").machine.rig == Rig("mmpOS")


def test_what_hosts_have_in_common_is_stored_once() -> None:
    """The paths and owners that 10,000 hosts report are one text each."""
    record = f"file\t{'0' * 64}\t0644\troot:root\t/etc/nomad.d/nomad.hcl"
    (one,), (another,) = (survey(record).files.values() for _ in range(2))
    assert one.path is another.path
    assert one.owner is another.owner


def test_texts_are_made_harmless() -> None:
    """No escape sequence, bidirectional or control character comes through."""
    facts = survey("os.name\t\x1b[2JUbuntu\u202e\x07", "init\t" + "x" * 1000, "modules\tbri\x1b[1mdge")
    assert facts.os_name == "Ubuntu"
    assert len(facts.init) == 300
    assert facts.machine.modules == ("bridge",)


def error_of(parse: Callable[[], object]) -> HostError | None:
    try:
        parse()
    except HostError as error:
        return error
    return None


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read(garbage: bytes) -> None:
    """Whatever a host says between the marks is facts or a named error, never another exception."""
    output = b"ionet-survey\t1\tn0nce\n" + garbage + b"\nionet-survey-end\tn0nce\n"
    error = error_of(lambda: parse_survey(output, "n0nce", controller_time=0.0))
    assert error is None or error.message.isprintable()
