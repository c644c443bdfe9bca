"""Resolving references to secrets, each once, and the type that keeps a secret out of logs and messages.

It must not know what a secret is for; where secrets come from stands in ``secret_sources``. No error has a secret in it, and no
secret is written anywhere.
"""

from __future__ import annotations

import hmac
from threading import RLock
from typing import TYPE_CHECKING, Final, NoReturn, final

from ionetctl.core.errors import ConfigurationError
from ionetctl.credentials.secret_sources import PATIENCE_S, SOURCES, read_document
from ionetctl.credentials.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ionetctl.core.model.secret import SecretRef

MASK: Final = "***"


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
    """The secrets of one run, each resolved once, one at a time.

    ``environ`` is the environment as the settings read it, of which commands do not get the variables ``withheld``; ``stdin`` is
    the descriptor of standard input. What takes longer than ``patience_s`` is given up.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        withheld: Collection[str] = (),
        stdin: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.environ = environ
        self.for_commands = {name: value for name, value in environ.items() if name not in withheld}
        self.stdin = stdin
        self.patience_s = patience_s
        self._known: dict[SecretRef, Secret] = {}
        self._vault: Vault | None = None
        self._document: Mapping[str, object] | None = None
        self._lock = RLock()

    def resolve(self, ref: SecretRef) -> Secret:
        """The secret that ``ref`` names, from its source the first time. May block on a keyring, on Vault, on a command, and on standard input.

        Raises ``ConfigurationError``: ``secret_missing`` (nothing there, or empty), ``secret_unreadable``,
        ``secret_file_readable`` (others may read the file), ``secret_command_failed``, ``keyring_unavailable``, ``vault_unavailable``
        or ``vault_token_used``.
        """
        if ref not in self._known:
            with self._lock:
                if ref not in self._known:
                    self._known[ref] = self._from_source(ref)
        return self._known[ref]

    def _from_source(self, ref: SecretRef) -> Secret:
        try:
            value = SOURCES[ref.source](ref, self)
            value.encode()  # whatever takes it would fail to, and show it in its error
        except UnicodeEncodeError:
            refusal = ("secret_unreadable", f"the secret {ref} is not UTF-8 text", "look at what is there")
        except ConfigurationError as error:
            refusal = (error.code, error.message, error.hint)
        else:
            if value:
                return Secret(value)
            refusal = ("secret_missing", f"the secret {ref} is empty", "put a value there")
        # Raised anew: the exception of a library, its context otherwise, may hold the secret.
        raise ConfigurationError(*refusal)

    def resolve_all(self, refs: Iterable[SecretRef]) -> None:
        """Resolve all references now, so that nothing blocks later; after a command that fails, nothing more is asked.

        Raises the ``ConfigurationError`` of the first that fails, naming the others in its message.
        """
        failures: list[ConfigurationError] = []
        for ref in dict.fromkeys(refs):
            try:
                self.resolve(ref)
            except ConfigurationError as error:
                failures.append(error)
                if error.code == "secret_command_failed":
                    break  # by Ctrl-C, maybe: the next would ask the person again
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

    def document(self) -> Mapping[str, object]:
        """The JSON object on standard input, read once. Blocks; raises ``ConfigurationError``: ``secret_missing``, ``secret_unreadable``."""
        with self._lock:
            if self._document is None:
                self._document = read_document(self.stdin, self.patience_s)
            return self._document
