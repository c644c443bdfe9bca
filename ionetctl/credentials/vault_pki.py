"""A role of Vault's or OpenBao's PKI engine as the issuer of node certificates.

It sends requests to be signed, never a key, and holds what comes back against what was asked for: a role may alter or drop anything.
Source: https://developer.hashicorp.com/vault/api-docs/secret/pki#sign-certificate and https://openbao.org/api-docs/secret/pki/
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.node import NodeCertificate
from ionetctl.core.sanitize import harmless
from ionetctl.credentials.certificate_checks import IssuedUnderCa, chain_pem, known_chain, without_roots
from ionetctl.credentials.certificates import (
    CHAIN_LIMIT,
    NAME_LIMIT,
    extension,
    is_issued_by,
    leads_to,
    may_sign,
    parse_chain,
    read_chain,
)
from ionetctl.credentials.name_constraints import forbidden_names, has_unusable_constraints
from ionetctl.credentials.signing_request import bare_key, client_role, new_key, node_names, request_for
from ionetctl.credentials.vault import VaultRefusedError, did_not_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric import ec

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings, VaultIssuer
    from ionetctl.core.ports import Clock
    from ionetctl.credentials.certificates import Chain
    from ionetctl.credentials.vault import Vault

ATTEMPTS: Final = 3
LIMIT_CHARS: Final = 64 * 1024
"""For all certificates of an answer; one has some 2,000."""
_LEEWAY: Final = timedelta(hours=1)
_FORBIDDEN: Final = 403
_MAY_SIGN: Final = frozenset({"update", "root", "sudo"})


class VaultPki:
    """Has a role sign a certificate per node; implements ``ports.Issuer``."""

    def __init__(self, check: IssuedUnderCa, role: VaultIssuer, vault: Vault, clock: Clock) -> None:
        self.check = check
        self._role = role
        self._vault = vault
        self._clock = clock
        self._path = f"{role.mount}/sign/{role.role}"

    @classmethod
    def open(cls, region: RegionSettings, role: VaultIssuer, vault: Vault, clock: Clock) -> VaultPki:
        """The issuer of a region, where Vault's token may sign with the role. Blocks.

        Raises ``ConfigurationError``: ``certificate_unreadable`` (``tls.ca``), ``vault_unavailable``, ``issuer_forbidden``.
        """
        anchors = chain_pem(read_chain(region.tls.ca))
        issuer = cls(IssuedUnderCa(client_role(region.name), anchors, role.key_on_host), role, vault, clock)
        issuer._check_rights()
        return issuer

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:  # noqa: ARG002  (all clients of a region have the same names)
        """A certificate, with a new key or for a request.

        Raises as the port says: ``vault_unavailable`` and ``issuer_forbidden``, which concern every host, ``issuer_refused``, and
        ``issuer_unfit`` for a certificate that is not as it was asked for.
        """
        if request is not None:
            return NodeCertificate(await self._signed(request, bare_key(request)))
        key, key_pem = new_key()
        asked = request_for(key, self.check.role)
        return NodeCertificate(await self._signed(asked, key.public_key()), key_pem)

    def _check_rights(self) -> None:
        """Raise where the token may not sign; one that may not ask about itself, either, is tried when it is needed.

        Source: https://developer.hashicorp.com/vault/api-docs/system/capabilities-self
        """
        try:
            answer = self._vault.ask("POST", "sys/capabilities-self", {"paths": [self._path]})
        except VaultRefusedError as refusal:
            if refusal.status == _FORBIDDEN:
                return
            raise self._refused(refusal) from None
        rights = answer.get(self._path)
        if not isinstance(rights, list) or _MAY_SIGN.isdisjoint(map(str, rights)):
            raise self._forbidden()

    async def _signed(self, request: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
        """The chain of a certificate for a request in DER, as PEM."""
        chain = self._chain(await self._ask(request))
        try:
            problem = self._problem(chain, key)
        except (ValueError, UnsupportedAlgorithm):
            problem = "it cannot be read"
        if problem is not None:
            message = f"what Vault signed with {self._path} is not what was asked for: {problem}"
            raise ConfigurationError("issuer_unfit", message, self._role_hint())
        return chain_pem(chain[:1]) + chain_pem(without_roots(chain[1:]))

    async def _ask(self, request: bytes) -> Mapping[str, Any]:
        pem = x509.load_der_x509_csr(request).public_bytes(serialization.Encoding.PEM).decode()
        body = {
            "csr": pem,
            "common_name": self.check.role,
            "alt_names": "localhost",
            "ip_sans": "127.0.0.1",
            "ttl": f"{self._role.validity_days * 24}h",
            "format": "pem",
        }
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(1, 10),
            retry=retry_if_exception(_is_unavailable),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(self._ask_once, body)

    async def _ask_once(self, body: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            async with self._vault.connect() as session:
                return await session.ask("POST", self._path, body)
        except VaultRefusedError as refusal:
            raise (self._forbidden() if refusal.status == _FORBIDDEN else self._refused(refusal)) from None

    def _chain(self, answer: Mapping[str, Any]) -> Chain:
        """The certificates of an answer, that of the node first. Raises ``ConfigurationError`` (``vault_unavailable``)."""
        data = answer.get("data")
        signed = data if isinstance(data, dict) else {}
        above = signed.get("ca_chain") or [signed.get("issuing_ca")]
        texts = [signed.get("certificate"), *(above if isinstance(above, list) else [None])]
        pems = [text for text in texts if isinstance(text, str)]
        if len(pems) == len(texts) and len(pems) <= CHAIN_LIMIT and sum(map(len, pems)) <= LIMIT_CHARS:
            try:
                return tuple(one for pem in pems for one in parse_chain(pem.encode()))
            except ValueError:
                pass
        raise did_not_answer(self._vault.address, "it signed nothing that can be read")

    def _problem(self, chain: Chain, key: ec.EllipticCurvePublicKey) -> str | None:
        leaf = chain[0]
        if leaf.public_key() != key:
            return "it is of another key"
        anchors = known_chain(self.check.ca_pem)
        if not leads_to(chain, anchors):
            return "it does not lead to the CA in tls.ca of the region"
        above = [*chain[1:], *(ca for ca in anchors if any(is_issued_by(each, ca) for each in chain))]
        if forbidden := forbidden_names(tuple(above), node_names(self.check.role)):
            return f"its CA or one above it permits no certificate for {' and '.join(forbidden)}"
        if has_unusable_constraints(tuple(above)):
            return (
                "its CA or one above it has name constraints of a kind that Nomad does not know, and refuses"
            )
        return self._name_problem(leaf) or _use_problem(leaf) or self._time_problem(chain)

    def _name_problem(self, leaf: x509.Certificate) -> str | None:
        names = [*(extension(leaf, x509.SubjectAlternativeName) or ())]
        if set(names) != set(node_names(self.check.role)):
            shown = harmless(", ".join(str(name.value) for name in names), NAME_LIMIT) or "none"
            return f"its names are {shown}, and not {self.check.role}, localhost and 127.0.0.1"
        common = [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if common != [self.check.role]:
            return f"its common name is {harmless(', '.join(common), NAME_LIMIT) or 'missing'}, and not {self.check.role}"
        return None

    def _time_problem(self, chain: Chain) -> str | None:
        leaf, now = chain[0], self._clock.now()
        asked = now + timedelta(days=self._role.validity_days)
        longest = min([asked, *(ca.not_valid_after_utc for ca in chain[1:])])
        begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if begins > now:
            return f"it is valid from {begins:%Y-%m-%d %H:%M:%S} UTC only"
        if ends > asked + _LEEWAY or ends < longest - _LEEWAY:
            return f"it ends on {ends:%Y-%m-%d}, and not on {longest:%Y-%m-%d} (issuer.validity)"
        return None

    def _forbidden(self) -> ConfigurationError:
        hint = f'its policy must have: path "{self._path}" {{ capabilities = ["update"] }}'
        return ConfigurationError("issuer_forbidden", f"Vault's token may not sign with {self._path}", hint)

    def _refused(self, refusal: VaultRefusedError) -> ConfigurationError:
        message = f"Vault refuses to sign with {self._path}: {refusal.reason or f'status {refusal.status}'}"
        return ConfigurationError("issuer_refused", message, self._role_hint())

    def _role_hint(self) -> str:
        """The command that makes the role as it must be."""
        mount, hours = self._role.mount, self._role.validity_days * 24
        return (
            f"vault write {mount}/roles/{self._role.role} key_type=ec key_bits=256 allowed_domains={self.check.role} "
            "allow_bare_domains=true allow_subdomains=false use_csr_common_name=false use_csr_sans=false "
            f"not_before_duration=5m max_ttl={hours}h; and vault secrets tune -max-lease-ttl={hours}h {mount}; where "
            f"certificates are to end with their CA: vault patch {mount}/issuer/default leaf_not_after_behavior=truncate"
        )


def _use_problem(leaf: x509.Certificate) -> str | None:
    if may_sign(leaf):
        return "it is a CA's"
    purposes = set(extension(leaf, x509.ExtendedKeyUsage) or ())
    if not purposes >= {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}:
        return "it is not for servers and clients alike"
    return None


def _is_unavailable(error: BaseException) -> bool:
    return isinstance(error, ConfigurationError) and error.code == "vault_unavailable"
