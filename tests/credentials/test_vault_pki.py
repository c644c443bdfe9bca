"""Vault's PKI engine as the issuer: what is sent to it, and what of its answers is taken."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ionetctl.core.errors import ConfigurationError, HostFailedError
from ionetctl.core.model.host import Host
from ionetctl.core.model.inventory import RegionSettings, RegionTls, VaultIssuer
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.certificates import extension, parse_chain, parse_key
from ionetctl.credentials.pki import open_issuer, signs_servers
from ionetctl.credentials.secrets import SecretStore
from ionetctl.credentials.signing_request import node_names
from tests.support import pki
from tests.support.clock import ManualClock
from tests.support.vault_pki import DENIED, ENDED, MOUNT, ROLE, SIGN, TOKEN, Role, StandIn, good, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ionetctl.core.model.node import NodeCertificate
    from ionetctl.core.ports import Issuer

EU = RegionName("eu-north")
CLIENT = "client.eu-north.nomad"
HOST = Host(HostName("rig-001"), "10.0.0.1", EU, "rey1")
ROOT = pki.root(lasts=timedelta(days=7300))
SITE = ROOT.sign("site CA", is_authority=True, lasts=timedelta(days=3650))


def network(addresses: str) -> x509.IPAddress:
    """A constraint to these."""
    return x509.IPAddress(ipaddress.ip_network(addresses))


def request(key: ec.EllipticCurvePrivateKey, *names: str) -> bytes:
    """A host's request, for names of its own choice."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (*names, "node")[0])])
    built = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        built = built.add_extension(alternative, critical=False)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@dataclass
class Site:
    """A region whose certificates Vault signs."""

    directory: Path
    vault: StandIn = field(default_factory=lambda: StandIn(SITE, (ROOT,)))
    anchor: pki.Pair = ROOT
    days: int = 1825
    key_on_host: bool = False

    @property
    def region(self) -> RegionSettings:
        ca = pki.write(self.directory / "ca.pem", self.anchor)
        node = VaultIssuer(MOUNT, ROLE, self.days, self.key_on_host)
        tls = RegionTls(ca, "server.eu-north.nomad", None, node)
        return RegionSettings(EU, ("https://127.0.0.1",), ("127.0.0.1:4647",), SecretRef("env", "TOKEN"), tls)

    @asynccontextmanager
    async def issuer(self) -> AsyncIterator[Issuer]:
        async with serving(self.vault, self.directory) as environ:
            store, clock = SecretStore(environ), ManualClock(datetime.now(UTC))
            yield await asyncio.to_thread(open_issuer, self.region, store.reveal, clock, store.vault)

    async def issued(self, asked: bytes | None = None) -> NodeCertificate:
        async with self.issuer() as issuer:
            return await issuer.issue(HOST, asked)

    async def refusal(self, code: str, asked: bytes | None = None) -> ConfigurationError:
        with pytest.raises(ConfigurationError) as caught:
            await self.issued(asked)
        error = caught.value
        assert (error.code, TOKEN in f"{error.message}{error.hint}") == (code, False)
        return error

    async def unfit(self, asked: bytes | None = None) -> str:
        """What is wrong with the certificate that came."""
        error = await self.refusal("issuer_unfit", asked)
        assert error.hint.startswith(f"vault write {MOUNT}/roles/{ROLE} key_type=ec")
        return error.message.removeprefix(
            f"what Vault signed with {MOUNT}/sign/{ROLE} is not what was asked for: "
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_role_signs_a_nodes_certificate(site: Site) -> None:
    """With the names, the life and the chain of any other node's, for a key of ours."""
    pair = await site.issued()
    leaf, *above = parse_chain(pair.chain_pem)
    names = extension(leaf, x509.SubjectAlternativeName)
    assert (set(names or ()), above) == (set(node_names(CLIENT)), [SITE.certificate])
    assert parse_key(pair.key_pem.decode(), "ours").public_key() == leaf.public_key()
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc > timedelta(days=1824)


async def test_request_is_signed_and_no_key_travels(site: Site) -> None:
    """The engine's way of making keys is never asked for; what is sent names what ionetctl decides."""
    pair = await site.issued()
    (rights, _), (path, body) = site.vault.asked
    assert (rights, path) == ("/v1/sys/capabilities-self", SIGN)
    asked = x509.load_pem_x509_csr(body.pop("csr").encode())
    assert asked.public_key() == parse_chain(pair.chain_pem)[0].public_key()
    assert body == {
        "common_name": CLIENT,
        "alt_names": "localhost",
        "ip_sans": "127.0.0.1",
        "ttl": "43800h",
        "format": "pem",
    }
    assert "PRIVATE" not in json.dumps(site.vault.asked)


async def test_request_of_a_host_is_signed(site: Site) -> None:
    """With the names that any node's certificate has."""
    site.key_on_host, key = True, ec.generate_private_key(ec.SECP256R1())
    pair = await site.issued(request(key))
    leaf = parse_chain(pair.chain_pem)[0]
    assert (pair.key_pem, leaf.public_key()) == (b"", key.public_key())
    assert set(extension(leaf, x509.SubjectAlternativeName) or ()) == set(node_names(CLIENT))


async def test_no_private_key_is_made_for_a_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without a request there is one."""
    asked, real = request(ec.generate_private_key(ec.SECP256R1())), ec.generate_private_key
    site.key_on_host = True
    made: list[ec.EllipticCurve] = []

    def noted(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        made.append(curve)
        return real(curve)

    async with site.issuer() as issuer:
        monkeypatch.setattr(ec, "generate_private_key", noted)
        await issuer.issue(HOST, asked)
        assert made == []
        await issuer.issue(HOST)
    assert len(made) == 1


@pytest.mark.parametrize(
    "asked",
    [
        b"0",
        request(ec.generate_private_key(ec.SECP256R1()), "server.eu-north.nomad"),
        request(ec.generate_private_key(ec.SECP256R1()), "node"),
    ],
    ids=["unreadable", "subject", "names"],
)
async def test_bad_request_is_not_passed_on(site: Site, asked: bytes) -> None:
    """The host is at fault, and Vault is not asked: what a role makes of names and attributes is for the role to say."""
    with pytest.raises(HostFailedError) as caught:
        await site.issued(asked)
    assert (caught.value.code, [path for path, _ in site.vault.asked]) == (
        "csr_refused",
        ["/v1/sys/capabilities-self"],
    )


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (good(use_csr_sans=True), f"its names are {CLIENT}, and not {CLIENT}, localhost and 127.0.0.1"),
        (good(use_csr_sans=True, use_csr_common_name=True, allowed_domains=("node",)), None),
    ],
)
async def test_role_that_takes_names_from_requests_is_no_use_where_hosts_ask(
    site: Site, role: Role, expected: str | None
) -> None:
    """What is wrong is said, with the role as it must be."""
    site.key_on_host, site.vault.role = True, role
    problem = await site.unfit(request(ec.generate_private_key(ec.SECP256R1())))
    assert problem == (expected or f"its names are node, and not {CLIENT}, localhost and 127.0.0.1")


async def test_role_that_takes_names_from_requests_is_fine_for_ours(site: Site) -> None:
    """Our own requests bear them."""
    site.vault.role = good(use_csr_sans=True, use_csr_common_name=True)
    assert (await site.issued()).key_pem


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (Role(), "role requires keys of type rsa"),
        (good(allow_bare_domains=False), f"common name {CLIENT} not allowed by this role"),
        (good(allow_localhost=False), "subject alternate name localhost not allowed by this role"),
        (
            good(allow_ip_sans=False),
            "IP Subject Alternative Names are not allowed in this role, but was provided [127.0.0.1]",
        ),
    ],
)
async def test_role_that_refuses_is_quoted_with_what_it_must_be(site: Site, role: Role, reason: str) -> None:
    """The command of the hint makes the role."""
    site.vault.role = role
    error = await site.refusal("issuer_refused")
    assert error.message == f"Vault refuses to sign with {MOUNT}/sign/{ROLE}: {reason}"
    assert f"allowed_domains={CLIENT} allow_bare_domains=true" in error.hint


@pytest.mark.parametrize("rights", [["deny"], [], ["read", "list"], None, "update"])
async def test_token_that_may_not_sign_is_found_before_any_host_is_touched(
    site: Site, rights: object
) -> None:
    """With the rule that its policy lacks."""
    site.vault.rights = (200, rights)
    error = await site.refusal("issuer_forbidden")
    assert error.hint == f'its policy must have: path "{MOUNT}/sign/{ROLE}" {{ capabilities = ["update"] }}'
    assert [path for path, _ in site.vault.asked] == ["/v1/sys/capabilities-self"]


async def test_token_that_may_not_ask_for_its_rights_is_tried(site: Site) -> None:
    """A policy without the default one is no obstacle."""
    site.vault.rights = (403, DENIED)
    assert (await site.issued()).chain_pem


async def test_token_that_lost_its_rights_is_told(site: Site) -> None:
    """In the middle of a rollout."""
    site.vault.instead = [(403, ENDED)]
    assert "its policy must have" in (await site.refusal("issuer_forbidden")).hint


async def test_vault_that_is_away_for_a_moment_is_asked_again(site: Site) -> None:
    """A change of its leader takes some seconds."""
    site.vault.instead = [(503, {"errors": ["Vault is sealed"]}), (429, {})]
    assert (await site.issued()).chain_pem
    assert [path for path, _ in site.vault.asked].count(SIGN) == 3


async def test_vault_that_stays_away_is_an_error(site: Site) -> None:
    """After three attempts."""
    site.vault.instead = [(503, {})] * 9
    await site.refusal("vault_unavailable")
    assert [path for path, _ in site.vault.asked].count(SIGN) == 3


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (good(max_ttl=timedelta(hours=768)), "it ends on "),
        (good(client_flag=False), "it is not for servers and clients alike"),
    ],
)
async def test_role_that_alters_what_was_asked_for_is_an_error(site: Site, role: Role, expected: str) -> None:
    """A node would be refused at once, or after a month."""
    site.vault.role = role
    assert (await site.unfit()).startswith(expected)


async def test_certificate_that_is_not_valid_yet_is_refused(site: Site) -> None:
    """Vault's clock is ahead by more than a role goes back."""
    site.vault.ahead = timedelta(minutes=10)
    assert (await site.unfit()).startswith("it is valid from ")


@pytest.mark.parametrize(
    ("altered", "expected"),
    [
        ({"is_authority": True}, "it is a CA's"),
        ({"common": "server.eu-north.nomad"}, f"its common name is server.eu-north.nomad, and not {CLIENT}"),
        ({"is_broken": True}, "it cannot be read"),
    ],
)
async def test_certificate_that_could_be_more_than_a_nodes_is_refused(
    site: Site, altered: dict[str, Any], expected: str
) -> None:
    """Nomad's servers take a common name for a name, too."""
    site.vault = StandIn(SITE, (ROOT,), **altered)
    assert await site.unfit() == expected


async def test_certificate_may_end_with_its_ca(site: Site) -> None:
    """Vault may be told to cut it there, as ionetctl's own issuer does; by itself it refuses, and the hint has the command."""
    short = ROOT.sign("short", is_authority=True, lasts=timedelta(days=90))
    site.vault = StandIn(short, (ROOT,))
    error = await site.refusal("issuer_refused")
    assert "beyond the expiration of the CA certificate" in error.message
    assert f"vault patch {MOUNT}/issuer/default leaf_not_after_behavior=truncate" in error.hint
    site.vault.ends_with_issuer = True
    assert (await site.issued()).chain_pem


async def test_unknown_namespace_is_found_before_any_host_is_touched(site: Site) -> None:
    """Nothing is there to be signed with, so it is not tried."""
    site.vault.rights = (404, {"errors": ["namespace not found"]})
    assert "namespace not found" in (await site.refusal("issuer_refused")).message
    assert [path for path, _ in site.vault.asked] == ["/v1/sys/capabilities-self"]


async def test_certificate_under_another_ca_is_refused(site: Site) -> None:
    """The servers would not know it."""
    site.anchor = pki.root()
    assert await site.unfit() == "it does not lead to the CA in tls.ca of the region"


@pytest.mark.parametrize(
    ("permitted", "expected"),
    [
        ([x509.DNSName(CLIENT), x509.DNSName("localhost"), network("127.0.0.1/32")], None),
        (
            [x509.DNSName("client.eu-west.nomad"), network("127.0.0.1/32")],
            f"its CA or one above it permits no certificate for {CLIENT} and localhost",
        ),
        (
            [x509.DNSName(CLIENT), x509.DNSName("localhost"), x509.DirectoryName(ROOT.certificate.subject)],
            "its CA or one above it has name constraints of a kind that Nomad does not know, and refuses",
        ),
    ],
    ids=["client", "another region", "kind"],
)
@pytest.mark.parametrize("above", [False, True], ids=["issuer", "root"])
async def test_certificate_that_its_ca_does_not_permit_is_refused(
    site: Site, permitted: list[x509.GeneralName], expected: str | None, *, above: bool
) -> None:
    """Vault's engine signs it all the same; Nomad's servers would refuse the node."""
    key = ec.generate_private_key(ec.SECP256R1())
    unsigned = pki.builder("constrained", None if above else ROOT, key, is_authority=True)
    unsigned = unsigned.add_extension(x509.NameConstraints(permitted, None), critical=True)
    constrained = pki.signed(unsigned, None if above else ROOT, key)
    if above:
        site.anchor, site.vault = constrained, StandIn(constrained.sign("site", is_authority=True))
    else:
        site.vault = StandIn(constrained, (ROOT,))
    if expected is None:
        assert (await site.issued()).chain_pem
    else:
        assert await site.unfit() == expected


async def test_certificate_of_another_key_is_refused(site: Site) -> None:
    """Somebody else's, with the right names."""
    site.vault.changed = {"certificate": SITE.sign(CLIENT, names=[CLIENT, "localhost", "127.0.0.1"]).pem}
    assert await site.unfit() == "it is of another key"


async def test_certificate_of_an_unknown_curve_is_refused(site: Site) -> None:
    """Its key cannot be read, which is no fault of ours."""
    good_one = SITE.sign(CLIENT).certificate.public_bytes(serialization.Encoding.DER)
    p256 = bytes.fromhex("06082a8648ce3d030107")
    odd = ssl.DER_cert_to_PEM_cert(good_one.replace(p256, p256[:-1] + b"\x7f"))
    site.vault.changed = {"certificate": odd}
    assert await site.unfit() == "it cannot be read"


@pytest.mark.parametrize(
    "changed",
    [
        {"certificate": None},
        {"certificate": "nonsense"},
        {"certificate": 7},
        {"ca_chain": [SITE.pem] * 9},
        {"ca_chain": [SITE.pem, 1]},
        {"ca_chain": 5},
        {"ca_chain": SITE.pem},
        {"ca_chain": None, "issuing_ca": None},
        {"certificate": "A" * 70_000},
    ],
)
async def test_answer_without_a_certificate_is_none_of_vault(site: Site, changed: dict[str, object]) -> None:
    """Named as such; nothing of it is used."""
    site.vault.changed = changed
    assert "it signed nothing that can be read" in (await site.refusal("vault_unavailable")).message


@pytest.mark.parametrize("answer", [{"data": None}, {"data": []}, {}])
async def test_answer_without_data_is_none_of_vault(site: Site, answer: dict[str, object]) -> None:
    """So is one that has no data at all."""
    site.vault.instead = [(200, answer)]
    await site.refusal("vault_unavailable")


async def test_issuing_ca_alone_is_enough(site: Site) -> None:
    """Older servers have no chain."""
    site.vault.changed = {"ca_chain": None}
    assert parse_chain((await site.issued()).chain_pem)[1] == SITE.certificate


async def test_certificates_of_any_issuer_of_the_region_stay(site: Site) -> None:
    """Vault's issuers come and go below the region's CA; other names, and other CAs, are replaced."""
    async with site.issuer() as issuer:
        pair, now = await issuer.issue(HOST), datetime.now(UTC)
        other = ROOT.sign("other issuer", is_authority=True)
    earlier = other.sign(CLIENT, names=[CLIENT])
    foreign = pki.root().sign(CLIENT, names=[CLIENT])
    found = [
        pair.chain_pem.decode(),
        earlier.pem + other.pem,
        earlier.pem,
        foreign.pem,
        ROOT.sign("x").pem,
        None,
    ]
    assert [issuer.check.explain_unfit(pem, now) for pem in found] == [
        None,
        None,
        "does not lead to the region's CA",
        "does not lead to the region's CA",
        f"does not bear the name {CLIENT}",
        "is missing",
    ]


async def test_certificate_is_renewed_in_the_last_third_of_its_life(site: Site) -> None:
    """And where the host's key is another."""
    site.key_on_host = True
    async with site.issuer() as issuer:
        pair = await issuer.issue(HOST, request(ec.generate_private_key(ec.SECP256R1())))
    reasons = [
        issuer.check.explain_unfit(pair.chain_pem.decode(), datetime.now(UTC), public)
        for public in (None, "AAAA")
    ]
    assert reasons == ["is not of a private key that the host has made"] * 2


def test_vaults_role_makes_no_servers_certificate(site: Site) -> None:
    """Nobody at the site has its key."""
    assert not signs_servers(site.region)
