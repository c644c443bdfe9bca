"""A bundle holds everything that a host should have, and its digest identifies it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError
from ionetctl.core.model.host import GpuPromise, Host, Location, Network, Reserve
from ionetctl.core.model.names import HostName
from ionetctl.core.model.plan import Kind
from ionetctl.core.observed import MigInstance
from ionetctl.lab.agent.config_schema import plugin_errors
from ionetctl.lab.agent.hcl import merge, read
from ionetctl.plan.bundle import (
    CHROOT_DIRECTORIES,
    STAMP,
    Subject,
    build_bundle,
    ignored_devices,
    ignored_gpus,
    managed_paths,
    meta_of,
    new_stamp,
    node_name,
    sha256,
    wants_gpus,
    with_stamp,
)
from tests.support.sample import BARE, HOST, NOMAD, SIGNERS, VERIFYING, bundle, promised, subject

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.inventory import TaskDriver


def content(path: str, host: Host = HOST) -> bytes:
    """The content of one file of a host's bundle."""
    return next(file.content for file in bundle(host).files if file.path == path)


def client_config(host: Host) -> Any:
    """The client configuration as an independent reader of HCL 1 reads it."""
    return read(content(host_paths.CLIENT_CONFIG, host).decode())


def test_every_path_is_surveyed() -> None:
    """A survey looks at exactly the paths that a bundle may hold."""
    everything = bundle(facts=VERIFYING, drivers=("docker", "exec"), signers=SIGNERS)
    assert sorted(managed_paths("2.0.5", "1.1.0")) == sorted(file.path for file in everything.files)


def test_what_hosts_have_in_common_is_stored_once() -> None:
    """Of 10,000 bundles only what bears a host's own values is kept for each."""
    other = replace(HOST, name=HostName("rey1-a01-g2"))
    pairs = zip(bundle().files, bundle(other).files, strict=True)
    own = {one.path for one, another in pairs if one.content and one is not another}
    assert own == {host_paths.CLIENT_CONFIG, host_paths.HOWTO}


EVERY_DRIVER: tuple[TaskDriver, ...] = ("docker", "exec", "java", "qemu", "raw_exec")


def configuration(*drivers: TaskDriver, subject_of: Subject | None = None) -> Any:
    """All of the configuration of a host on which jobs may use these drivers, merged."""
    files = build_bundle(subject_of or subject(drivers=drivers)).files
    merged: Any = {}
    for file in files:
        if file.path.endswith(".hcl"):
            merge(merged, read(file.content.decode()))
    return merged


def test_jobs_may_use_docker_alone() -> None:
    """Nothing else is even looked for, and no other driver is configured."""
    config = configuration("docker")
    assert config["client"]["options"]["driver.allowlist"] == "docker"
    assert set(config["plugin"]) == {"docker", "nomad-device-nvidia"}
    assert "chroot_env" not in config["client"]


def test_templates_and_tasks_see_nothing_of_the_agent() -> None:
    """Functions that read or write as root are denied under the very key that Nomad knows, since it passes over a wrong one."""
    client = configuration("docker")["client"]
    assert client["template"] == {
        "function_denylist": ["executeTemplate", "plugin", "writeToFile", "mustEnv"]
    }
    hidden = client["options"]["env.denylist"].split(",")
    assert {"VAULT_TOKEN", "NOMAD_CLIENT_INTRO_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} <= set(hidden)


def test_containers_have_neither_privileges_nor_volumes() -> None:
    """Nor what makes devices."""
    docker = configuration("docker")["plugin"]["docker"]["config"]
    assert (docker["allow_privileged"], docker["volumes"]) == (False, {"enabled": False})
    assert "mknod" not in docker["allow_caps"]
    assert docker["allow_runtimes"] == ["runc", "nvidia"]
    assert docker["pids_limit"] > 0


def test_every_driver_is_configured_on_request() -> None:
    """Each with what it knows, by the rehearsal's table of a real agent's keys."""
    config = configuration(*EVERY_DRIVER)
    assert config["client"]["options"]["driver.allowlist"] == "docker,exec,java,qemu,raw_exec"
    plugins = config["plugin"]
    assert plugins["exec"]["config"] == {"allow_caps": [], "denied_host_uids": "0-65533"}
    assert plugins["java"]["config"] == {"allow_caps": []}
    assert plugins["raw_exec"]["config"] == {"enabled": True}
    assert plugins["qemu"]["config"] == {"args_allowlist": ["-smp", "-nodefaults"]}
    assert plugin_errors(plugins) == []


def test_an_older_nomad_is_not_given_what_it_does_not_know() -> None:
    """It would not start."""
    older = replace(subject(drivers=("exec",)), nomad=replace(NOMAD, version="1.6.5"))
    plugins = configuration(subject_of=older)["plugin"]
    assert plugins["exec"]["config"] == {"allow_caps": []}


def paths(*drivers: TaskDriver) -> set[str]:
    return {file.path for file in bundle(drivers=drivers).files}


def test_agent_is_started_where_it_follows_no_link_of_tasks() -> None:
    """By a script, which names the directory of allocations; the agent is started anew where it changes."""
    files = {file.path: file for file in bundle().files}
    unit, script = files[host_paths.UNIT].content, files[host_paths.START_SCRIPT]
    assert f"\nExecStart=/bin/sh {host_paths.START_SCRIPT} {host_paths.NOMAD_LINK} agent -c".encode() in unit
    assert (f"\nalloc={host_paths.ALLOC_DIR}\n".encode() in script.content, script.restarts) == (True, True)


def test_exec_tasks_have_a_root_of_their_own() -> None:
    """A script makes it before each start of the agent, and every directory of it is one that Nomad copies from there."""
    files = {file.path: file for file in bundle(drivers=("docker", "exec")).files}
    unit, script = files[host_paths.UNIT].content, files[host_paths.CHROOT_SCRIPT]
    assert f"ExecStartPre=/bin/sh {host_paths.CHROOT_SCRIPT}\n".encode() in unit
    assert f"chroot={host_paths.CHROOT_DIR}\nalloc={host_paths.ALLOC_DIR}\n".encode() in script.content
    root = configuration("docker", "exec")["client"]["chroot_env"]
    assert root == {f"{host_paths.CHROOT_DIR}{path}": path for path in CHROOT_DIRECTORIES}


@pytest.mark.parametrize(
    "drivers", [("docker",), ("docker", "java"), ("exec", "java"), ("docker", "raw_exec")]
)
def test_other_tasks_have_none(drivers: tuple[TaskDriver, ...]) -> None:
    """Java's virtual machine would need all of the host's /usr, so that exec's root is the host's with it."""
    unit = next(file.content for file in bundle(drivers=drivers).files if file.path == host_paths.UNIT)
    assert b"ExecStartPre" not in unit
    assert host_paths.CHROOT_SCRIPT not in paths(*drivers)
    assert "chroot_env" not in configuration(*drivers)["client"]


@pytest.mark.parametrize(
    ("facts", "signers"),
    [(VERIFYING, ()), (BARE, SIGNERS), (replace(VERIFYING, has_openssl=False), SIGNERS)],
    ids=["not-asked-for", "no-ssh-keygen", "no-openssl"],
)
def test_a_host_without_door_is_as_ever(facts: Facts, signers: tuple[str, ...]) -> None:
    """Where nobody asks for one, or the host could not check a signature, no byte is another."""
    assert bundle(facts=facts, signers=signers) == bundle()


def test_a_door_heeds_its_signers_and_nobody_else() -> None:
    """Each stands in the file of ssh-keygen, for this purpose alone."""
    content = {file.path: file for file in bundle(facts=VERIFYING, signers=SIGNERS).files}
    lines = content[host_paths.ALLOWED_SIGNERS].content.decode().splitlines()
    assert lines == [f'operator namespaces="ionet-maintenance" {key}' for key in SIGNERS]
    assert content[host_paths.MAINTENANCE_SCRIPT].mode == 0o700


def test_a_door_has_its_volumes_and_its_units() -> None:
    """The drop may be written to, the answers are read; the agent's unit starts the path unit and makes the directories."""
    files = {file.path: file.content.decode() for file in bundle(facts=VERIFYING, signers=SIGNERS).files}
    client: Any = read(files[host_paths.CLIENT_CONFIG])
    volumes = client["client"]["host_volume"]
    assert volumes == {
        "ionet-drop": {"path": host_paths.DROP_DIR, "read_only": False},
        "ionet-answers": {"path": host_paths.ANSWERS_DIR, "read_only": True},
    }
    assert client["client"]["template"]["nomad_retry"]["attempts"] == 0
    unit = files[host_paths.UNIT]
    assert f"ExecStartPre=-/bin/sh {host_paths.MAINTENANCE_SCRIPT} prepare\n" in unit
    assert "Wants=ionet-maintenance.path\n" in unit
    assert f"PathExists={host_paths.DROP_DIR}/region.word\n" in files[host_paths.MAINTENANCE_PATH]
    assert (
        f"ExecStart=/bin/sh {host_paths.MAINTENANCE_SCRIPT} take\n" in files[host_paths.MAINTENANCE_SERVICE]
    )


def test_a_door_that_is_knocked_at_all_the_time_stays_a_door() -> None:
    """Neither the service's nor the path unit's limit closes it for good: a run begins every two seconds at most."""
    files = {file.path: file.content.decode() for file in bundle(facts=VERIFYING, signers=SIGNERS).files}
    service = files[host_paths.MAINTENANCE_SERVICE]
    assert "StartLimitIntervalSec=0\n" in service
    assert service.index("recover\n") < service.index("ExecStopPost=-/bin/sleep 2\n")


def test_a_hosts_owner_is_told_of_its_door() -> None:
    """Whose words it heeds, where they are logged, and what closes it."""
    howto = {file.path: file.content.decode() for file in bundle(facts=VERIFYING, signers=SIGNERS).files}[
        host_paths.HOWTO
    ]
    assert f"one of the keys in `{host_paths.ALLOWED_SIGNERS}`" in howto
    assert "maintenance" not in content(host_paths.HOWTO).decode()


def test_a_new_signer_restarts_no_agent() -> None:
    """Rotation and revocation are a change of one file."""
    digests = [bundle(facts=VERIFYING, signers=signers).digest for signers in (SIGNERS, SIGNERS[:1])]
    assert digests[0] == digests[1]


def test_the_doors_task_may_run_where_there_is_a_door() -> None:
    """Its driver is allowed beside those of the inventory, on hosts with a door alone."""
    qemu: tuple[TaskDriver, ...] = ("docker", "qemu")
    assert subject(facts=VERIFYING, drivers=qemu, signers=SIGNERS).drivers == ("docker", "exec", "qemu")
    assert subject(facts=BARE, drivers=qemu, signers=SIGNERS).drivers == ("docker", "qemu")


def test_host_without_gpus_gets_no_plugin() -> None:
    """Neither the plugin nor its configuration goes where there is nothing for it to see."""
    given = {file.path for file in bundle(promised(None, 0)).files}
    assert {path for path in given if "nvidia" in path} == set()


def test_digest_ignores_stamp_and_what_needs_no_restart() -> None:
    """The same host gives the same digest, whatever was minted."""
    assert bundle().digest == bundle().digest


@pytest.mark.parametrize("change", [{"meta": {"power": "wind"}}, {"node_pool": "other"}, {"rack": "b02"}])
def test_digest_follows_every_value(change: dict[str, object]) -> None:
    """A host that differs in anything that the agent reads has another digest."""
    assert bundle(replace(HOST, **change)).digest != bundle().digest  # type: ignore[arg-type]


def test_stamp_is_filled_in() -> None:
    """The client configuration carries the placeholder once, and the stamp in its place."""
    stamped = with_stamp(content(host_paths.CLIENT_CONFIG), new_stamp(bundle(), "abc"))
    assert (
        content(host_paths.CLIENT_CONFIG).count(STAMP.encode()),
        stamped.count(b"-abc"),
        STAMP.encode() in stamped,
    ) == (
        1,
        1,
        False,
    )


def test_secrets_are_marked_and_private() -> None:
    """The private key is secret and readable by root alone."""
    assert [(file.path, file.mode) for file in bundle().files if file.is_secret] == [
        (host_paths.NODE_KEY, 0o600)
    ]


def test_digest_of_a_file_is_that_of_its_content() -> None:
    """Digests are taken of what is sent."""
    files = [file for file in bundle().files if file.kind is Kind.FILE]
    assert [file.digest for file in files] == [sha256(file.content) for file in files]


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [(GpuPromise(None, None), True), (GpuPromise(None, 0), False), (GpuPromise("rtx-4090", 2), True)],
)
def test_gpus_are_wanted_as_promised_else_as_seen(gpus: GpuPromise, expected: bool) -> None:  # noqa: FBT001
    """A promise decides; without one the survey does."""
    assert wants_gpus(replace(HOST, gpus=gpus), BARE) is expected


def test_unknown_gpus_are_not_wanted() -> None:
    """Where nobody can say and nothing is promised, no plugin goes."""
    assert wants_gpus(HOST, replace(BARE, gpus=None)) is False


def test_reserved_gpus_become_uuids() -> None:
    """Indices are looked up, UUIDs stay, and an index that is not there is left out."""
    host = replace(HOST, reserve=Reserve(gpus=("1", "GPU-9", "7")))
    assert ignored_gpus(host, BARE) == ("GPU-2", "GPU-9")


def test_meta_carries_what_the_site_said() -> None:
    """Site meta stays as written; ours stands under its own prefix."""
    host = replace(
        HOST,
        meta={"power": "geothermal"},
        location=Location("IS", "Reykjavik"),
        network=Network(1000),
        tags=("rig", "riser"),
    )
    assert meta_of(host, BARE) == {
        "power": "geothermal",
        "unique.ionet_bundle": STAMP,
        "ionet_admission": "held",
        "ionet_rack": "a01",
        "ionet_country": "IS",
        "ionet_city": "Reykjavik",
        "ionet_network_mbps": "1000",
        "ionet_network_class": "1g",
        "ionet_tags": "rig,riser",
        "ionet_os": "ubuntu-24.04",
        "ionet_arch": "amd64",
        "ionet_memory_gib": "32",
        "ionet_gpus": "nvidia.rtx.4090.24gb",
        "ionet_gpu_count": "2",
    }


def test_meta_leaves_out_what_is_unknown() -> None:
    """What nobody said is absent, not empty."""
    host = replace(HOST, rack=None)
    facts = replace(BARE, os_version="", gpus=None, memory_mib=None, architecture="")
    assert meta_of(host, facts) == {
        "unique.ionet_bundle": STAMP,
        "ionet_admission": "held",
        "ionet_os": "ubuntu",
    }


def test_client_configuration_says_what_the_inventory_says() -> None:
    """Name, place, pool and reserves come out as HCL that reads back to the same values."""
    host = replace(HOST, node_class="rig", reserve=Reserve(cpu_cores=2, memory_mib=1024, disk_mib=10240))
    config = client_config(host)
    client = config["client"]
    assert (config["name"], config["region"], config["datacenter"]) == ("rey1-a01-g1", "eu-north", "rey1")
    assert (client["node_pool"], client["node_class"]) == ("gpu", "rig")
    assert client["reserved"] == {"cores": "0-1", "memory": 1024, "disk": 10240}


def test_single_reserved_core_is_a_list_of_one() -> None:
    """One core held back is core 0."""
    host = replace(HOST, reserve=Reserve(cpu_cores=1))
    assert client_config(host)["client"]["reserved"] == {"cores": "0"}


HOSTILE = [
    '"',
    "\\",
    "a\nb",
    "${env}",
    "${",
    "$${",
    "%{x}",
    "\x00\x1f\x7f",
    "日本語",
    "😀",
    "{{ x }}",
    "}\nserver {",
    "\u2028",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_becomes_syntax(value: str) -> None:
    """Whatever a value holds, it reads back as itself and adds no key to the configuration."""
    plain = client_config(HOST)
    config = client_config(replace(HOST, meta={"power": value}))
    meta = config["client"]["meta"]
    assert meta.pop("power") == value
    assert config == plain


def test_instances_of_a_card_that_is_held_back_are_ignored_too() -> None:
    """The plugin lists MIG instances in their card's place; those of other cards stay on offer."""
    first, second = BARE.gpus or ()
    cut = replace(first, is_mig_on=True, mig=(MigInstance("MIG-1", "1g.5gb"), MigInstance("MIG-2", "1g.5gb")))
    other = replace(second, is_mig_on=True, mig=(MigInstance("MIG-3", "1g.5gb"),))
    host = replace(HOST, reserve=Reserve(gpus=("0",)))
    assert ignored_devices(host, replace(BARE, gpus=(cut, other))) == ("GPU-1", "MIG-1", "MIG-2")


def test_ignored_gpus_reach_the_plugin() -> None:
    """GPUs held back are named to the plugin by UUID."""
    host = replace(HOST, reserve=Reserve(gpus=("0",)))
    assert b'ignored_gpu_ids    = ["GPU-1"]' in content(host_paths.NVIDIA_CONFIG, host)


def test_plugin_label_is_the_executables_name() -> None:
    """Under another label there would be no GPU and no error."""
    plugin = next(f.path for f in bundle().files if f.kind is Kind.LINK and f.path != host_paths.NOMAD_LINK)
    label = content(host_paths.NVIDIA_CONFIG).split(b"plugin ")[1].split(b" ")[0]
    assert label.decode() == f'"{plugin.rsplit("/", 1)[1]}"'


def test_names_are_made_unique_by_the_machine() -> None:
    """The suffix is short, stable, and another one on another machine."""
    other = replace(BARE, machine_id="b" * 32)
    names = [node_name(HOST, facts, "unique") for facts in (BARE, BARE, other)]
    assert names == ["rey1-a01-g1-" + sha256(b"a" * 32)[:8]] * 2 + ["rey1-a01-g1-" + sha256(b"b" * 32)[:8]]


def test_names_as_written_stay() -> None:
    """Without the wish nothing is appended."""
    assert node_name(HOST, BARE, "as-written") == "rey1-a01-g1"


def test_unique_name_needs_a_machine_id() -> None:
    """Without a machine-id there is nothing stable to take a suffix from."""
    with pytest.raises(HostFailedError) as caught:
        node_name(HOST, replace(BARE, machine_id=None), "unique")
    assert caught.value.code == "machine_id_missing"
