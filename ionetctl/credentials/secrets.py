"""Resolving references to secrets, and the type that keeps a secret out of logs and messages.

It knows environment variables, files, keyrings and Vault; it must not know what a secret is for. No error has a secret
in it, and no secret is written anywhere.
"""

from __future__ import annotations

import hmac
import os
import stat
from typing import TYPE_CHECKING, Final, NoReturn, final

from ionetctl.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import hvac
    import requests

    from ionetctl.core.model.secret import SecretRef, SecretSource

MASK: Final = "***"
FILE_LIMIT_BYTES: Final = 64 * 1024
VAULT_TIMEOUT_S: Final = 10
VAULT_LIMIT_BYTES: Final = 4 << 20
"""Well beyond the largest secret: Vault stores entries of at most 1 MiB, unless it is told otherwise."""
_BLOCK_BYTES: Final = 64 * 1024
_OTHERS: Final = 0o077


@final
class Secret:
    """A text that only ``reveal()`` returns; as text it is a mask. It cannot be pickled, copied or hashed."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret as text: for the library that sends it, and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret does not leave its process")


class SecretStore:
    """The secrets of one run, each resolved once. ``environ`` is the environment as the settings read it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: dict[SecretRef, Secret] = {}

    def resolve(self, ref: SecretRef) -> Secret:
        """The secret, from its source the first time. Blocks; raises as ``resolve`` does."""
        if ref not in self._known:
            self._known[ref] = resolve(ref, self._environ)
        return self._known[ref]

    def resolve_all(self, refs: Iterable[SecretRef]) -> None:
        """Resolve all references now, so that nothing blocks later.

        Raises the ``ConfigurationError`` of the first that fails, naming the others in its message.
        """
        failures: list[ConfigurationError] = []
        for ref in dict.fromkeys(refs):
            try:
                self.resolve(ref)
            except ConfigurationError as error:
                failures.append(error)
        if failures:
            message = "; ".join(error.message for error in failures)
            raise ConfigurationError(failures[0].code, message, failures[0].hint)

    def reveal(self, ref: SecretRef) -> str:
        """The secret as text, for adapters that take a function. Raises as ``resolve`` does."""
        return self.resolve(ref).reveal()


def resolve(ref: SecretRef, environ: Mapping[str, str]) -> Secret:
    """The secret that ``ref`` names. May block on a keyring or on Vault.

    Raises ``ConfigurationError``: ``secret_missing`` (nothing there, or empty), ``secret_unreadable``,
    ``secret_file_readable`` (others may read the file), ``keyring_unavailable`` or ``vault_unavailable``.
    """
    try:
        value = _SOURCES[ref.source](ref, environ)
    except ConfigurationError as error:
        refusal = (error.code, error.message, error.hint)
    else:
        if value:
            return Secret(value)
        refusal = ("secret_missing", f"the secret {ref} is empty", "put a value there")
    raise ConfigurationError(
        *refusal
    )  # raised anew: the exception of a library, its context otherwise, may hold the secret


def _from_environ(ref: SecretRef, environ: Mapping[str, str]) -> str:
    if ref.locator not in environ:
        hint = f"export {ref.locator} before the command, or use a file, keyring or Vault reference"
        raise ConfigurationError("secret_missing", f"the environment has no {ref.locator}", hint)
    return environ[ref.locator]


def _from_file(ref: SecretRef, _environ: Mapping[str, str]) -> str:
    try:
        text = _read_private(ref.locator).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(ref, "it is not UTF-8 text") from None
    if "\0" in text:
        raise _unreadable(ref, "it holds NUL characters")
    return text.removesuffix("\n").removesuffix("\r")


def _read_private(path: str) -> bytes:
    """The content of a regular file that only its owner may read; opened once, so that the file checked is the one read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ConfigurationError(
            "secret_missing", f"there is no file {path}", "create it, mode 0600"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            "secret_unreadable", f"cannot read {path}: {error.strerror}", "look at its owner and mode"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        _check_private(path, os.fstat(descriptor))
        return file.read(FILE_LIMIT_BYTES)


def _check_private(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        hint = "name the file that holds the secret and nothing else"
        raise ConfigurationError("secret_unreadable", f"{path} is not a regular file", hint)
    if status.st_size > FILE_LIMIT_BYTES:
        hint = f"a secret is at most {FILE_LIMIT_BYTES} bytes"
        raise ConfigurationError("secret_unreadable", f"{path} has {status.st_size} bytes", hint)
    if status.st_mode & _OTHERS:
        message = f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others than its owner may use it"
        raise ConfigurationError("secret_file_readable", message, f"chmod 600 {path}")


def _from_keyring(ref: SecretRef, _environ: Mapping[str, str]) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise _not_installed("keyring_unavailable", "the keyring library", "keyring") from None
    service, _, user = ref.locator.rpartition("/")
    try:
        value: str | None = keyring.get_password(service, user)
    except KeyringError as error:
        hint = "unlock the keyring, or use an env or file reference where there is no desktop session"
        message = f"cannot read {ref.locator} from the keyring ({type(error).__name__})"
        raise ConfigurationError("keyring_unavailable", message, hint) from None
    if value is None:
        hint = f"keyring set {service} {user}"
        raise ConfigurationError("secret_missing", f"the keyring has no {ref.locator}", hint)
    return value


def _from_vault(ref: SecretRef, environ: Mapping[str, str]) -> str:
    path, _, name = ref.locator.partition("#")
    mount, _, path = path.partition("/")
    fields = _read_vault(ref, environ, mount, path)
    value = fields.get(name)
    if not isinstance(value, str):
        hint = f"vault kv get {mount}/{path} shows the fields that are there"
        raise ConfigurationError("secret_missing", f"{mount}/{path} in Vault has no text field {name}", hint)
    return value


def _read_vault(ref: SecretRef, environ: Mapping[str, str], mount: str, path: str) -> Mapping[str, object]:
    try:
        import hvac
        import requests
    except ImportError:
        raise _not_installed("vault_unavailable", "the Vault client", "vault") from None
    missing = [name for name in ("VAULT_ADDR", "VAULT_TOKEN") if not environ.get(name)]
    if missing:
        message = f"{ref} needs {' and '.join(missing)} in the environment"
        raise ConfigurationError("vault_unavailable", message, "vault login, then export both")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = environ.get("VAULT_CACERT") or True
        session.headers["Accept-Encoding"] = "identity"
        session.hooks["response"] = [_bounded]  # before anything reads it
        client = hvac.Client(
            url=environ["VAULT_ADDR"],
            token=environ["VAULT_TOKEN"],
            namespace=environ.get("VAULT_NAMESPACE"),
            timeout=VAULT_TIMEOUT_S,
            allow_redirects=False,  # a redirect would be sent the token
            session=session,
        )
        return _read_kv(client, environ["VAULT_ADDR"], mount, path)


def _bounded(response: requests.Response, **_: object) -> requests.Response:
    """The response, read. Raises ``RequestException`` beyond ``VAULT_LIMIT_BYTES``, and where it is compressed: unasked."""
    from requests import RequestException

    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestException("compressed")
    body = bytearray()
    for block in response.iter_content(_BLOCK_BYTES):
        body += block
        if len(body) > VAULT_LIMIT_BYTES:
            raise RequestException("too long")
    response._content = bytes(body)  # noqa: SLF001  (where requests keeps what it has read itself)
    return response


def _read_kv(client: hvac.Client, address: str, mount: str, path: str) -> Mapping[str, object]:
    """The fields of a secret, as KV version 2 keeps it or else version 1.

    Source: https://developer.hashicorp.com/vault/api-docs/secret/kv. A mount of version 1 answers 404 or 403 to a
    request of version 2, depending on the token's policies.
    """
    from hvac.exceptions import Forbidden, InvalidPath, VaultError
    from requests import RequestException

    try:
        try:
            reply = client.secrets.kv.v2.read_secret_version(
                path, mount_point=mount, raise_on_deleted_version=True
            )
            return _fields(reply["data"]["data"])
        except (InvalidPath, Forbidden):
            return _fields(client.secrets.kv.v1.read_secret(path, mount_point=mount)["data"])
    except InvalidPath:
        hint = "the reference is mount/path#field, without the API's data/"
        raise ConfigurationError("secret_missing", f"Vault has no {mount}/{path}", hint) from None
    except Forbidden:
        hint = f"its policy must allow read on {mount}/data/{path} (KV version 1: {mount}/{path})"
        raise ConfigurationError(
            "secret_unreadable", f"Vault's token may not read {mount}/{path}", hint
        ) from None
    except (VaultError, RequestException, KeyError, TypeError, ValueError) as error:
        message = f"{address} did not answer as Vault does ({type(error).__name__})"
        raise ConfigurationError(
            "vault_unavailable", message, "look at VAULT_ADDR, and at vault status"
        ) from None


def _fields(found: object) -> Mapping[str, object]:
    if not isinstance(found, dict):
        raise TypeError("fields are a mapping")
    return found


def _not_installed(code: str, what: str, extra: str) -> ConfigurationError:
    hint = f"install it with: pip install 'ionetctl[{extra}]'"
    return ConfigurationError(code, f"{what} is not installed", hint)


def _unreadable(ref: SecretRef, why: str) -> ConfigurationError:
    return ConfigurationError(
        "secret_unreadable", f"the secret {ref} cannot be used: {why}", "look at what is there"
    )


_SOURCES: Final[dict[SecretSource, Callable[[SecretRef, Mapping[str, str]], str]]] = {
    "env": _from_environ,
    "file": _from_file,
    "keyring": _from_keyring,
    "vault": _from_vault,
}
