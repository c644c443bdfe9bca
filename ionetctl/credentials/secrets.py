"""Resolving references to secrets, and the type that keeps a secret out of logs and messages.

It knows environment variables, files, keyrings and Vault's KV engine; it must not know what a secret is for. No error has a
secret in it, and no secret is written anywhere.
"""

from __future__ import annotations

import hmac
import os
import stat
from threading import RLock
from typing import TYPE_CHECKING, Final, NoReturn, final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.regular_file import NotRegularError, open_regular
from ionetctl.credentials.vault import Vault, VaultRefusedError, did_not_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ionetctl.core.model.secret import SecretRef, SecretSource

MASK: Final = "***"
FILE_LIMIT_BYTES: Final = 64 * 1024
_NOT_THERE: Final = {403, 404}
"""What a mount of KV version 1 answers to a request of version 2, depending on the token's policies."""
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
        self.environ = environ
        self._known: dict[SecretRef, Secret] = {}
        self._vault: Vault | None = None
        self._lock = RLock()

    def resolve(self, ref: SecretRef) -> Secret:
        """The secret that ``ref`` names, from its source the first time. May block on a keyring or on Vault.

        Raises ``ConfigurationError``: ``secret_missing`` (nothing there, or empty), ``secret_unreadable``,
        ``secret_file_readable`` (others may read the file), ``keyring_unavailable``, ``vault_unavailable`` or ``vault_token_used``.
        """
        with self._lock:
            if ref not in self._known:
                self._known[ref] = self._from_source(ref)
            return self._known[ref]

    def _from_source(self, ref: SecretRef) -> Secret:
        try:
            value = _SOURCES[ref.source](ref, self)
        except ConfigurationError as error:
            refusal = (error.code, error.message, error.hint)
        else:
            if value:
                return Secret(value)
            refusal = ("secret_missing", f"the secret {ref} is empty", "put a value there")
        # Raised anew: the exception of a library, its context otherwise, may hold the secret.
        raise ConfigurationError(*refusal)

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
            message = "; ".join(dict.fromkeys(error.message for error in failures))
            raise ConfigurationError(failures[0].code, message, failures[0].hint)

    def reveal(self, ref: SecretRef) -> str:
        """The secret as text, for adapters that take a function. Raises as ``resolve`` does."""
        return self.resolve(ref).reveal()

    def vault(self) -> Vault:
        """The Vault of the environment, opened once: a wrapped token can be unwrapped once. Blocks; raises as ``Vault.open`` does."""
        with self._lock:
            if self._vault is None:
                self._vault = Vault.open(self.environ)
            return self._vault


def _from_environ(ref: SecretRef, store: SecretStore) -> str:
    if ref.locator not in store.environ:
        hint = f"export {ref.locator} before the command, or use a file, keyring or Vault reference"
        raise ConfigurationError("secret_missing", f"the environment has no {ref.locator}", hint)
    return store.environ[ref.locator]


def _from_file(ref: SecretRef, _store: SecretStore) -> str:
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
        opened = open_regular(path)
    except NotRegularError:
        hint = "name the file that holds the secret and nothing else"
        raise ConfigurationError("secret_unreadable", f"{path} is not a regular file", hint) from None
    except FileNotFoundError:
        raise ConfigurationError(
            "secret_missing", f"there is no file {path}", "create it, mode 0600"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            "secret_unreadable", f"cannot read {path}: {error.strerror}", "look at its owner and mode"
        ) from None
    with opened as file:
        _check_private(path, os.fstat(file.fileno()))
        return file.read(FILE_LIMIT_BYTES)


def _check_private(path: str, status: os.stat_result) -> None:
    if status.st_size > FILE_LIMIT_BYTES:
        hint = f"a secret is at most {FILE_LIMIT_BYTES} bytes"
        raise ConfigurationError("secret_unreadable", f"{path} has {status.st_size} bytes", hint)
    if status.st_mode & _OTHERS:
        message = f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others than its owner may use it"
        raise ConfigurationError("secret_file_readable", message, f"chmod 600 {path}")


def _from_keyring(ref: SecretRef, _store: SecretStore) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        hint = "install it with: pip install 'ionetctl[keyring]'"
        raise ConfigurationError(
            "keyring_unavailable", "the keyring library is not installed", hint
        ) from None
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


def _from_vault(ref: SecretRef, store: SecretStore) -> str:
    path, _, name = ref.locator.partition("#")
    mount, _, path = path.partition("/")
    vault = store.vault()
    try:
        fields = _read_kv(vault, mount, path)
    except VaultRefusedError as refusal:
        raise _refused_by_vault(refusal, vault, mount, path) from None
    if not isinstance(fields, dict):
        raise did_not_answer(vault.address, f"{mount}/{path} has no fields")
    value = fields.get(name)
    if not isinstance(value, str):
        hint = f"vault kv get {mount}/{path} shows the fields that are there"
        raise ConfigurationError("secret_missing", f"{mount}/{path} in Vault has no text field {name}", hint)
    return value


def _read_kv(vault: Vault, mount: str, path: str) -> object:
    """The fields of a secret, as KV version 2 keeps it or else version 1.

    Source: https://developer.hashicorp.com/vault/api-docs/secret/kv
    """
    try:
        entry = vault.ask("GET", f"{mount}/data/{path}").get("data")
    except VaultRefusedError as refusal:
        if refusal.status not in _NOT_THERE:
            raise
        return vault.ask("GET", f"{mount}/{path}").get("data")
    return entry.get("data") if isinstance(entry, dict) else entry


def _refused_by_vault(refusal: VaultRefusedError, vault: Vault, mount: str, path: str) -> ConfigurationError:
    match refusal.status:
        case 404:
            hint = "the reference is mount/path#field, without the API's data/"
            return ConfigurationError("secret_missing", f"Vault has no {mount}/{path}", hint)
        case 403:
            hint = f"its policy must allow read on {mount}/data/{path} (KV version 1: {mount}/{path})"
            return ConfigurationError("secret_unreadable", f"Vault's token may not read {mount}/{path}", hint)
        case status:
            return did_not_answer(vault.address, f"it answered {status}")


def _unreadable(ref: SecretRef, why: str) -> ConfigurationError:
    return ConfigurationError(
        "secret_unreadable", f"the secret {ref} cannot be used: {why}", "look at what is there"
    )


_SOURCES: Final[dict[SecretSource, Callable[[SecretRef, SecretStore], str]]] = {
    "env": _from_environ,
    "file": _from_file,
    "keyring": _from_keyring,
    "vault": _from_vault,
}
