"""A stand-in for the PKI engine of Vault and OpenBao: a role that signs requests, with the settings that matter here and their defaults.

Its answers are those of OpenBao 2.4.4, which tests/data/openbao/recordings.json has and tests/credentials/test_vault_contract.py
holds it against. Source of the settings: https://openbao.org/api-docs/secret/pki/#create-update-role.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
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
DENIED = {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
"""What no policy of the token allows."""
ENDED = {"errors": ["permission denied"]}
"""What a token that has ended, or never was, is answered."""
_BEYOND = "cannot satisfy request, as TTL would result in notAfter of {} that is beyond the expiration of the CA certificate at {}"
_IGNORED = 'the {} field was provided but the role is set with "{}" set to true'
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class Role:
    """A role's settings; ``good`` has those that ionetctl's hint and documentation name."""

    key_type: str = "rsa"
    key_bits: int = 0
    allowed_domains: tuple[str, ...] = ()
    allow_bare_domains: bool = False
    allow_localhost: bool = True
    allow_ip_sans: bool = True
    use_csr_common_name: bool = True
    use_csr_sans: bool = True
    not_before: timedelta = timedelta(seconds=30)
    max_ttl: timedelta = timedelta(hours=768)
    client_flag: bool = True

    def settings(self) -> dict[str, object]:
        """As the API takes them."""
        fields = asdict(self)
        begins, longest = fields.pop("not_before"), fields.pop("max_ttl")
        spans = {"not_before_duration": _seconds(begins), "max_ttl": _seconds(longest)}
        return {**fields, **spans, "allow_subdomains": False, "no_store": True}


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f}s"


def good(**changes: Any) -> Role:
    settings: dict[str, Any] = {
        "key_type": "ec",
        "key_bits": 256,
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
    """The server. ``issuer`` signs, ``above`` are the CAs above it; ``instead`` are answers that it gives first, or for a path.

    A certificate that would outlive the issuer is refused, unless ``ends_with_issuer`` (``leaf_not_after_behavior=truncate``).
    ``ahead`` is what the server's clock is ahead by.
    """

    issuer: pki.Pair
    above: tuple[pki.Pair, ...] = ()
    role: Role = field(default_factory=good)
    instead: list[tuple[int, object]] = field(default_factory=list)
    rights: tuple[int, object] = (200, ["update"])
    ends_with_issuer: bool = False
    ahead: timedelta = timedelta()
    changed: dict[str, object] = field(default_factory=dict)
    is_authority: bool = False
    common: str = ""
    is_broken: bool = False
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.path, body))
        if request.headers.get("X-Vault-Token") != TOKEN:
            return web.json_response(ENDED, status=403)
        if request.path == "/v1/sys/capabilities-self":
            status, said = self.rights
            if status != 200:
                return web.json_response(said, status=status)
            rights = {"capabilities": said, f"{MOUNT}/sign/{ROLE}": said}
            return web.json_response(rights | _whole(rights))
        if self.instead:
            status, said = self.instead.pop(0)
        elif request.path != SIGN:
            status, said = 403, DENIED
        else:
            status, said = self._sign(body)
        return web.json_response(said, status=status)

    def _sign(self, body: dict[str, str]) -> tuple[int, object]:
        try:
            data, warnings = self._signed(body)
        except ValueError as error:
            return 400, {"errors": [str(error)]}
        return 200, _whole(data | self.changed, warnings)

    def _signed(self, body: dict[str, str]) -> tuple[dict[str, object], list[str]]:
        csr, role = x509.load_pem_x509_csr(body["csr"].encode()), self.role
        self._check_key(csr.public_key())
        warnings = []
        common = body["common_name"]
        if role.use_csr_common_name:
            warnings.append(_IGNORED.format("common_name", "use_csr_common_name"))
            common = str(csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        if role.use_csr_sans:
            warnings.append(_IGNORED.format("alt_names", "use_csr_sans"))
        names = self._names(csr, body, common)
        self._check_names(names)
        asked = timedelta(hours=int(body["ttl"].removesuffix("h")))
        if asked > role.max_ttl:
            warnings.append(
                f'TTL "{_hours(asked)}" is longer than permitted maxTTL "{_hours(role.max_ttl)}", so maxTTL is being used'
            )
        leaf = self._certificate(csr, common, names, min(asked, role.max_ttl))
        chain = [each.pem.strip() for each in (self.issuer, *self.above)]
        data: dict[str, object] = {
            "certificate": leaf.pem.strip(),
            "expiration": int(leaf.certificate.not_valid_after_utc.timestamp()),
            "issuing_ca": chain[0],
            "ca_chain": chain,
            "not_before": int(leaf.certificate.not_valid_before_utc.timestamp()),
            "serial_number": "01:02",
        }
        return data, warnings

    def _check_key(self, key: object) -> None:
        role = self.role
        if isinstance(key, ec.EllipticCurvePublicKey) != (role.key_type == "ec"):
            raise ValueError(f"role requires keys of type {role.key_type}")
        if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < role.key_bits:
            raise ValueError(
                f"role requires a minimum of a {role.key_bits}-bit key, but CSR's key is {key.key_size} bits"
            )

    def _check_names(self, names: list[x509.GeneralName]) -> None:
        role = self.role
        for index, name in enumerate(names):
            if isinstance(name, x509.IPAddress):
                if not role.allow_ip_sans:
                    raise ValueError(
                        f"IP Subject Alternative Names are not allowed in this role, but was provided [{name.value}]"
                    )
                continue
            is_domain = role.allow_bare_domains and name.value in role.allowed_domains
            is_local = name.value == "localhost" and role.allow_localhost
            if not is_domain and not is_local:
                kind = "subject alternate" if index else "common"
                raise ValueError(f"{kind} name {name.value} not allowed by this role")

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
        self,
        csr: x509.CertificateSigningRequest,
        common: str,
        names: list[x509.GeneralName],
        lasts: timedelta,
    ) -> pki.Pair:
        now = datetime.now(UTC) + self.ahead
        begins, ends = now - self.role.not_before, now + lasts
        last = self.issuer.certificate.not_valid_after_utc
        if ends > last:
            if not self.ends_with_issuer:
                raise ValueError(
                    _BEYOND.format(f"{ends:%Y-%m-%dT%H:%M:%S.%fZ}", f"{last:%Y-%m-%dT%H:%M:%SZ}")
                )
            ends = last
        purposes = BOTH if self.role.client_flag else BOTH[:1]
        built = pki.builder(
            self.common or common,
            self.issuer,
            csr,  # type: ignore[arg-type]
            is_authority=self.is_authority,
            begins=begins,
            lasts=ends - begins,
        )
        alternative = x509.SubjectAlternativeName(names)
        broken = x509.UnrecognizedExtension(alternative.oid, b"\x05\x00")
        built = built.add_extension(broken if self.is_broken else alternative, critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return pki.signed(built, self.issuer, csr)  # type: ignore[arg-type]


def _whole(data: dict[str, object], warnings: list[str] | None = None) -> dict[str, object]:
    """An answer with everything that goes with its data."""
    return {
        "request_id": "c7f07133-48a1-548b-a9d0-9517fef39178",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": warnings or None,
        "auth": None,
    }


def _hours(span: timedelta) -> str:
    return f"{span // timedelta(hours=1)}h0m0s"


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
