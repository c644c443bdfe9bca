"""Where inventories come from: files, standard input, and what is neither."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.inventory import (
    Inventory,
    Issuer,
    NomadSettings,
    ReadyPair,
    RegionSettings,
    RegionTls,
)
from ionetctl.core.model.secret import SecretRef
from ionetctl.inventory.load import load_inventory, load_text
from ionetctl.inventory.yaml.problems import InventoryError
from ionetctl.inventory.yaml.tree import SIZE_MAX

BASE = (Path(__file__).parent / "cases" / "base.yaml").read_bytes()
TEXT = BASE + b"defaults: {region: eu}\nhosts: [a1]\n"


def _said(source: str, stdin: bytes = b"") -> list[str]:
    with pytest.raises(InventoryError) as caught:
        load_inventory(source, stdin=io.BytesIO(stdin))
    return [str(problem) for problem in caught.value.problems]


def test_a_file_is_read(tmp_path: Path) -> None:
    """Source, digest and directory are the file's; its paths start from there."""
    file = tmp_path / "site.yaml"
    file.write_bytes(TEXT)
    inventory = load_inventory(str(file))
    assert (inventory.source, inventory.directory, inventory.digest) == (
        str(file),
        str(tmp_path),
        hashlib.sha256(TEXT).hexdigest(),
    )
    assert inventory.regions[next(iter(inventory.regions))].tls.ca == str(tmp_path / "ca.pem")


def test_a_relative_file_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named relative to the working directory has an absolute directory all the same."""
    (tmp_path / "site.yaml").write_bytes(TEXT)
    monkeypatch.chdir(tmp_path)
    inventory = load_inventory("site.yaml")
    assert (inventory.source, inventory.directory) == ("site.yaml", str(tmp_path))


def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash is standard input, and its paths start from the working directory."""
    monkeypatch.chdir(tmp_path)
    inventory = load_inventory("-", stdin=io.BytesIO(TEXT))
    assert (inventory.source, inventory.directory, len(inventory.hosts)) == ("-", str(tmp_path), 1)


def test_standard_input_is_the_process_s_own_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stream, a dash reads what the process was given."""
    file = tmp_path / "site.yaml"
    file.write_bytes(TEXT)
    with file.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert len(load_inventory("-").hosts) == 1


SECRETS_FROM_STDIN = """version: 1
regions:
  stdin: {api: [https://a], servers: [a], token: {stdin: token}, tls: {ca: /c, server_name: a, node: {cert: /c, key: {file: /k}}}}
nomad: {version: 2.0.5, device_plugin_version: 1.1.0}
defaults: {region: stdin, datacenter: d, meta: {stdin: x}}
hosts:
  - {name: 'a[1-2]', ssh: {password: {stdin: 'pw-a[1-2]'}}}
"""


def test_secrets_do_not_come_from_where_the_inventory_came_from(tmp_path: Path) -> None:
    """It is said of each, with its place; in a file, and for all else that has the name, it is right."""
    assert _said("-", SECRETS_FROM_STDIN.encode()) == [
        "-:3:50: regions.stdin.token: is to come from standard input, as the inventory did",
        "-:7:38: hosts[0].ssh.password: is to come from standard input, as the inventory did",
    ]
    (tmp_path / "site.yaml").write_text(SECRETS_FROM_STDIN)
    assert len(load_inventory(str(tmp_path / "site.yaml")).hosts) == 2


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """A file that is not there is a problem like any other."""
    file = tmp_path / "none.yaml"
    assert _said(str(file)) == [f"{file}:1:1: cannot be read: No such file or directory"]


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory is no inventory."""
    assert _said(str(tmp_path)) == [f"{tmp_path}:1:1: is not a regular file"]


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    """A FIFO that nobody writes to does not hold us up."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert _said(str(fifo)) == [f"{fifo}:1:1: is not a regular file"]


def test_a_device_is_refused() -> None:
    """A device that never ends is not read at all."""
    assert _said("/dev/zero") == ["/dev/zero:1:1: is not a regular file"]


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """Of 200 MB no more than the bound is read."""
    file = tmp_path / "huge.yaml"
    with file.open("wb") as stream:
        stream.truncate(200_000_000)
    assert _said(str(file)) == [f"{file}:1:1: is larger than 16 MiB"]


def test_endless_input_is_read_to_the_bound() -> None:
    """Of standard input, too, no more than the bound is read."""
    stdin = io.BytesIO(b"#" * (SIZE_MAX + 100))
    with pytest.raises(InventoryError) as caught:
        load_inventory("-", stdin=stdin)
    assert str(caught.value) == "-:1:1: is larger than 16 MiB"
    assert stdin.tell() == SIZE_MAX + 1


def test_the_error_is_one_of_configuration() -> None:
    """A wrong inventory ends with the exit code for it, before any host was touched."""
    with pytest.raises(InventoryError) as caught:
        load_text(b"", "x", "/d")
    assert (caught.value.code, caught.value.exit_code) == ("inventory_invalid", ExitCode.CONFIGURATION)


_REGION = b"""version: 1
regions:
  eu:
    api: [https://a:4646/, https://b]
    servers: [a]
    token: {vault: secret/x#t}
    introduction: off
    capacity: 7
    tls: {ca: /ca.pem, client: {cert: c.pem, key: {keyring: a/b}}, server_name: api.example, %s}
nomad: {version: 2.0.5, device_plugin_version: 1.1.0, mirror: ../m}
hosts: [{name: a1, region: eu, datacenter: dc}]
"""


def _region(tls_node: bytes) -> tuple[Inventory, RegionSettings]:
    inventory = load_text(_REGION % tls_node, "x", "/d/e")
    (region,) = inventory.regions.values()
    return inventory, region


def test_a_region_with_an_issuer_is_read() -> None:
    """Everything that can be said of a region and of releases arrives in the records."""
    inventory, region = _region(b"issuer: {cert: i.pem, key: {file: ~/k}, validity: 30d}")
    assert inventory.nomad == NomadSettings("2.0.5", "1.1.0", "/d/m")
    assert region == RegionSettings(
        name=region.name,
        api=("https://a:4646", "https://b"),
        servers=("a",),
        token=SecretRef("vault", "secret/x#t"),
        introduction="off",
        capacity=7,
        tls=RegionTls(
            ca="/ca.pem",
            server_name="api.example",
            client=ReadyPair("/d/e/c.pem", SecretRef("keyring", "a/b")),
            node=Issuer("/d/e/i.pem", SecretRef("file", os.path.expanduser("~/k")), 30),  # noqa: PTH111
        ),
    )


def test_a_region_with_a_ready_pair_is_read() -> None:
    """A pair below node is the same certificate for every host."""
    _, region = _region(b"node: {cert: n.pem, key: {env: K}}")
    assert region.tls.node == ReadyPair("/d/e/n.pem", SecretRef("env", "K"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("mirror: m", ("docker",)),
        ("drivers: [exec, docker, exec]", ("docker", "exec")),
        ("drivers: [raw_exec]", ("raw_exec",)),
    ],
)
def test_drivers_that_jobs_may_use(written: str, expected: tuple[str, ...]) -> None:
    """Docker alone where nothing is said; the order in which they are written makes no other configuration."""
    text = (_REGION % b"node: {cert: c.pem, key: {file: k}}").replace(b"mirror: ../m", written.encode())
    assert load_text(text, "x", "/d").nomad.drivers == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (b"issuer: {cert: i.pem, key: {env: ISSUER}}", {"CLIENT", "ISSUER", "SUDO"}),
        (b"node: {cert: i.pem, key: {env: NODE}}", {"CLIENT", "NODE", "SUDO"}),
        (b"issuer: {vault: {mount: pki, role: nomad}}", {"CLIENT", "SUDO"}),
    ],
)
def test_variables_with_secrets_are_known(node: bytes, expected: set[str]) -> None:
    """Of regions, issuers and hosts; no variable is named by other sources."""
    hosts = b"hosts: [{name: a1, region: eu, datacenter: dc, ssh: {become_password: {env: SUDO}}}]"
    text = (_REGION % node).replace(b"keyring: a/b", b"env: CLIENT").partition(b"hosts:")[0] + hosts
    assert load_text(text, "x", "/d").secret_variables == expected
