"""Certificate signing requests (PKCS #10) of hosts: what they must be before anything is signed.

It knows the form of a request and of the key in it; the names that it asks for are nobody's business here. A request is what a stranger
says: it comes bounded, and is refused unless it is exactly what the host's script makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ionetctl.core.errors import HostFailedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

CODE: Final = "csr_refused"


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a request in DER, which the sender has the private key of.

    Raises ``HostFailedError`` (``csr_refused``) unless it is a P-256 key and the request is signed by it with SHA-256.
    """
    try:
        return _checked(x509.load_der_x509_csr(request))
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise _refused("it is not one that can be read") from None


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
