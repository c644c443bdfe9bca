"""A Vault or OpenBao server: where it is and who asks it, by the variables that its own command uses, and requests to it.

It knows tokens (plain, or wrapped), deadlines and limits; it must not know what is asked for. Both servers speak the same API:
https://developer.hashicorp.com/vault/api-docs and https://openbao.org/api-docs/
"""

from __future__ import annotations

import asyncio
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    import aiohttp

SILENCE_S: Final = 10.0
DEADLINE_S: Final = 30.0
"""For one request, however often a byte comes."""
LIMIT_BYTES: Final = 4 << 20
"""Well beyond the largest secret: Vault stores entries of at most 1 MiB, unless it is told otherwise."""
_REASON_CHARS: Final = 300
_PREFIXES: Final = ("BAO_", "VAULT_")
_TOKEN_REFUSED: Final = frozenset({400, 403})
"""What a wrapping token that is not there any more is answered with; 404 is an unknown namespace."""


class VaultRefusedError(Exception):
    """Vault understood the request and refused it: the response's ``status`` (4xx), and its ``reason`` as one harmless line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"status {status}")  # a reason may quote what was sent
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Vault:
    """A server and a token for it. ``namespace`` is empty where there is none."""

    address: str
    token: str = field(repr=False)
    context: ssl.SSLContext = field(repr=False)
    namespace: str = ""
    deadline_s: float = DEADLINE_S

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Vault:
        """The server that ``VAULT_ADDR`` (or ``BAO_ADDR``) names; a wrapped token is unwrapped: that blocks, and succeeds once.

        Raises ``ConfigurationError``: ``vault_unavailable``, ``secret_malformed``, and ``vault_token_used`` for a wrapped token
        that does not hold a token any more.
        """
        variables = _variables(environ)
        tokens = [name for name in ("TOKEN", "WRAPPED_TOKEN") if name in variables]
        missing = [
            name for name, is_there in (("ADDR", "ADDR" in variables), ("TOKEN", tokens)) if not is_there
        ]
        if missing:
            names = " and ".join(f"VAULT_{name}" for name in missing)
            hint = "vault login, then export both; a wrapped token goes into VAULT_WRAPPED_TOKEN"
            raise ConfigurationError("vault_unavailable", f"the environment has no {names}", hint)
        if len(tokens) > 1:
            message = "the environment has VAULT_TOKEN and VAULT_WRAPPED_TOKEN"
            raise ConfigurationError("vault_unavailable", message, "unset the one that is not to be used")
        vault = cls(
            _checked_address(variables["ADDR"]),
            _checked_token(variables[tokens[0]]),
            _context(variables.get("CACERT")),
            variables.get("NAMESPACE", ""),
        )
        return vault if tokens == ["TOKEN"] else vault._unwrapped()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[VaultSession]:
        """A session on this event loop, whose requests share connections, until the end of the block."""
        import aiohttp

        headers = {"X-Vault-Request": "true", "Accept-Encoding": "identity"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.context, resolver=aiohttp.ThreadedResolver()),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(self.deadline_s, sock_connect=SILENCE_S, sock_read=SILENCE_S),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield VaultSession(self, session)

    def ask(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """As ``VaultSession.ask``, in a session of its own; blocks, whatever thread it is called in."""
        return _finished(self._ask(method, path, body))

    async def _ask(self, method: str, path: str, body: object) -> Mapping[str, Any]:
        async with self.connect() as session:
            return await session.ask(method, path, body)

    def _unwrapped(self) -> Vault:
        """The same server with the token that this one, a wrapping token, holds.

        Source: https://developer.hashicorp.com/vault/api-docs/system/wrapping-unwrap. Only a login has a token under ``auth``:
        whoever opened it and wrapped something of their own cannot make that look like one.
        """
        try:
            answer = self.ask("POST", "sys/wrapping/unwrap")
        except VaultRefusedError as refusal:
            if refusal.status not in _TOKEN_REFUSED:
                raise did_not_answer(self.address, f"it answered {refusal.status}") from None
            raise _used(f"the wrapped token for {self.address} was used before, or has expired") from None
        login = answer.get("auth")
        token = login.get("client_token") if isinstance(login, dict) else None
        if not isinstance(token, str) or not token:
            raise _used(f"what is wrapped for {self.address} is no token of a login")
        return Vault(self.address, _checked_token(token), self.context, self.namespace)


@dataclass(frozen=True, slots=True)
class VaultSession:
    """Requests to one server, with its token."""

    vault: Vault
    session: aiohttp.ClientSession = field(repr=False)

    async def ask(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """The JSON object that the server answers to ``/v1/<path>``; ``body`` is sent as JSON.

        Raises ``VaultRefusedError``, or ``ConfigurationError`` (``vault_unavailable``) where there is no such answer: within
        ``deadline_s``, of at most ``LIMIT_BYTES``, not compressed, not from elsewhere.
        """
        import aiohttp

        url = f"{self.vault.address}/v1/{quote(path)}"
        headers = {
            "X-Vault-Token": self.vault.token
        }  # on each request, so that no list of the session shows it
        try:
            async with self.session.request(
                method=method, url=url, json=body, headers=headers, allow_redirects=False
            ) as response:
                return self._answer(response.status, await self._content(response))
        except TimeoutError:
            why = f"nothing complete within {self.vault.deadline_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            why = _cause(error)
        raise self._unavailable(why)

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._unavailable("it compresses its answer, which nobody asked for")
        content = bytearray()
        async for block in response.content.iter_any():
            content += block
            if len(content) > LIMIT_BYTES:
                raise self._unavailable(f"its answer has more than {LIMIT_BYTES >> 20} MiB")
        return bytes(content)

    def _answer(self, status: int, content: bytes) -> Mapping[str, Any]:
        try:
            answer = json.loads(content) if content else {}
        except (ValueError, RecursionError):
            answer = None
        if 400 <= status < 500 and status != 429 and isinstance(answer, dict):  # noqa: PLR2004  (refusals; too many requests)
            errors = answer.get("errors")
            reasons = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
            raise VaultRefusedError(status, harmless(reasons.replace(self.vault.token, "***"), _REASON_CHARS))
        if status // 100 != 2:  # noqa: PLR2004  (the class of successes)
            raise self._unavailable(f"it answered {status}")
        if not isinstance(answer, dict):
            raise self._unavailable("its answer is no JSON object")
        return answer

    def _unavailable(self, why: str) -> ConfigurationError:
        return did_not_answer(self.vault.address, why)


def did_not_answer(address: str, why: str) -> ConfigurationError:
    """The error for what answers at ``address``, or does not."""
    message = f"{address} did not answer as Vault does: {why}"
    return ConfigurationError(
        "vault_unavailable", message, "look at VAULT_ADDR and VAULT_NAMESPACE, and at vault status"
    )


def _variables(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of the server, by their names without the prefix.

    The prefix that names the address goes first: a token of the other is sent there only where this one has none. As for ``bao``,
    ``BAO_`` goes before ``VAULT_`` where both have an address; then ``VAULT_`` is another server, whose token is not sent to this one.
    """
    prefixes = sorted(_PREFIXES, key=lambda prefix: not environ.get(f"{prefix}ADDR"))
    if all(environ.get(f"{prefix}ADDR") for prefix in _PREFIXES):
        prefixes = prefixes[:1]
    return {
        name.removeprefix(prefix): value
        for prefix in reversed(prefixes)
        for name, value in environ.items()
        if name.startswith(prefix) and value
    }


def _checked_address(address: str) -> str:
    try:
        url = urlsplit(address)
        is_usable = url.scheme in ("https", "http") and bool(url.hostname)
        is_usable = is_usable and "@" not in url.netloc and not url.query and not url.fragment
    except ValueError:
        is_usable = False
    if not is_usable:
        hint = "VAULT_ADDR looks like https://vault.example:8200"
        raise ConfigurationError("vault_unavailable", "VAULT_ADDR is no address of a Vault", hint)
    return address.rstrip("/")


def _checked_token(token: str) -> str:
    """The token, which can be sent in a header; a library's error about it would show it."""
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    message = "Vault's token has characters that no token has"
    raise ConfigurationError("secret_malformed", message, "it is one line of ASCII, without spaces")


def _context(ca_path: str | None) -> ssl.SSLContext:
    """Trusts the CA in the file, or else those of this machine."""
    try:
        return ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        message = f"cannot read VAULT_CACERT, {ca_path}: {harmless(error.strerror or 'no certificates')}"
        raise ConfigurationError(
            "vault_unavailable", message, "it is a file with CA certificates, PEM"
        ) from None


def _used(message: str) -> ConfigurationError:
    hint = (
        "if it was not you, somebody else may have opened it: revoke what it gave (vault token revoke -accessor), find out "
        "who had it, and have another one wrapped"
    )
    return ConfigurationError("vault_token_used", message, hint)


def _cause(error: Exception) -> str:
    """What is wrong with a connection; what a library says of anything but certificates may have the token in it."""
    certificate = getattr(error, "certificate_error", None)
    return harmless(str(certificate)) if certificate else type(error).__name__


def _finished(work: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The result, from an event loop of its own in a thread: the caller's thread may have one that runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
