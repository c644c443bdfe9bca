"""The annotated samples, and what ``inventory show`` and ``inventory schema`` make of inventories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ionetctl.core.model.host import GpuPromise, Jump
from ionetctl.core.model.secret import SecretRef
from ionetctl.inventory.describe import describe_host, describe_inventory, json_schema
from ionetctl.inventory.load import load_inventory, load_text

SAMPLES_DIR = Path(__file__).parents[2] / "inventories"
SAMPLES = sorted(SAMPLES_DIR.glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@pytest.fixture(params=SAMPLES, ids=lambda path: path.name)
def sample(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_there_are_samples() -> None:
    """The samples that the documentation names are there."""
    assert [path.name for path in SAMPLES] == [
        "air-gapped.yaml",
        "auto-region.yaml",
        "datacenter.yaml",
        "jump-and-passwords.yaml",
        "minimal.yaml",
        "prepare.yaml",
        "two-regions.yaml",
    ]


def test_a_sample_read_back_from_its_description_is_the_same(sample: Path) -> None:
    """What ``inventory show`` prints is an inventory again, with the same hosts, regions and releases."""
    inventory = load_inventory(str(sample))
    shown = yaml.safe_dump(describe_inventory(inventory), sort_keys=False).encode()
    again = load_text(shown, inventory.source, inventory.directory)
    assert replace(again, digest=inventory.digest) == inventory


def test_the_schema_accepts_a_sample(sample: Path) -> None:
    """An editor that checks by the schema has nothing to say about a sample."""
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(sample.read_text()))] == []


def test_the_schema_accepts_a_description(sample: Path) -> None:
    """Nor about what ``inventory show`` prints."""
    described = describe_inventory(load_inventory(str(sample)))
    assert [error.message for error in VALIDATOR.iter_errors(described)] == []


@pytest.mark.parametrize(
    "spoiled",
    [
        {"hsots": []},
        {"version": 2},
        {"defaults": {"ssh": {"prot": 22}}},
        {"hosts": [{"address": "a1"}]},
        {"defaults": {"ssh": {"password": "hunter2"}}},
        {"groups": {"g": {"hosts": [{"name": "a1", "gpus": {"count": "many"}}]}}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_we_refuse(spoiled: dict[str, Any]) -> None:
    """The control: unknown keys, missing names and inline secrets are marked in an editor."""
    good = yaml.safe_load((SAMPLES_DIR / "minimal.yaml").read_text())
    assert VALIDATOR.is_valid(good)
    assert not VALIDATOR.is_valid({**good, **spoiled})


def test_every_field_of_the_schema_is_described() -> None:
    """Editors show something for each field that a host, a group or a region may have."""
    definitions = json_schema()["$defs"]
    silent = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, schema in definition.get("properties", {}).items()
        if "description" not in schema and "$ref" not in schema and "description" not in definition
    ]
    assert silent == []


def test_a_group_says_what_its_hosts_do_not() -> None:
    """The datacenter sample's DGX takes its model from the group, its count from the defaults, its port from itself."""
    inventory = load_inventory(str(SAMPLES_DIR / "datacenter.yaml"))
    (host,) = (host for host in inventory.hosts if host.name == "rey1-b07-dgx1")
    assert (host.gpus, host.ssh.port, host.ssh.user, host.rack, host.groups) == (
        GpuPromise("h100-80gb", 8),
        2222,
        "miner",
        "b07",
        ("rack-b07",),
    )


def test_passwords_and_jumps_are_read() -> None:
    """Chains keep their order, and a host behind forwarded ports has a password source of its own."""
    inventory = load_inventory(str(SAMPLES_DIR / "jump-and-passwords.yaml"))
    hosts = {host.name: host for host in inventory.hosts}
    assert hosts["tbs2-r001"].ssh.jump == (  # type: ignore[index]
        Jump("bastion.tbs2.example", None, "ops"),
        Jump("10.9.0.1", 2022, "ops"),
    )
    assert hosts["tbs2-n08"].ssh.password == SecretRef("file", f"{SAMPLES_DIR}/secrets/n08")  # type: ignore[index]


def test_a_host_is_described_without_what_nobody_says() -> None:
    """A host that only has a name is shown with what it got by default, and nothing else."""
    host = load_inventory(str(SAMPLES_DIR / "minimal.yaml")).hosts[0]
    assert describe_host(host) == {
        "name": "rig-1.garage.example",
        "address": "rig-1.garage.example",
        "region": "eu-north",
        "datacenter": "garage",
        "node_pool": "default",
    }
