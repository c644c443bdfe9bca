"""The messages of Go's network and TLS libraries for Python's exceptions, as a Nomad client logs them."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

_ALERTS: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": ("remote error: tls: unknown certificate authority", "EOF"),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("remote error: tls: bad certificate", "write: broken pipe"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("remote error: tls: expired certificate", "EOF"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": ("remote error: tls: certificate required", "EOF"),
}
_EXPIRED: Final = (9, 10)
"""OpenSSL's verification results for a certificate that is not yet valid, or has expired."""
_DIAL: Final = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.ETIMEDOUT: "i/o timeout",
}


def go_error_texts(error: Exception, server: str) -> tuple[str, ...]:
    """The messages of a failed call to ``server`` (``HOST:PORT``), in the order in which they are logged."""
    if isinstance(error, ssl.SSLCertVerificationError):
        is_expired = error.verify_code in _EXPIRED
        cause = "has expired or is not yet valid" if is_expired else "signed by unknown authority"
        return (f"tls: failed to verify certificate: x509: certificate {cause}",)
    if isinstance(error, ssl.SSLError):
        return _ALERTS.get(error.reason or "", (f"tls: {error.reason or 'handshake failure'}", "EOF"))
    if isinstance(error, socket.gaierror):
        return ("no servers available", "none of the configured servers are valid")
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else getattr(error, "errno", None)
    return (f"dial tcp {server}: {_DIAL[number]}",) if number in _DIAL else ("EOF",)


def tls_file_error(error: OSError) -> str:
    """The message for a TLS file that cannot be used."""
    if isinstance(error, ssl.SSLError):
        is_mismatch = error.reason == "KEY_VALUES_MISMATCH"
        return "tls: private key does not match public key" if is_mismatch else f"tls: {error.reason}"
    return f"open: {(error.strerror or 'failed').lower()}"
