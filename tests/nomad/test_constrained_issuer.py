"""What a real Nomad server makes of certificates below an intermediate that permits the names of clients alone."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.real_region import Address, RealRegion, nomad_binary
from tests.nomad.test_region_contract import LoopbackRegion
from tests.support import pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENT: Final = "client.eu-north.nomad"
SERVER: Final = "server.eu-north.nomad"
RPC_TLS: Final = b"\x04"
"""What a connection begins with that goes on with TLS: RpcTLS of helper/pool/pool.go."""


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegion]:
    program = nomad_binary()
    if program is None:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD")
    with LoopbackRegion(program, tmp_path_factory.mktemp("region"), Address.on_loopback()) as running:
        yield running


def constrained(directory: Path) -> pki.Pair:
    """A site's intermediate below the region's CA, as the how-to has it."""
    key = serialization.load_pem_private_key((directory / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    root = pki.Pair(x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()), key)
    loopback = x509.IPAddress(ipaddress.ip_network("127.0.0.1/32"))
    permitted = [x509.DNSName(CLIENT), x509.DNSName("localhost"), loopback]
    own = ec.generate_private_key(ec.SECP256R1())
    unsigned = pki.builder("site", root, own, is_authority=True)
    unsigned = unsigned.add_extension(x509.NameConstraints(permitted, None), critical=True)
    return pki.signed(unsigned, root, own)


def is_let_in(region: RealRegion, chain: tuple[pki.Pair, ...]) -> bool:
    """Whether the server takes the certificate. With TLS 1.2 the handshake itself fails where it does not."""
    pki.write(region.directory / "node.pem", *chain)
    (region.directory / "node-key.pem").write_text(chain[0].key_pem)
    context = ssl.create_default_context(cafile=str(region.directory / "ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(region.directory / "node.pem", region.directory / "node-key.pem")
    with socket.create_connection((region.address.host, region.address.rpc_port), 30) as connection:
        connection.sendall(RPC_TLS)
        try:
            with context.wrap_socket(connection, server_hostname=SERVER):
                return True
        except ssl.SSLError as error:
            assert "alert" in str(error).lower()  # noqa: PT017  (not one of our own side)
            return False


@pytest.mark.parametrize(
    ("common_name", "names", "is_sent_whole", "expected"),
    [
        (CLIENT, [CLIENT, "localhost", "127.0.0.1"], True, True),
        (CLIENT, [CLIENT], False, False),
        (CLIENT, [SERVER], True, False),
        (CLIENT, [CLIENT, SERVER], True, False),
        (SERVER, [CLIENT], True, True),
    ],
    ids=["client", "without the intermediate", "server", "both", "server by its common name alone"],
)
def test_server_holds_names_and_not_common_names_against_the_constraints(
    region: RealRegion, common_name: str, names: list[str], *, is_sent_whole: bool, expected: bool
) -> None:
    """The last is what the how-to says that constraints do not close."""
    site = constrained(region.directory)
    leaf = site.sign(common_name, names=names)
    assert is_let_in(region, (leaf, site) if is_sent_whole else (leaf,)) is expected
