"""TLS to a region's API: the context that trusts one CA and presents one client pair, and the errors of handshakes.

It knows ssl; it must not know Nomad. The client's private key comes from a secret source and is passed to OpenSSL by a
pipe: ``ssl`` reads keys from file names only, and a key must not be written to a temporary file.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ionetctl.core.errors import ConfigurationError, IonetctlError, RegionError, TrustError
from ionetctl.credentials.certificates import check_match, parse_chain, parse_key, read_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from ionetctl.core.model.inventory import ReadyPair, RegionTls
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.credentials.certificates import Chain

_HOSTNAME_MISMATCH: Final = frozenset({62})
_OUT_OF_TIME: Final = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_… numbers: not yet valid, expired."""


def client_context(tls: RegionTls, reveal: Callable[[SecretRef], str]) -> ssl.SSLContext:
    """A context that trusts the region's CA alone.

    Raises ``ConfigurationError``: ``certificate_unreadable``, ``key_unreadable`` or ``pair_mismatch``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anchors = (ca.public_bytes(serialization.Encoding.DER) for ca in _anchors(tls))
    context.load_verify_locations(cadata=b"".join(anchors))
    if tls.client is not None:
        _load_pair(context, tls.client, reveal(tls.client.key))
    return context


def _anchors(tls: RegionTls) -> Chain:
    if tls.ca_pem is None:
        return read_chain(tls.ca)
    try:
        return parse_chain(tls.ca_pem.encode())
    except ValueError as error:
        hint = "enrol or rebuild the catalog once more: ionetctl rollouts rebuild"
        raise ConfigurationError("certificate_unreadable", "the recorded CA is not PEM", hint) from error


def expiry(certificate: bytes | None) -> datetime | None:
    """When a certificate (DER) that a TLS handshake has accepted expires; ``None`` where there was none."""
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc if certificate else None


def explain_tls_failure(error: BaseException, address: str, server_name: str) -> IonetctlError | None:
    """The error for a connection that TLS failed; ``None`` for one that failed for another reason."""
    failure = _ssl_error(error)
    if isinstance(failure, ssl.SSLCertVerificationError):
        message = f"the certificate of {address} does not hold: {failure.verify_message}"
        return TrustError("region_untrusted", message, _trust_hint(failure.verify_code, server_name))
    if failure is None:
        return None
    if "ALERT" in failure.reason:
        message = f"{address} refused our client certificate ({failure.reason})"
        hint = "tls.client must be a pair that the region's CA has signed"
        return RegionError("client_certificate_refused", message, hint)
    if failure.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
        hint = "regions.….api must name Nomad's HTTPS port (4646)"
        return RegionError("region_nonsense", f"{address} does not speak TLS", hint)
    return None


def _trust_hint(verify_code: int, server_name: str) -> str:
    if verify_code in _HOSTNAME_MISMATCH:
        return f"it must bear {server_name}; look at api and tls.server_name: is this the right region?"
    if verify_code in _OUT_OF_TIME:
        return "renew the server's certificate, and look at this machine's clock"
    return "tls.ca must hold the CA of this region; if it does, another server answers there"


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """The ``ssl`` error that an HTTP library's error came from; the library's own may be such an error, without a reason."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and getattr(error, "reason", None):
            return error
        error = error.__cause__ or error.__context__
    return None


def _load_pair(context: ssl.SSLContext, pair: ReadyPair, key_pem: str) -> None:
    key = parse_key(key_pem, str(pair.key))
    check_match(read_chain(pair.cert), key, pair.cert)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        with _as_path(plain) as key_path:
            context.load_cert_chain(pair.cert, key_path)
    except OSError as error:
        message = f"OpenSSL does not take the pair of {pair.cert}"
        hint = "an RSA key needs 2048 bits, a signature SHA-256"
        raise ConfigurationError("certificate_unreadable", message, hint) from error


@contextmanager
def _as_path(content: bytes) -> Iterator[str]:
    """A file name from which ``content`` can be read once, without a file: a pipe, which holds 16 KiB at least."""
    reading, writing = os.pipe()
    try:
        try:
            os.write(writing, content)
        finally:
            os.close(writing)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
