"""Certificate signing requests (PKCS #10): those for nodes, and what those of hosts must be before anything is signed.

It knows the names of a node's certificate, the form of a request and the key in it. A host's request is what a stranger says: it comes
bounded, is refused unless it is what the host's script makes, and the names that it asks for are nobody's business.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ionetctl.core.errors import HostFailedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from ionetctl.core.model.names import RegionName

CODE: Final = "csr_refused"
_COMMON_NAME_LIMIT: Final = 64
_HOSTS_SUBJECT: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
"""What the script on hosts asks with; it adds no attributes, and so no extensions."""
_LOOPBACK: Final = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))


def client_role(region: RegionName) -> str:
    """The DNS name that a region's servers require in the certificate of a client."""
    return f"client.{region}.nomad"


def node_names(role: str) -> list[x509.DNSName | x509.IPAddress]:
    """The names of a node's certificate: the servers ask for ``role``, the others are for the agent's own API."""
    return [x509.DNSName(role), x509.DNSName("localhost"), _LOOPBACK]


def node_subject(role: str) -> x509.Name:
    """The subject of a node's certificate."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, role[:_COMMON_NAME_LIMIT])])


def new_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A new private key for a node, and the same in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key, key.private_bytes(*form, serialization.NoEncryption())


def request_for(key: ec.EllipticCurvePrivateKey, role: str) -> bytes:
    """A request in DER for a node's certificate of that key."""
    built = x509.CertificateSigningRequestBuilder().subject_name(node_subject(role))
    built = built.add_extension(x509.SubjectAlternativeName(node_names(role)), critical=False)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a request in DER, which the sender has the private key of.

    Raises ``HostFailedError`` (``csr_refused``) unless it is a P-256 key and the request is signed by it with SHA-256.
    """
    try:
        return _checked(x509.load_der_x509_csr(request))
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise _refused("it is not one that can be read") from None


def bare_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """As ``requested_key``, of a request that another is to sign: it has the script's subject and no attributes, or is refused."""
    key = requested_key(request)
    try:
        read = x509.load_der_x509_csr(request)
        is_bare = read.subject == _HOSTS_SUBJECT and not list(read.attributes)
    except ValueError:
        is_bare = False
    if not is_bare:
        raise _refused("it asks for more than the subject CN=node")
    return key


def _checked(request: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused(f"its key is {_described(key)}, not EC P-256")
    if not isinstance(request.signature_hash_algorithm, hashes.SHA256):
        raise _refused("it is not signed with SHA-256")
    if not request.is_signature_valid:
        raise _refused("its signature is not by the key that it is for")
    return key


def _described(key: CertificatePublicKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA of {key.key_size} bits"
    return "of another kind"


def _refused(reason: str) -> HostFailedError:
    message = f"the certificate request of the host is refused: {reason}"
    hint = "nothing was changed; is the host what it claims to be, and its openssl the distribution's own?"
    return HostFailedError(CODE, message, hint)
