"""Where secrets come from: environment variables, files, keyrings, Vault's KV engine, commands and standard input.

It must not know what a secret is for. No error has a secret in it, and none has what a program, a keyring or a server says.
"""

from __future__ import annotations

import json
import os
import select
import stat
import subprocess
import time
from typing import IO, TYPE_CHECKING, Final, cast

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.regular_file import NotRegularError, open_regular
from ionetctl.core.sanitize import harmless
from ionetctl.credentials.vault import Vault, VaultRefusedError, did_not_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ionetctl.core.model.secret import SecretRef, SecretSource
    from ionetctl.credentials.secrets import SecretStore

LIMIT_BYTES: Final = 64 * 1024
PATIENCE_S: Final = 120.0
"""For a command, and for standard input: somebody may have to type a passphrase."""
_OTHERS: Final = 0o077
_STDERR: Final = 2


def _from_environ(ref: SecretRef, store: SecretStore) -> str:
    if ref.locator not in store.environ:
        hint = f"export {ref.locator} before the command, or use a file, keyring or Vault reference"
        raise ConfigurationError("secret_missing", f"the environment has no {ref.locator}", hint)
    return store.environ[ref.locator]


def _from_file(ref: SecretRef, _store: SecretStore) -> str:
    return _as_text(ref, _read_private(ref.locator))


def _as_text(ref: SecretRef, content: bytes) -> str:
    """The text, without its last line break."""
    try:
        text = content.decode("utf-8-sig")
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
        return file.read(LIMIT_BYTES)


def _check_private(path: str, status: os.stat_result) -> None:
    if status.st_size > LIMIT_BYTES:
        hint = f"a secret is at most {LIMIT_BYTES} bytes"
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
    vault = store.vault()
    try:
        fields = _read_kv(vault, path)
    except VaultRefusedError as refusal:
        raise _refused_by_vault(refusal, vault, path) from None
    if not isinstance(fields, dict):
        raise did_not_answer(vault.address, f"{path} has no fields")
    value = fields.get(name)
    if not isinstance(value, str):
        hint = f"vault kv get {path} shows the fields that are there"
        raise ConfigurationError("secret_missing", f"{path} in Vault has no text field {name}", hint)
    return value


def _read_kv(vault: Vault, path: str) -> object:
    """The fields of a secret. Where its engine is mounted, and of which version that is, is asked first, as ``vault kv get`` does.

    Any token may ask that of a mount in which it may do something. Source: https://developer.hashicorp.com/vault/api-docs/secret/kv
    and kvPreflightVersionRequest in command/kv_helpers.go of both servers.
    """
    match vault.ask("GET", f"sys/internal/ui/mounts/{path}").get("data"):
        case {"path": str(mount), "options": {"version": "2"}} if path.startswith(mount):
            entry = vault.ask("GET", f"{mount}data/{path.removeprefix(mount)}").get("data")
            return entry.get("data") if isinstance(entry, dict) else entry
    return vault.ask("GET", path).get("data")


def _refused_by_vault(refusal: VaultRefusedError, vault: Vault, path: str) -> ConfigurationError:
    match refusal.status:
        case 404:
            where = f" in the namespace {harmless(vault.namespace)}" if vault.namespace else ""
            hint = "the reference is mount/path#field, without the API's data/"
            return ConfigurationError("secret_missing", f"Vault has no {path}{where}", hint)
        case 403:
            mount, _, rest = path.partition("/")
            hint = (
                f"its policy must allow read on {mount}/data/{rest} (KV version 1: {path}); vault token lookup "
                "says whether it has ended"
            )
            message = f"Vault's token may not read {path}, or has ended"
            return ConfigurationError("secret_unreadable", message, hint)
        case status:
            return did_not_answer(vault.address, f"it answered {status}")


def _from_command(ref: SecretRef, store: SecretStore) -> str:
    """What the program prints. It asks by the terminal where there is one; where there is none, it has no standard streams to ask by."""
    program = harmless(ref.argv[0])
    try:
        process = subprocess.Popen(
            ref.argv,
            stdin=store.stdin if os.isatty(store.stdin) else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if os.isatty(_STDERR) else subprocess.DEVNULL,  # in a log it could show the secret
            env=store.for_commands,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its arguments cannot be passed on"
        raise _command_failed(f"{program} cannot be started: {reason}") from None
    ends_at = time.monotonic() + store.patience_s
    with process:
        try:
            content = _read_all(cast("IO[bytes]", process.stdout).fileno(), ends_at)
            status = process.wait(max(0, ends_at - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise _command_failed(f"{program} did not end within {store.patience_s:g} s") from None
        except OverflowError:
            raise _command_failed(f"{program} printed more than {LIMIT_BYTES} bytes") from None
        finally:
            process.kill()
    if status:
        what = f"signal {-status}" if status < 0 else f"status {status}"
        raise _command_failed(f"{program} ended with {what}")
    return _as_text(ref, content)


def _command_failed(message: str) -> ConfigurationError:
    hint = "run it by itself, as the inventory has it: it must print the secret alone, and may ask by the terminal only"
    return ConfigurationError("secret_command_failed", message, hint)


def _from_stdin(ref: SecretRef, store: SecretStore) -> str:
    value = store.document().get(ref.locator)
    if not isinstance(value, str):
        message = f"the document on standard input has no text {ref.locator}"
        raise ConfigurationError("secret_missing", message, _DOCUMENT_HINT)
    return _as_text(ref, value.encode(errors="surrogatepass"))


_DOCUMENT_HINT: Final = (
    'pipe a JSON object with every secret by its name into the command: {"NAME": "SECRET"}'
)


def read_document(descriptor: int, patience_s: float) -> Mapping[str, object]:
    """The JSON object that comes from there. Raises ``ConfigurationError``: ``secret_missing`` for a terminal, ``secret_unreadable``."""
    if os.isatty(descriptor):
        message = "secrets are to come from standard input, which is a terminal"
        raise ConfigurationError("secret_missing", message, _DOCUMENT_HINT)
    try:
        document = json.loads(_read_all(descriptor, time.monotonic() + patience_s))
    except TimeoutError:
        why = f"it did not end within {patience_s:g} s"
    except OverflowError:
        why = f"it has more than {LIMIT_BYTES} bytes"
    except OSError:
        why = "it cannot be read"
    except (ValueError, RecursionError):
        why = "it is no JSON"
    else:
        if isinstance(document, dict):
            return document
        why = "it is no JSON object"
    raise ConfigurationError("secret_unreadable", f"standard input cannot be used: {why}", _DOCUMENT_HINT)


def _read_all(descriptor: int, ends_at: float) -> bytes:
    """What comes until the end; raises ``TimeoutError`` where that does not come in time, ``OverflowError`` for too much."""
    content = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(content) <= LIMIT_BYTES:
        if not poll.poll(max(0.0, ends_at - time.monotonic()) * 1000):
            raise TimeoutError
        block = os.read(descriptor, LIMIT_BYTES)
        if not block:
            return bytes(content)
        content += block
    raise OverflowError


def _unreadable(ref: SecretRef, why: str) -> ConfigurationError:
    return ConfigurationError(
        "secret_unreadable", f"the secret {ref} cannot be used: {why}", "look at what is there"
    )


SOURCES: Final[dict[SecretSource, Callable[[SecretRef, SecretStore], str]]] = {
    "env": _from_environ,
    "file": _from_file,
    "keyring": _from_keyring,
    "vault": _from_vault,
    "command": _from_command,
    "stdin": _from_stdin,
}
"""The functions that get a secret's text, each from its kind of source."""
