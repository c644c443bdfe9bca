"""The maintenance door in an inventory: who may sign, and what is refused."""

from __future__ import annotations

import base64

import pytest

from ionetctl.inventory.describe import describe_inventory
from ionetctl.inventory.load import load_text
from ionetctl.inventory.yaml.problems import InventoryError

TEXT = """\
version: 1
datacenter: d
regions:
  r:
    api: ["https://n.example:4646"]
    servers: ["n.example:4647"]
    token: {env: T}
    tls: {ca: ca.pem, node: {cert: c.pem, key: {file: k.pem}}}
nomad:
  version: 2.0.5
  device_plugin_version: 1.1.0
MAINTENANCE
hosts: [{name: h1, region: r}]
"""


def key_of(kind: str, body: bytes = b"\0" * 36) -> str:
    return f"{kind} {base64.b64encode(len(kind).to_bytes(4, 'big') + kind.encode() + body).decode()}"


ADA = key_of("ssh-ed25519")
GRACE = key_of("sk-ssh-ed25519@openssh.com")


def text_of(maintenance: str) -> bytes:
    return TEXT.replace("MAINTENANCE", maintenance).encode()


def problem_of(maintenance: str) -> str:
    with pytest.raises(InventoryError) as caught:
        load_text(text_of(maintenance), "x.yaml", "/d")
    (problem,) = caught.value.problems
    return f"{problem.field}: {problem.message} | {problem.hint}"


def test_no_door_unless_asked_for() -> None:
    """An inventory without it has no signers, and is shown without it."""
    inventory = load_text(text_of(""), "x.yaml", "/d")
    described = describe_inventory(inventory)
    assert (inventory.nomad.signers, "maintenance" in described, "signers" in described["nomad"]) == (
        (),
        False,
        False,
    )


def test_signers_are_keys_without_comments() -> None:
    """One or several; jobs' drivers stay as they are, since not every host can have a door."""
    one = load_text(text_of(f"maintenance: {{signers: {ADA} ada@ops, via: exec}}"), "x.yaml", "/d")
    two = load_text(text_of(f"maintenance: {{signers: [{ADA}, {GRACE}]}}"), "x.yaml", "/d")
    assert (one.nomad.signers, two.nomad.signers, two.nomad.drivers) == ((ADA,), (ADA, GRACE), ("docker",))
    assert describe_inventory(two)["maintenance"] == {"signers": [ADA, GRACE]}


@pytest.mark.parametrize(
    ("maintenance", "said"),
    [
        ("maintenance: {signers: []}", "maintenance.signers: is empty | "),
        (f"maintenance: {{signers: [{ADA}, {ADA} again]}}", "maintenance.signers: has one of them twice | "),
        (
            f"maintenance: {{signers: {ADA}, via: raw_exec}}",
            "maintenance.via: raw_exec is not supported yet | leave it out: the door's task runs by exec",
        ),
    ],
    ids=["none", "twice", "raw-exec"],
)
def test_what_is_no_door_is_refused(maintenance: str, said: str) -> None:
    """A door that nobody may use, a key that stands there twice, and what is not built."""
    assert problem_of(maintenance) == said


@pytest.mark.parametrize("driver", ["java", "qemu", "raw_exec"])
def test_no_driver_of_jobs_is_had_beside_a_door(driver: str) -> None:
    """With java its task would have the host's files in its root, and whom a door is fenced from has docker alone. Exec is the door's own."""
    nomad = f"  drivers: [docker, exec, {driver}]\nmaintenance: {{signers: {ADA}}}"
    said = f"{driver} beside maintenance: a door opens only where the jobs of others may use docker alone"
    assert (
        problem_of(nomad)
        == f"nomad.drivers: {said} | leave it at docker (and exec), or leave maintenance out"
    )
    load_text(text_of(nomad.replace(f", {driver}", "")), "x.yaml", "/d")
    load_text(text_of(nomad.partition("\n")[0]), "x.yaml", "/d")


@pytest.mark.parametrize(
    "key",
    [key_of("ssh-rsa"), ADA[:20], "SHA256:abc", "ssh-ed25519"],
    ids=["rsa", "torn", "fingerprint", "type"],
)
def test_what_is_no_signers_key_is_refused(key: str) -> None:
    """Whole public keys of Ed25519 or of a security key."""
    said = problem_of(f"maintenance: {{signers: [{key!r}]}}")
    assert said.startswith(
        "maintenance.signers[0]: is no whole public key of Ed25519 or of a security key | "
    )
