"""Issuers whose certificates permit some names alone: the how-to as it stands, and what is refused before a host is touched."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Host
from ionetctl.core.model.inventory import Issuer, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.pki import open_issuer, signs_servers
from tests.support import pki
from tests.support.clock import ManualClock
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

HOWTO: Final = Path(__file__).parents[2] / "docs/how-to/constrain-an-issuer.md"
REGION: Final = RegionName("eu-north")
CLIENT: Final = x509.DNSName("client.eu-north.nomad")
LOCALHOST: Final = x509.DNSName("localhost")
LOOPBACK: Final = x509.IPAddress(ipaddress.ip_network("127.0.0.1/32"))
SERVER: Final = "server.eu-north.nomad"


def openssl(directory: Path, command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        (needs("openssl"), *command.split()), cwd=directory, capture_output=True, timeout=60, check=False
    )


def settings(directory: Path, cert: str) -> RegionSettings:
    """A region whose issuer's certificate is that file."""
    tls = RegionTls(
        str(directory / "ca.pem"), SERVER, None, Issuer(str(directory / cert), SecretRef("env", "KEY"))
    )
    return RegionSettings(REGION, ("https://127.0.0.1",), ("127.0.0.1:4647",), SecretRef("env", "TOKEN"), tls)


def written(directory: Path, *pairs: pki.Pair) -> RegionSettings:
    """A region with that chain, the root last."""
    pki.write(directory / "ca.pem", pairs[-1])
    pki.write(directory / "site.pem", *pairs[:-1])
    (directory / "site-key.pem").write_text(pairs[0].key_pem)
    return settings(directory, "site.pem")


def opened(region: RegionSettings) -> Any:
    key = Path(region.tls.ca).with_name("site-key.pem").read_text()
    return open_issuer(region, lambda _: key, ManualClock(datetime.now(UTC)), pki.no_vault)


def refusal(region: RegionSettings) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        opened(region)
    assert caught.value.code == "ca_names_forbidden"
    return caught.value


def constrained(
    above: pki.Pair,
    permitted: Sequence[x509.GeneralName] = (),
    excluded: Sequence[x509.GeneralName] = (),
    *,
    critical: bool = True,
) -> pki.Pair:
    """An intermediate with these constraints."""
    constraints = x509.NameConstraints(list(permitted) or None, list(excluded) or None)
    key = pki.root().key
    unsigned = pki.builder("site", above, key, is_authority=True).add_extension(
        constraints, critical=critical
    )
    return pki.signed(unsigned, above, key)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the how-to was followed, beside a root of that name."""
    directory = tmp_path_factory.mktemp("pki")
    for command in (
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca-key.pem",
        "req -x509 -new -key ca-key.pem -subj /CN=root -days 3650 -addext keyUsage=critical,keyCertSign,cRLSign -out ca.pem",
    ):
        assert openssl(directory, command).returncode == 0
    for block in re.findall(r"```sh\n(.*?)```", HOWTO.read_text(), re.DOTALL):
        script = re.sub(r"^ {3}", "", block, flags=re.MULTILINE)
        subprocess.run(
            ("sh", "-eu"), input=script.encode(), cwd=directory, check=True, capture_output=True, timeout=60
        )
    plain = re.sub(r"nameConstraints.*\n", "", (directory / "site.cnf").read_text())
    (directory / "plain.cnf").write_text(plain)
    sign = "x509 -req -in site.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 1825"
    assert openssl(directory, f"{sign} -extfile plain.cnf -out plain.pem").returncode == 0
    return directory


def verified(directory: Path, intermediate: str, leaf: str) -> str:
    """What openssl says of a certificate: its own line, or the error."""
    ended = openssl(directory, f"verify -x509_strict -CAfile ca.pem -untrusted {intermediate} {leaf}")
    return (ended.stdout + ended.stderr).decode()


def minted(directory: Path, name: str, intermediate: str) -> str:
    """The file of a certificate that whoever has the site's key makes for any name, with openssl."""
    (directory / "leaf.cnf").write_text(f"subjectAltName = DNS:{name}\nauthorityKeyIdentifier = keyid\n")
    sign = f"x509 -req -in leaf.csr -CA {intermediate} -CAkey site-key.pem -CAcreateserial -extfile leaf.cnf -out leaf.pem"
    for command in (
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out leaf-key.pem",
        "req -new -key leaf-key.pem -subj /CN=client.eu-north.nomad -out leaf.csr",
        sign,
    ):
        assert openssl(directory, command).returncode == 0
    return "leaf.pem"


def test_nodes_certificate_of_the_constrained_issuer_is_valid(followed: Path) -> None:
    """It comes with the intermediate, and openssl verifies both against the root."""
    issuer = opened(settings(followed, "site.pem"))
    pair = asyncio.run(issuer.issue(Host(HostName("rig-001"), "10.0.0.1", REGION, "rey1")))
    (followed / "node.pem").write_bytes(pair.chain_pem)
    assert pair.chain_pem.count(b"BEGIN CERTIFICATE") == 2
    assert verified(followed, "node.pem", "node.pem") == "node.pem: OK\n"
    assert issuer.check.explain_unfit(pair.chain_pem.decode(), datetime.now(UTC)) is None


@pytest.mark.parametrize(
    ("intermediate", "name", "expected"),
    [
        ("site.pem", SERVER, "permitted subtree violation"),
        ("site.pem", "nomad.example", "permitted subtree violation"),
        ("site.pem", "client.eu-north.nomad", "leaf.pem: OK"),
        ("plain.pem", SERVER, "leaf.pem: OK"),
    ],
    ids=["server", "other", "client", "unconstrained"],
)
def test_sites_key_cannot_make_a_servers_certificate(
    followed: Path, intermediate: str, name: str, expected: str
) -> None:
    """The controls: it makes a client's, and the same key without constraints makes a server's."""
    assert expected in verified(followed, intermediate, minted(followed, name, intermediate))


@pytest.mark.parametrize(("cert", "expected"), [("site.pem", False), ("plain.pem", True), ("ca.pem", True)])
def test_issuer_that_could_make_a_servers_certificate_is_known(
    followed: Path,
    cert: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """The one of the how-to could not."""
    assert signs_servers(settings(followed, cert)) is expected


def test_ready_pair_makes_no_certificates(followed: Path) -> None:
    """There is no issuing key at all."""
    region = settings(followed, "site.pem")
    tls = RegionTls(region.tls.ca, SERVER, None, ReadyPair(region.tls.ca, SecretRef("env", "KEY")))
    assert not signs_servers(RegionSettings(REGION, region.api, region.servers, region.token, tls))


@pytest.mark.parametrize(
    ("permitted", "excluded", "forbidden"),
    [
        ([CLIENT], [], "localhost"),
        ([LOCALHOST], [], "client.eu-north.nomad"),
        ([x509.DNSName("us-west.nomad")], [], "client.eu-north.nomad and localhost"),
        ([x509.DNSName(".client.eu-north.nomad"), LOCALHOST], [], "client.eu-north.nomad"),
        ([], [x509.DNSName("nomad")], "client.eu-north.nomad"),
        ([x509.DNSName("")], [LOCALHOST], "localhost"),
        ([x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))], [], "127.0.0.1"),
        ([x509.IPAddress(ipaddress.ip_network("::/0"))], [], "127.0.0.1"),
        ([], [x509.IPAddress(ipaddress.ip_network("127.0.0.0/8"))], "127.0.0.1"),
    ],
)
def test_what_the_constraints_forbid_is_not_signed(
    tmp_path: Path, permitted: list[x509.GeneralName], excluded: list[x509.GeneralName], forbidden: str
) -> None:
    """Before any host is touched, with what is to be permitted."""
    root = pki.root()
    error = refusal(written(tmp_path, constrained(root, permitted, excluded), root))
    assert error.message == f"{tmp_path}/site.pem or a CA above it permits no certificate for {forbidden}"
    assert "permitted;DNS:client.eu-north.nomad, permitted;DNS:localhost" in error.hint


@pytest.mark.parametrize(
    ("permitted", "excluded"),
    [
        ([CLIENT, LOCALHOST, LOOPBACK], []),
        ([x509.DNSName("EU-north.Nomad"), LOCALHOST], []),
        ([x509.DNSName(".eu-north.nomad"), LOCALHOST], []),
        ([x509.DNSName("")], [x509.DNSName(SERVER)]),
        ([x509.RFC822Name("example.org")], []),
        ([], [x509.DNSName("ient.eu-north.nomad")]),
    ],
)
def test_what_the_constraints_permit_is_signed(
    tmp_path: Path, permitted: list[x509.GeneralName], excluded: list[x509.GeneralName]
) -> None:
    """Case does not count, whole labels do, and other kinds of names are no business of theirs."""
    root = pki.root()
    assert opened(written(tmp_path, constrained(root, permitted, excluded), root))


def test_constraints_above_the_issuer_count(tmp_path: Path) -> None:
    """Those of an intermediate above it, and those of the root."""
    root = pki.root()
    above = constrained(root, [x509.DNSName("us-west.nomad")])
    region = written(tmp_path, above.sign("site", is_authority=True), above, root)
    assert "client.eu-north.nomad" in refusal(region).message
    strict = constrained(pki.root(), [CLIENT, LOCALHOST])
    below = strict.sign("site", is_authority=True)
    assert not signs_servers(written(tmp_path, below, strict))


def directory_name() -> x509.DirectoryName:
    return x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")]))


def test_constraints_that_nomad_does_not_know_are_refused(tmp_path: Path) -> None:
    """Critical ones: its servers would refuse each certificate below them. Others they pass over."""
    root = pki.root()
    error = refusal(written(tmp_path, constrained(root, [directory_name()]), root))
    assert "of a kind that Nomad does not know" in error.message
    assert opened(written(tmp_path, constrained(root, [directory_name()], critical=False), root))


@pytest.mark.parametrize(
    "subtree",
    [b"\xa3\x00", b"\xa5\x00", b"\x87\x08\x0a\x00\x00\x00\xff\x00\xff\x00"],
    ids=["x400Address", "ediPartyName", "mask"],
)
@pytest.mark.parametrize("is_root", [False, True])
def test_constraints_that_cannot_be_read_are_refused(
    tmp_path: Path, subtree: bytes, *, is_root: bool
) -> None:
    """Of the issuer and of the root above it; nor do they keep a key from making a server's certificate."""
    content = subtree
    for tag in (b"\x30", b"\xa0", b"\x30"):
        content = tag + bytes([len(content)]) + content
    unread = x509.UnrecognizedExtension(x509.NameConstraints.oid, content)
    root, key = pki.root(), pki.root().key
    unsigned = pki.builder("unread", None if is_root else root, key, is_authority=True)
    pair = pki.signed(unsigned.add_extension(unread, critical=True), None if is_root else root, key)
    region = written(tmp_path, *([pair.sign("site", is_authority=True), pair] if is_root else [pair, root]))
    assert (
        refusal(region).message == f"{tmp_path}/site.pem or a CA above it has extensions that cannot be read"
    )
    assert signs_servers(region)
