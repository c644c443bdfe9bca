"""The keys that a login may offer: identity files, loaded and decrypted once for the whole fleet, and the SSH agent's.

Nothing else holds private keys or passphrases. The agent only signs: it is never forwarded to a host.
"""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.login_key import LoginKey
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.asyncssh_internals import (
    certified_key_data,
    copy_of_pair,
    has_certificate,
    key_data,
    pair_data,
    pair_key_data,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.config.endpoint import Endpoint

CERTIFICATE_SUFFIX: Final = "-cert.pub"
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Offer:
    """A key to log in with, and its name in messages."""

    label: str
    pair: asyncssh.SSHKeyPair = field(repr=False)

    def fresh(self) -> asyncssh.SSHKeyPair:
        """The pair for one connection, which changes it."""
        return copy_of_pair(self.pair)

    @property
    def key(self) -> LoginKey | None:
        """The public key; ``None`` for one that is offered with a certificate."""
        if has_certificate(self.pair):
            return None
        data = pair_key_data(self.pair)
        kind = data[4 : 4 + int.from_bytes(data[:4], "big")]
        return LoginKey(kind.decode(errors="replace"), base64.b64encode(data).decode())


@dataclass(frozen=True, slots=True)
class _File:
    """An identity file: its private key, or ``None`` and the ``problem`` for which only an agent can use it."""

    public: asyncssh.SSHKey | None
    private: asyncssh.SSHKey | None = field(repr=False)
    certificate: asyncssh.SSHCertificate | None
    problem: ConfigurationError | None = None


@dataclass(slots=True)
class Identities:
    """All key material of a rollout. ``reveal`` resolves a secret; it may block, so it runs in a thread."""

    reveal: Callable[[SecretRef], str] = field(repr=False)
    _files: dict[tuple[Path, SecretRef | None], asyncio.Task[_File]] = field(default_factory=dict, repr=False)
    _certificates: dict[Path, asyncssh.SSHCertificate] = field(default_factory=dict, repr=False)
    _agents: dict[str, asyncio.Task[Sequence[asyncssh.SSHKeyPair]]] = field(default_factory=dict, repr=False)
    _clients: list[asyncssh.SSHAgentClient] = field(default_factory=list, repr=False)
    _secrets: dict[SecretRef, asyncio.Task[Callable[[], str]]] = field(default_factory=dict, repr=False)

    async def secret(self, reference: SecretRef) -> Callable[[], str]:
        """A function that returns the secret, resolved once: so no repr of a task, frame or log record shows it.

        Raises what ``reveal`` raises.
        """
        if reference not in self._secrets:
            self._secrets[reference] = asyncio.create_task(
                asyncio.to_thread(_reveal_later, self.reveal, reference)
            )
        return await asyncio.shield(self._secrets[reference])

    async def offers(self, endpoint: Endpoint) -> list[Offer]:
        """The keys to try, in order, each once; a certificate goes before its bare key.

        First the inventory's identities, then as OpenSSH: the agent's keys, beginning with those that an identity file
        names, and last the identity files that the agent does not know. A server allows few tries (MaxAuthTries).

        Raises ``ConfigurationError`` for an identity of the inventory that cannot be used: ``identity_unreadable``,
        ``identity_encrypted``, ``passphrase_wrong``, ``certificate_unreadable``.
        """
        agent_keys = await self._agent_keys(endpoint.agent_path)
        files = [(path, await self._file(path, endpoint)) for path in endpoint.identities]
        certificates = await self._certificates_of(endpoint)
        certificates += (file.certificate for _, file in files if file.certificate is not None)
        required: list[Offer] = []
        others: list[Offer] = []
        for path, file in files:
            if file.private is not None:
                offers = _file_offers(path, file.private, certificates)
                (required if path in endpoint.required else others).extend(offers)
            elif path in endpoint.required and not _is_in_agent(file.public, agent_keys):
                raise file.problem or _unreadable(path, "it holds no private key")
        public = [file.public for _, file in files if file.public is not None]
        named = [key for key in agent_keys if _is_named(key, public)]
        unnamed = () if endpoint.is_agent_limited else agent_keys
        of_agent = [offer for key in (*named, *unnamed) for offer in _agent_offers(key, certificates)]
        return _each_once([*required, *of_agent, *others])

    async def close(self) -> None:
        """Close the connections to agents."""
        tasks = [*self._files.values(), *self._agents.values(), *self._secrets.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients:
            client.close()
            await client.wait_closed()

    async def _file(self, path: Path, endpoint: Endpoint) -> _File:
        key = (path, endpoint.passphrase)
        if key not in self._files:
            self._files[key] = asyncio.create_task(self._load(path, endpoint.passphrase))
        return await asyncio.shield(self._files[key])

    async def _load(self, path: Path, passphrase: SecretRef | None) -> _File:
        secret = None if passphrase is None else await self.secret(passphrase)
        return await asyncio.to_thread(_read, path, secret)

    async def _certificates_of(self, endpoint: Endpoint) -> list[asyncssh.SSHCertificate]:
        """Those that the inventory or the SSH configuration names; of the latter those that can be read."""
        for path in endpoint.certificates:
            if path not in self._certificates:
                try:
                    self._certificates[path] = asyncssh.read_certificate(path)
                except (OSError, ValueError) as error:
                    if path not in endpoint.required:
                        continue
                    message = f"the SSH certificate {path} cannot be used: {_reason(error)}"
                    hint = "ssh: {certificate: …} names the -cert.pub file that belongs to the identity"
                    raise ConfigurationError("certificate_unreadable", message, hint) from error
        return [self._certificates[path] for path in endpoint.certificates if path in self._certificates]

    async def _agent_keys(self, path: str | None) -> Sequence[asyncssh.SSHKeyPair]:
        if path is None:
            return ()
        if path not in self._agents:
            self._agents[path] = asyncio.create_task(self._list_agent(path))
        return await asyncio.shield(self._agents[path])

    async def _list_agent(self, path: str) -> Sequence[asyncssh.SSHKeyPair]:
        """The agent's keys; none where it does not answer, as with OpenSSH."""
        client = asyncssh.SSHAgentClient(path)
        self._clients.append(client)
        try:
            return await client.get_keys()
        except (OSError, ValueError):
            return ()


def _reveal_later(reveal: Callable[[SecretRef], str], reference: SecretRef) -> Callable[[], str]:
    secret = reveal(reference)
    return lambda: secret


def _read(path: Path, passphrase: Callable[[], str] | None) -> _File:
    """Read an identity file, its public key and the certificate next to it. Decrypting may take a second."""
    certificate = _adjacent_certificate(path)
    public = _public_key(path)
    try:
        private = asyncssh.read_private_key(path, passphrase() if passphrase else None)
        status = path.stat()
    except asyncssh.KeyEncryptionError:
        return _File(public, None, certificate, _encrypted(path, is_wrong=passphrase is not None))
    except (OSError, ValueError) as error:
        is_encrypted = "assphrase" in str(error)
        problem = (
            _encrypted(path, is_wrong=passphrase is not None)
            if is_encrypted
            else _unreadable(path, _reason(error))
        )
        return _File(public, None, certificate, problem)
    if status.st_uid == os.getuid() and status.st_mode & _OTHERS:
        return _File(public, None, certificate, _exposed(path, stat.S_IMODE(status.st_mode)))
    return _File(private.convert_to_public(), private, certificate)


def _adjacent_certificate(path: Path) -> asyncssh.SSHCertificate | None:
    try:
        return asyncssh.read_certificate(path.with_name(path.name + CERTIFICATE_SUFFIX))
    except (OSError, ValueError):
        return None


def _public_key(path: Path) -> asyncssh.SSHKey | None:
    """The public key in ``PATH.pub`` or in the file itself: enough to find its pair in an agent."""
    for candidate in (path.with_name(path.name + ".pub"), path):
        try:
            return asyncssh.read_public_key(candidate)
        except (OSError, ValueError):
            continue
    return None


def _file_offers(
    path: Path, key: asyncssh.SSHKey, certificates: Sequence[asyncssh.SSHCertificate]
) -> list[Offer]:
    name = harmless(str(path))
    own = [certificate for certificate in certificates if certified_key_data(certificate) == key_data(key)]
    certified = [
        Offer(f"certificate of {name}", asyncssh.load_keypairs([(key, certificate)])[0])
        for certificate in own
    ]
    return [*certified, Offer(f"key {name}", asyncssh.load_keypairs([key])[0])]


def _agent_offers(key: asyncssh.SSHKeyPair, certificates: Sequence[asyncssh.SSHCertificate]) -> list[Offer]:
    comment = key.get_comment("utf-8", "replace") or key.get_algorithm()
    offers = [Offer(f"agent key {comment}", key)]
    for certificate in certificates:
        if certified_key_data(certificate) == pair_key_data(key) and not has_certificate(key):
            certified = copy_of_pair(key)
            certified.set_certificate(certificate)
            offers.insert(0, Offer(f"certificate of agent key {comment}", certified))
    return offers


def _is_in_agent(public: asyncssh.SSHKey | None, agent_keys: Sequence[asyncssh.SSHKeyPair]) -> bool:
    return public is not None and any(pair_key_data(key) == key_data(public) for key in agent_keys)


def _is_named(key: asyncssh.SSHKeyPair, named: Sequence[asyncssh.SSHKey]) -> bool:
    return any(pair_key_data(key) == key_data(public) for public in named)


def _encrypted(path: Path, *, is_wrong: bool) -> ConfigurationError:
    if is_wrong:
        message = f"the passphrase does not open the identity {path}"
        return ConfigurationError("passphrase_wrong", message, "correct what ssh: {passphrase: …} refers to")
    message = f"the identity {path} is encrypted, and there is no passphrase for it"
    hint = "set ssh: {passphrase: …}, or add the key to your SSH agent (ssh-add)"
    return ConfigurationError("identity_encrypted", message, hint)


def _unreadable(path: Path, reason: str) -> ConfigurationError:
    message = f"the identity {path} cannot be used: {reason}"
    return ConfigurationError("identity_unreadable", message, "ssh: {identity: …} names a private key file")


def _exposed(path: Path, mode: int) -> ConfigurationError:
    """A private key that ``ssh`` would not use either."""
    message = f"the identity {path} has mode {mode:04o}: others than its owner may use it"
    return ConfigurationError("identity_unreadable", message, f"chmod 600 {path}")


def _each_once(offers: Sequence[Offer]) -> list[Offer]:
    first: dict[bytes, Offer] = {}
    for offer in offers:
        first.setdefault(pair_data(offer.pair), offer)
    return list(first.values())


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
