"""A stand-in for the PKI engine of Vault and OpenBao: a role that signs requests, with the settings that matter here and their defaults.

Source of the settings: https://openbao.org/api-docs/secret/pki/#create-update-role. It was not held against a real server yet.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support import pki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "hvs.token-of-the-login"
MOUNT, ROLE = "pki-eu", "nomad-client"
SIGN = f"/v1/{MOUNT}/sign/{ROLE}"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class Role:
    """A role's settings; ``good`` has those that ionetctl's hint and documentation name."""

    key_type: str = "rsa"
    allowed_domains: tuple[str, ...] = ()
    allow_bare_domains: bool = False
    allow_localhost: bool = True
    use_csr_common_name: bool = True
    use_csr_sans: bool = True
    not_before: timedelta = timedelta(seconds=30)
    max_ttl: timedelta = timedelta(hours=768)
    client_flag: bool = True


def good(**changes: Any) -> Role:
    settings: dict[str, Any] = {
        "key_type": "ec",
        "allowed_domains": ("client.eu-north.nomad",),
        "allow_bare_domains": True,
        "use_csr_common_name": False,
        "use_csr_sans": False,
        "not_before": timedelta(minutes=5),
        "max_ttl": timedelta(days=1825),
    }
    return Role(**(settings | changes))


@dataclass
class StandIn:
    """The server. ``issuer`` signs, ``above`` are the CAs above it; ``instead`` are answers that it gives first, or for a path."""

    issuer: pki.Pair
    above: tuple[pki.Pair, ...] = ()
    role: Role = field(default_factory=good)
    instead: list[tuple[int, object]] = field(default_factory=list)
    rights: tuple[int, object] = (200, {f"{MOUNT}/sign/{ROLE}": ["update"]})
    changed: dict[str, object] = field(default_factory=dict)
    is_authority: bool = False
    common: str = ""
    is_broken: bool = False
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.path, body))
        if request.headers.get("X-Vault-Token") != TOKEN:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        if request.path == "/v1/sys/capabilities-self":
            return web.json_response(self.rights[1], status=self.rights[0])
        if self.instead:
            status, said = self.instead.pop(0)
            return web.json_response(said, status=status)
        if request.path != SIGN:
            return web.json_response({"errors": [f"no handler for route {request.path[4:]!r}"]}, status=404)
        try:
            data = self._signed(body)
        except ValueError as error:
            return web.json_response({"errors": [str(error)]}, status=400)
        return web.json_response({"data": data | self.changed, "warnings": None})

    def _signed(self, body: dict[str, str]) -> dict[str, object]:
        csr, role = x509.load_pem_x509_csr(body["csr"].encode()), self.role
        if isinstance(csr.public_key(), ec.EllipticCurvePublicKey) != (role.key_type == "ec"):
            raise ValueError(f"role requires keys of type {role.key_type}")
        common = body["common_name"]
        if role.use_csr_common_name:
            common = str(csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        names = self._names(csr, body, common)
        for name in names:
            is_domain = role.allow_bare_domains and name.value in role.allowed_domains
            is_local = name.value == "localhost" and role.allow_localhost
            if isinstance(name, x509.DNSName) and not is_domain and not is_local:
                raise ValueError(f"common name {name.value} not allowed by this role")
        leaf = self._certificate(csr, common, names, body["ttl"])
        chain = [each.pem.strip() for each in (self.issuer, *self.above)]
        return {
            "certificate": leaf.pem.strip(),
            "issuing_ca": chain[0],
            "ca_chain": chain,
            "serial_number": "01:02",
        }

    def _names(
        self, csr: x509.CertificateSigningRequest, body: dict[str, str], common: str
    ) -> list[x509.GeneralName]:
        names: list[x509.GeneralName] = [x509.DNSName(common)]
        if not self.role.use_csr_sans:
            asked = [*body["alt_names"].split(","), *body["ip_sans"].split(",")]
            return [*names, *(pki.general_name(name) for name in asked)]
        try:
            found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return names
        return [*names, *(name for name in found if name not in names)]

    def _certificate(
        self, csr: x509.CertificateSigningRequest, common: str, names: list[x509.GeneralName], ttl: str
    ) -> pki.Pair:
        now = datetime.now(UTC)
        lasts = min(timedelta(hours=int(ttl.removesuffix("h"))), self.role.max_ttl)
        begins = now - self.role.not_before
        purposes = BOTH if self.role.client_flag else BOTH[:1]
        built = pki.builder(
            self.common or common,
            self.issuer,
            csr,  # type: ignore[arg-type]
            is_authority=self.is_authority,
            begins=begins,
            lasts=now + lasts - begins,
        )
        alternative = x509.SubjectAlternativeName(names)
        broken = x509.UnrecognizedExtension(alternative.oid, b"\x05\x00")
        built = built.add_extension(broken if self.is_broken else alternative, critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return pki.signed(built, self.issuer, csr)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(stand_in: StandIn, directory: Path) -> AsyncIterator[dict[str, str]]:
    """The environment in which the stand-in, on loopback and by https, is the Vault."""
    authority = pki.root("Vault's own CA")
    own = authority.sign("vault", names=["127.0.0.1"])
    pki.write(directory / "vault-ca.pem", authority)
    pki.write(directory / "vault.pem", own)
    (directory / "vault-key.pem").write_text(own.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "vault.pem", directory / "vault-key.pem")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.answer)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    try:
        address = f"https://127.0.0.1:{server.port}"
        yield {"VAULT_ADDR": address, "VAULT_TOKEN": TOKEN, "VAULT_CACERT": str(directory / "vault-ca.pem")}
    finally:
        await server.close()
