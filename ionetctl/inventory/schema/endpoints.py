"""Checks of addresses, jump hosts, servers, URLs, paths and host keys. Nothing is resolved, contacted or opened here."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import shlex
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from ionetctl.core.model.host import Jump
from ionetctl.inventory.schema.field_checks import FieldError, number, text, user
from ionetctl.inventory.yaml.problems import quoted

if TYPE_CHECKING:
    from collections.abc import Collection

_LABEL = r"(?![-_])[A-Za-z0-9_-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")


def address(value: object) -> str:
    """An IPv4 or IPv6 address (without brackets, shortest form) or a DNS name.

    An IPv6 address that stands for an IPv4 address (``::ffff:127.0.0.1``) becomes that. What the resolver would read as an
    IPv4 address in another notation (``0x7f.1``) is refused.
    """
    written = text(value)
    bare = written[1:-1] if written.startswith("[") and written.endswith("]") else written
    if ":" in bare or re.fullmatch(r"[0-9.]+", bare):
        return _ip(bare, written)
    if _DNS_NAME.fullmatch(written):
        return _not_a_number(written)
    raise FieldError(f"{quoted(written)} is no address", "write an IP address or a DNS name")


def _ip(bare: str, written: str) -> str:
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        hint = "the port goes below ssh" if bare.count(":") == 1 else ""
        raise FieldError(f"{quoted(_not_a_number(written))} is no address", hint) from None
    return str((isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found)


def _not_a_number(written: str) -> str:
    """What was written, which is no other notation of an IPv4 address, as ``inet_aton`` and every resolver read it."""
    try:
        meant = socket.inet_ntoa(socket.inet_aton(written))
    except OSError:
        return written
    raise FieldError(f"{quoted(written)} would be read as {meant}", "write the address itself")


_ENDPOINT = re.compile(r"(?:(?P<user>[^@]*)@)?(?P<host>\[[^\]]+\]|[^@:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


def jump(value: object) -> Jump:
    """A jump host written ``user@host:port``, where user and port may be left out."""
    match = _ENDPOINT.fullmatch(text(value).strip())
    if match is None:
        raise FieldError("is no jump host", "write user@host:port; IPv6 goes in brackets")
    return Jump(
        address=address(match["host"]),
        port=number(1, 65535)(match["port"]) if match["port"] else None,
        user=user(match["user"]) if match["user"] is not None else None,
    )


def jump_chain(value: object) -> object:
    """The jump hosts of a chain: ``a,b`` is a then b, as OpenSSH's ProxyJump has it; ``none`` is no jump."""
    if isinstance(value, str):
        return [] if value == "none" else value.split(",")
    return value


def server(value: object) -> str:
    """A server's RPC address, ``host`` or ``host:port``."""
    match = _ENDPOINT.fullmatch(text(value))
    if match is None or match["user"] is not None:
        raise FieldError(
            f"{quoted(text(value))} is no server", "write host:port; the port is 4647 unless changed"
        )
    address(match["host"])
    if match["port"]:
        number(1, 65535)(match["port"])
    return str(value)


def api_url(value: object) -> str:
    """The https URL of a Nomad API, without path and trailing slash."""
    parts = _https(value, "write https://host:4646; the region's API is only spoken to over TLS")
    if parts.path.strip("/"):
        raise FieldError("must be a URL without path", "write https://host:4646")
    address(parts.hostname)
    return f"https://{parts.netloc}"


def _https(value: object, why: str, schemes: Collection[str] = ("https",)) -> SplitResult:
    """The parts of an https URL; never quoted in errors, since URLs may have a password."""
    try:
        parts = urlsplit(text(value))
        is_whole = bool(parts.hostname) and parts.port != 0 and " " not in text(value)
    except ValueError as error:
        raise error if isinstance(error, FieldError) else FieldError("is no URL", why) from None
    if parts.username is not None:
        raise FieldError("must not carry a user or password", "secrets are named, never written")
    if parts.scheme not in schemes or not is_whole or parts.query or parts.fragment:
        raise FieldError(f"is no {' or '.join(schemes)} URL", why)
    return parts


def path(value: object, directory: str) -> str:
    """A path, absolute: ``~`` expanded, relative ones taken from ``directory``. Nothing is looked up on disk."""
    written = os.path.expanduser(text(value))  # noqa: PTH111  (pathlib raises where there is no such user)
    if not written or written.startswith("~"):
        raise FieldError("is no path" if not written else "names the home of a user who is not known here")
    return os.path.normpath(os.path.join(directory, written))  # noqa: PTH118  (pathlib keeps the dots)


def command(value: object, directory: str) -> str:
    """A program and its arguments, a list, quoted as a shell has them; a program that is written with a slash is a path.

    No shell reads it, and what was written is not shown: it may be a secret.
    """
    hint = "write program and arguments as a list, such as [pass, show, ionet/eu-north]; no shell reads them"
    if not isinstance(value, list) or not value:
        raise FieldError("is no list of a program and its arguments", hint)
    program, *arguments = map(text, value)
    if not program:
        raise FieldError("names no program", hint)
    return shlex.join([path(program, directory) if "/" in program else program, *arguments])


def mirror(value: object, directory: str) -> str:
    """Where artifacts come from: an https URL, or a directory."""
    written = text(value)
    if "://" not in written:
        return path(written, directory)
    _https(written, "a mirror is a directory or an https URL")
    return written.rstrip("/")


def hosts_mirror(value: object) -> str:
    """The URL below which hosts fetch files that they check by digest: without TLS too, since nothing there is secret."""
    parts = _https(value, "write http://mirror.example:8480", ("http", "https"))
    address(parts.hostname)
    if not _URL_PATH.fullmatch(parts.path):
        raise FieldError("has a path that is no plain one", "write letters, digits, / . _ ~ and - alone")
    return text(value).rstrip("/")


_URL_PATH: Final = re.compile(r"[A-Za-z0-9/._~-]*")
_KEY_TYPES: Final = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


def host_key(value: object) -> str:
    """A host's public key (``type base64``, without its comment) or its ``SHA256:`` fingerprint."""
    written = text(value)
    if _FINGERPRINT.fullmatch(written):
        return written.rstrip("=")
    key = _whole_key(written)
    if key is None:
        raise FieldError(
            "is neither a whole public key nor a SHA256: fingerprint",
            "write 'ssh-ed25519 AAAA…' as ssh-keyscan prints it, or 'SHA256:…' as ssh-keygen -l does",
        )
    return key


def public_key(value: object) -> str:
    """The public key of a CA (``type base64``, without its comment)."""
    key = _whole_key(text(value))
    if key is None:
        raise FieldError(
            "is no whole public key",
            "write 'ssh-ed25519 AAAA…' as it stands in the .pub file of the CA's key",
        )
    return key


SIGNER_TYPES: Final = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")


def signer(value: object) -> str:
    """The public key of who may sign words for the maintenance door (``type base64``, without its comment)."""
    key = _whole_key(text(value))
    if key is None or key.split(" ")[0] not in SIGNER_TYPES:
        raise FieldError(
            "is no whole public key of Ed25519 or of a security key",
            "write 'ssh-ed25519 AAAA…' or 'sk-ssh-ed25519@openssh.com AAAA…' as it stands in the .pub file",
        )
    return key


def _whole_key(written: str) -> str | None:
    """Type and blob of a public key in OpenSSH's form, ``None`` for any other text."""
    kind, _, rest = written.partition(" ")
    blob = rest.split(" ", 1)[0]
    return f"{kind} {blob}" if kind in _KEY_TYPES and _has_type(blob, kind) else None


def _has_type(blob: str, kind: str) -> bool:
    """Whether a key's blob starts with its type (RFC 4253, section 6.6)."""
    try:
        decoded = base64.b64decode(blob, validate=True)
    except ValueError:  # of characters that are not of base64, or not of ASCII
        return False
    head = len(kind).to_bytes(4, "big") + kind.encode()
    return decoded.startswith(head) and len(decoded) > len(head)
