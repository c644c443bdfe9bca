"""TLS towards a region's API: the context that trusts one CA and presents one pair, and what a failure of it means.

It knows ssl; it must not know Nomad. The client's private key comes from a secret source and reaches OpenSSL through
a pipe, since ``ssl`` reads keys from file names only and a key has no business in a temporary file.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.errors import ConfigurationError, IonetctlError, RegionError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.model import ReadyPair, RegionTls, SecretRef

_HOSTNAME_MISMATCH: Final = frozenset({62})
_OUT_OF_TIME: Final = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_… numbers: not yet valid, expired."""
_PIPE_BYTES: Final = 16 * 1024
"""What a pipe holds on every platform; a PEM key has less than 4 KiB."""


def client_context(tls: RegionTls, reveal: Callable[[SecretRef], str]) -> ssl.SSLContext:
    """A context that trusts the region's CA alone.

    Raises ``ConfigurationError``: ``certificate_unreadable``, ``key_unreadable`` or ``pair_mismatch``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=Path(tls.ca).read_text(encoding="ascii"))
    except OSError as error:  # ssl.SSLError is one too
        raise _unreadable(tls.ca, getattr(error, "reason", None) or error.strerror) from error
    except ValueError as error:
        raise _unreadable(tls.ca, "it is not PEM") from error
    if tls.client is not None:
        _load_pair(context, tls.client, reveal(tls.client.key))
    return context


def explain_tls_failure(error: BaseException, address: str, server_name: str) -> IonetctlError | None:
    """What a failed connection says about trust, or ``None`` where TLS is not to blame."""
    failure = _ssl_error(error)
    if isinstance(failure, ssl.SSLCertVerificationError):
        message = f"the certificate of {address} does not hold: {failure.verify_message}"
        return TrustError("region_untrusted", message, _trust_hint(failure.verify_code, server_name))
    if failure is None or failure.reason is None:
        return None
    if "ALERT" in failure.reason:
        message = f"{address} refused our client certificate ({failure.reason})"
        return RegionError(
            "region_forbidden", message, "tls.client must be a pair that the region's CA has signed"
        )
    if failure.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
        hint = "regions.….api must name Nomad's HTTPS port (4646)"
        return RegionError("region_nonsense", f"{address} does not speak TLS", hint)
    return None


def _trust_hint(verify_code: int, server_name: str) -> str:
    if verify_code in _HOSTNAME_MISMATCH:
        return f"it must bear {server_name}; look at api and tls.server_name: is this the right region?"
    if verify_code in _OUT_OF_TIME:
        return "renew the server's certificate, and look at this machine's clock"
    return "tls.ca must hold the CA of this region; if it does, somebody else answers there"


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """The ``ssl`` error that an HTTP library's error came from."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _load_pair(context: ssl.SSLContext, pair: ReadyPair, key_pem: str) -> None:
    try:
        with _as_path(key_pem.encode()) as key_path:
            context.load_cert_chain(pair.cert, key_path, password=_no_passphrase)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or ""
    else:
        return
    if reason == "KEY_VALUES_MISMATCH":
        hint = "export certificate and key from the same place once more"
        raise ConfigurationError("pair_mismatch", f"the private key does not belong to {pair.cert}", hint)
    if not _holds_certificates(pair.cert):
        raise _unreadable(pair.cert, reason)
    hint = "it must be an EC, RSA or Ed25519 key in PEM, without a passphrase"
    raise ConfigurationError("key_unreadable", f"{pair.key} holds no usable private key", hint)


def _no_passphrase() -> str:
    """An encrypted key is an error, not a prompt in the middle of a rollout."""
    return ""


def _holds_certificates(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        return False
    return True


@contextmanager
def _as_path(content: bytes) -> Iterator[str]:
    """A file name under which ``content`` can be read once, without any file."""
    if len(content) > _PIPE_BYTES:
        raise ssl.SSLError(f"a key of {len(content)} bytes")
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        os.close(writing)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


def _unreadable(path: str, why: str | None) -> ConfigurationError:
    message = f"cannot read certificates from {path}: {why or 'it is not PEM'}"
    return ConfigurationError("certificate_unreadable", message, "name a PEM file")
