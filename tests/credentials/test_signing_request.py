"""What a host may ask a certificate for: a P-256 key that it holds, whatever names it dreams of."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import AttributeOID, NameOID

from ionetctl.core.errors import ExitCode, HostFailedError
from ionetctl.credentials.signing_request import bare_key, requested_key

if TYPE_CHECKING:
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def request(key: Key, digest: hashes.HashAlgorithm | None = None, name: str = "node") -> bytes:
    """A request in DER, signed with SHA-256 unless ``digest`` is another."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    built = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)  # type: ignore[arg-type]
    return built.public_bytes(serialization.Encoding.DER)


def refusal(sent: bytes) -> str:
    """Why a request is refused."""
    with pytest.raises(HostFailedError) as caught:
        requested_key(sent)
    error = caught.value
    assert (error.code, error.exit_code, error.transient) == ("csr_refused", ExitCode.FAILED, False)
    return error.message.removeprefix("the certificate request of the host is refused: ")


def test_request_of_a_host_gives_its_key() -> None:
    """The key that is certified is the one that signed the request."""
    key = ec.generate_private_key(ec.SECP256R1())
    assert requested_key(request(key)) == key.public_key()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "its key is EC secp384r1, not EC P-256"),
        (rsa.generate_private_key(65537, 2048), "its key is RSA of 2048 bits, not EC P-256"),
        (rsa.generate_private_key(65537, 4096), "its key is RSA of 4096 bits, not EC P-256"),
        (ed25519.Ed25519PrivateKey.generate(), "its key is of another kind, not EC P-256"),
    ],
    ids=["p-384", "rsa-2048", "rsa-4096", "ed25519"],
)
def test_other_key_is_refused(key: Key, expected: str) -> None:
    """Kind and size are those that the host's script makes."""
    assert refusal(request(key)) == expected


def test_weak_signature_is_refused() -> None:
    """A request that is signed with SHA-1 is none that the script makes."""
    weak = request(ec.generate_private_key(ec.SECP256R1()), hashes.SHA512())
    assert refusal(weak) == "it is not signed with SHA-256"


def test_key_of_another_is_refused() -> None:
    """Whoever asks proves to hold the private key: a public key alone, cut from another's certificate, is not enough."""
    own, others = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    forged = request(own).replace(
        own.public_key().public_bytes(*form), others.public_key().public_bytes(*form)
    )
    assert refusal(forged) == "its signature is not by the key that it is for"


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_torn_request_is_refused(place: int) -> None:
    """A changed byte anywhere is found, at the latest by the signature."""
    torn = bytearray(request(ec.generate_private_key(ec.SECP256R1())))
    torn[place] ^= 0x55
    assert refusal(bytes(torn))


@pytest.mark.parametrize(
    "sent", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"-----BEGIN CERTIFICATE REQUEST-----"]
)
def test_what_is_no_request_is_refused(sent: bytes) -> None:
    """So is what only begins like one, or is PEM."""
    assert refusal(sent) == "it is not one that can be read"


def test_bytes_after_a_request_are_refused() -> None:
    """Nothing hides behind it."""
    key = ec.generate_private_key(ec.SECP256R1())
    assert refusal(request(key) + b"\0") == "it is not one that can be read"


def test_request_of_openssl_is_accepted(tmp_path: Path) -> None:
    """What the host's script runs makes what is accepted here."""
    (tmp_path / "request.cnf").write_text("[req]\ndistinguished_name=name\n[name]\n")
    for command in (
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out key",
        "req -new -sha256 -config request.cnf -key key -subj /CN=node -outform DER -out request",
    ):
        subprocess.run(
            ("openssl", *command.split()), cwd=tmp_path, check=True, capture_output=True, timeout=60
        )
    key = serialization.load_pem_private_key((tmp_path / "key").read_bytes(), None)
    assert bare_key((tmp_path / "request").read_bytes()) == key.public_key()


@pytest.mark.parametrize("kind", ["subject", "challenge", "unreadable"])
def test_request_that_asks_for_more_is_not_for_others_to_sign(kind: str) -> None:
    """Another subject, a password, an attribute that cannot be read; the key is good all the same."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "node")]
    if kind == "subject":
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "node"))
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if kind != "subject":
        tag = {"unreadable": _ASN1Type.OctetString}.get(kind)
        built = built.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret", _tag=tag)
    sent = built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert requested_key(sent) == key.public_key()
    with pytest.raises(HostFailedError, match="it asks for more than the subject CN=node") as caught:
        bare_key(sent)
    assert caught.value.code == "csr_refused"
