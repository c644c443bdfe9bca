"""Node certificates: what is issued, what is refused at the start, what on a host must be replaced."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ionetctl.core.errors import ConfigurationError, HostFailedError
from ionetctl.core.model.host import Host
from ionetctl.core.model.inventory import Issuer, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.certificates import (
    FILE_LIMIT_BYTES,
    NAME_LIMIT,
    display_name,
    dns_names,
    extension,
    parse_chain,
    read_ca,
)
from ionetctl.credentials.pki import check_client_pair, open_issuer
from tests.support import pki
from tests.support.clock import ManualClock
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ionetctl.core import ports
    from ionetctl.core.model.node import NodeCertificate

EU = RegionName("eu-north")
ROLE = "client.eu-north.nomad"
HOST = Host(HostName("rig-001"), "10.0.0.1", EU, "rey1")
KEY = SecretRef("env", "KEY")
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


class Site:
    """A region's files in a folder, and the issuer that opens on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secrets: dict[SecretRef, str] = {}
        self.clock = ManualClock(NOW)

    def settings(
        self,
        node: Issuer | ReadyPair,
        anchors: tuple[pki.Pair, ...],
        client: ReadyPair | None = None,
        name: RegionName = EU,
    ) -> RegionSettings:
        ca = pki.write(self.directory / "tls-ca.pem", *anchors)
        tls = RegionTls(ca, f"server.{name}.nomad", client, node)
        return RegionSettings(
            name, ("https://127.0.0.1",), ("127.0.0.1:4647",), SecretRef("env", "TOKEN"), tls
        )

    def issuer(
        self,
        *chain: pki.Pair,
        anchors: tuple[pki.Pair, ...] = (),
        key_pem: str | None = None,
        days: int = 1825,
        name: RegionName = EU,
        key_on_host: bool = False,
    ) -> ports.Issuer:
        """An issuer whose file holds ``chain``; the anchors are the chain's last unless they are given."""
        self.secrets[KEY] = chain[0].key_pem if key_pem is None else key_pem
        node = Issuer(pki.write(self.directory / "issuer.pem", *chain), KEY, days, key_on_host)
        settings = self.settings(node, anchors or chain[-1:], name=name)
        return open_issuer(settings, self.secrets.__getitem__, self.clock, pki.no_vault)

    def ready_pair(
        self, *chain: pki.Pair, anchors: tuple[pki.Pair, ...], key_pem: str | None = None
    ) -> ports.Issuer:
        """What hands out one pair for all nodes."""
        self.secrets[KEY] = chain[0].key_pem if key_pem is None else key_pem
        node = ReadyPair(pki.write(self.directory / "node.pem", *chain), KEY)
        return open_issuer(self.settings(node, anchors), self.secrets.__getitem__, self.clock, pki.no_vault)

    def refused(self, code: str, *chain: pki.Pair, **options: object) -> ConfigurationError:
        """The error of opening an issuer; the key is nowhere in it."""
        with pytest.raises(ConfigurationError) as caught:
            self.issuer(*chain, **options)  # type: ignore[arg-type]
        error = caught.value
        assert (error.code, self.secrets[KEY] in f"{error.message}{error.hint}") == (code, False)
        return error


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def issued(issuer: ports.Issuer) -> NodeCertificate:
    """A certificate for a node."""
    return asyncio.run(issuer.issue(HOST))


def leaf_of(issuer: ports.Issuer) -> x509.Certificate:
    return parse_chain(issued(issuer).chain_pem)[0]


# --- what is issued --------------------------------------------------------------------------------------------------


def hosts_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A host's request, which asks for the names and rights of a server and a CA."""
    wanted = x509.SubjectAlternativeName([x509.DNSName("server.eu-north.nomad"), x509.DNSName("*")])
    built = x509.CertificateSigningRequestBuilder()
    built = built.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server.eu-north.nomad")]))
    built = built.add_extension(wanted, critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_nothing_but_the_key_of_a_request_counts(site: Site) -> None:
    """Names, rights and life are those of any other node; there is no private key."""
    key, issuer = ec.generate_private_key(ec.SECP256R1()), site.issuer(pki.root(), key_on_host=True)
    pair = asyncio.run(issuer.issue(HOST, hosts_request(key)))
    leaf, usual = parse_chain(pair.chain_pem)[0], leaf_of(site.issuer(pki.root()))
    assert (pair.key_pem, leaf.public_key()) == (b"", key.public_key())
    kinds = (x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
    assert leaf.subject == usual.subject
    assert [extension(leaf, kind) for kind in kinds] == [extension(usual, kind) for kind in kinds]


def test_no_private_key_is_made_for_a_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without a request there is one."""
    request = hosts_request(ec.generate_private_key(ec.SECP256R1()))
    issuer, real = site.issuer(pki.root(), key_on_host=True), ec.generate_private_key
    made: list[ec.EllipticCurve] = []

    def noted(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        made.append(curve)
        return real(curve)

    monkeypatch.setattr(ec, "generate_private_key", noted)
    asyncio.run(issuer.issue(HOST, request))
    assert made == []
    issued(issuer)
    assert len(made) == 1


def test_request_that_is_none_is_refused(site: Site) -> None:
    """By the host's fault, not by that of the issuer."""
    with pytest.raises(HostFailedError) as caught:
        asyncio.run(site.issuer(pki.root(), key_on_host=True).issue(HOST, b"0"))
    assert caught.value.code == "csr_refused"


def test_certificate_is_of_the_key_that_the_host_has_made(site: Site) -> None:
    """That is what stands for the manifest's digest; where the controller makes keys, nobody asks."""
    root, key = pki.root(), ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    public = base64.b64encode(key.public_key().public_bytes(*form)).decode()
    issuer = site.issuer(root, key_on_host=True)
    chain = asyncio.run(issuer.issue(HOST, hosts_request(key))).chain_pem.decode()
    reasons = [issuer.check.explain_unfit(chain, NOW, found) for found in (public, public[:-4], None)]
    assert reasons == [None, *["is not of a private key that the host has made"] * 2]
    assert site.issuer(root).check.explain_unfit(chain, NOW) is None


def test_certificate_names_its_role_and_loopback(site: Site) -> None:
    """Nomad asks for the role; localhost and 127.0.0.1 serve the agent's own API."""
    names = extension(leaf_of(site.issuer(pki.root())), x509.SubjectAlternativeName)
    assert names is not None
    assert (
        names.get_values_for_type(x509.DNSName),
        [str(address) for address in names.get_values_for_type(x509.IPAddress)],
    ) == ([ROLE, "localhost"], ["127.0.0.1"])


def test_certificate_signs_and_enciphers(site: Site) -> None:
    """It has both key usages of TLS, and may sign no certificate."""
    usage = extension(leaf_of(site.issuer(pki.root())), x509.KeyUsage)
    assert usage is not None
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)


def test_certificate_serves_both_purposes(site: Site) -> None:
    """A Nomad client is a TLS server and a TLS client."""
    purposes = extension(leaf_of(site.issuer(pki.root())), x509.ExtendedKeyUsage)
    assert list(purposes or ()) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def test_certificate_is_no_ca(site: Site) -> None:
    """Its basic constraints are there and say so."""
    constraints = extension(leaf_of(site.issuer(pki.root())), x509.BasicConstraints)
    assert constraints is not None
    assert constraints.ca is False


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "RSA", "Ed25519"],
)
def test_openssl_accepts_what_is_issued(site: Site, key: pki.Key) -> None:
    """OpenSSL's own judgement, as client and as server, whatever key the CA has."""
    needs("openssl")
    root = pki.root(key=key)
    chain_pem = issued(site.issuer(root)).chain_pem
    (site.directory / "leaf.pem").write_bytes(chain_pem)
    for purpose in ("sslclient", "sslserver"):
        argv = ["openssl", "verify", "-purpose", purpose, "-verify_hostname", ROLE]
        done = subprocess.run(
            [*argv, "-CAfile", str(site.directory / "tls-ca.pem"), str(site.directory / "leaf.pem")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_key_belongs_to_its_certificate(site: Site) -> None:
    """The certificate bears the public half of the key."""
    pair = issued(site.issuer(pki.root()))
    key = serialization.load_pem_private_key(pair.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == parse_chain(pair.chain_pem)[0].public_key()


def test_key_is_on_p256_without_a_passphrase(site: Site) -> None:
    """An EC P-256 key in PKCS#8 that opens without a passphrase."""
    key = serialization.load_pem_private_key(issued(site.issuer(pki.root())).key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"


def test_two_nodes_share_no_key(site: Site) -> None:
    """Each issue makes its own key."""
    issuer = site.issuer(pki.root())
    assert issued(issuer).key_pem != issued(issuer).key_pem


def test_two_nodes_share_no_serial(site: Site) -> None:
    """Each issue has its own serial number."""
    issuer = site.issuer(pki.root())
    first, second = (parse_chain(issued(issuer).chain_pem)[0].serial_number for _ in range(2))
    assert first != second


def test_certificate_is_backdated_and_lives_as_long_as_it_may(site: Site) -> None:
    """Five minutes back, since clocks differ; ``validity`` ahead."""
    leaf = leaf_of(site.issuer(pki.root(), days=90))
    expected = (NOW - timedelta(minutes=5), NOW + 90 * DAY)
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == expected


def test_certificate_does_not_outlive_its_ca(site: Site) -> None:
    """A CA of 30 days issues for 30 days at most."""
    root = pki.root(begins=NOW, lasts=30 * DAY)
    assert leaf_of(site.issuer(root)).not_valid_after_utc == NOW + 30 * DAY


def test_ca_that_ends_during_the_rollout_is_refused(site: Site) -> None:
    """A rollout may take longer than the CA lives."""
    issuer = site.issuer(pki.root(begins=NOW, lasts=DAY))
    site.clock.advance(DAY.total_seconds())
    with pytest.raises(ConfigurationError, match="has expired meanwhile"):
        issued(issuer)


def test_intermediates_go_along_and_roots_do_not(site: Site) -> None:
    """Nodes get the leaf and all between it and the root that the servers have."""
    root = pki.root()
    upper = root.sign("upper", is_authority=True)
    lower = upper.sign("lower", is_authority=True)
    chain = parse_chain(issued(site.issuer(lower, upper, root)).chain_pem)
    assert chain[1:] == (lower.certificate, upper.certificate)


def test_authority_key_identifier_is_the_ca_s_own(site: Site) -> None:
    """Where the CA has none, it is made from its key."""
    root = pki.root()
    leaf = leaf_of(site.issuer(root))
    made = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.certificate.public_key())  # type: ignore[arg-type]
    assert extension(leaf, x509.AuthorityKeyIdentifier) == made
    with_own = pki.root(identifier=b"own-identifier")
    found = extension(leaf_of(site.issuer(with_own)), x509.AuthorityKeyIdentifier)
    assert found is not None
    assert found.key_identifier == b"own-identifier"


def test_long_region_name_fits(site: Site) -> None:
    """A common name has 64 characters at most; the name that counts is a DNS name."""
    name = RegionName("a" * 60)
    assert f"client.{name}.nomad" in dns_names(leaf_of(site.issuer(pki.root(), name=name)))


def test_thousands_are_issued_quickly(site: Site) -> None:
    """Issuing costs well under what the SSH handshake of a host does (2.5 ms)."""
    issuer = site.issuer(pki.root())
    began = time.process_time()
    for _ in range(500):
        issued(issuer)
    assert (time.process_time() - began) / 500 < 0.0025


def test_issued_key_shows_in_no_repr(site: Site) -> None:
    """The chain is there for all to see; the key is not."""
    pair = issued(site.issuer(pki.root()))
    assert ("BEGIN CERTIFICATE" in repr(pair), "PRIVATE KEY" in repr(pair)) == (True, False)


# --- what is refused at the start ------------------------------------------------------------------------------------


def test_key_of_another_ca_is_refused(site: Site) -> None:
    """Certificates would be issued that nobody accepts."""
    site.refused("ca_key_mismatch", pki.root(), key_pem=pki.root().key_pem)


def test_certificate_that_is_no_ca_is_refused(site: Site) -> None:
    """A leaf signs nothing."""
    root = pki.root()
    site.refused("ca_cannot_sign", root.sign("leaf"), root)


def test_ca_that_may_not_sign_certificates_is_refused(site: Site) -> None:
    """A key usage without keyCertSign, though basicConstraints says CA."""
    site.refused("ca_cannot_sign", pki.root(may_sign=False))


@pytest.mark.parametrize(
    ("begins", "lasts", "said"),
    [
        (NOW - 2 * DAY, DAY, "has expired"),
        (NOW - DAY, DAY + timedelta(minutes=30), "expires within the hour"),
        (NOW + DAY, DAY, "is valid from"),
    ],
)
def test_ca_out_of_its_time_is_refused(site: Site, begins: datetime, lasts: timedelta, said: str) -> None:
    """Expired, about to, or not begun."""
    assert said in site.refused("ca_expired", pki.root(begins=begins, lasts=lasts)).message


def test_ca_that_began_just_now_on_another_clock_is_taken(site: Site) -> None:
    """Clocks differ by some minutes."""
    assert leaf_of(site.issuer(pki.root(begins=NOW + timedelta(minutes=4))))


@pytest.mark.parametrize(
    "key_pem", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_key_that_is_none_is_refused(site: Site, key_pem: str) -> None:
    """Nothing of it is repeated."""
    site.secrets[KEY] = "control"
    with pytest.raises(ConfigurationError) as caught:
        site.issuer(pki.root(), key_pem=key_pem)
    assert caught.value.code == "key_unreadable"


def test_key_with_a_passphrase_is_refused(site: Site) -> None:
    """There is nobody to ask in the middle of a rollout."""
    root = pki.root()
    site.refused("key_unreadable", root, key_pem=pki.key_pem(root.key, b"passphrase"))


def test_key_of_a_kind_that_cannot_sign_is_refused(site: Site) -> None:
    """X25519 agrees on keys, it signs nothing."""
    key = x25519.X25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    site.refused("key_unreadable", pki.root(), key_pem=key.private_bytes(*form).decode())


@pytest.mark.parametrize("content", [b"", b"no PEM", b"\x00\xff"])
def test_certificate_file_without_certificates_is_refused(site: Site, content: bytes) -> None:
    """The file is named."""
    root = pki.root()
    settings = site.settings(Issuer(str(site.directory / "issuer.pem"), KEY), (root,))
    (site.directory / "issuer.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"issuer\.pem") as caught:
        open_issuer(settings, lambda _: root.key_pem, site.clock, pki.no_vault)
    assert caught.value.code == "certificate_unreadable"


def test_missing_certificate_file_is_refused(site: Site) -> None:
    """With the system's reason."""
    settings = site.settings(Issuer(str(site.directory / "nosuch.pem"), KEY), (pki.root(),))
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        open_issuer(settings, lambda _: "", site.clock, pki.no_vault)
    assert caught.value.code == "certificate_unreadable"


@pytest.mark.parametrize("kind", ["device", "fifo", "directory", "large"])
def test_file_that_does_not_end_or_is_no_file_is_refused(site: Site, kind: str) -> None:
    """At once, as the issuer's certificate and as the region's CA."""
    path = site.directory / kind
    match kind:
        case "device":
            path.symlink_to("/dev/zero")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case _:
            path.write_bytes(b" " * FILE_LIMIT_BYTES + pki.root().pem.encode())
    expected = "it has more than 1 MiB" if kind == "large" else "not a regular file"
    settings = site.settings(Issuer(str(path), KEY), (pki.root(),))
    with pytest.raises(ConfigurationError, match=expected) as as_issuer:
        open_issuer(settings, lambda _: "", site.clock, pki.no_vault)
    with pytest.raises(ConfigurationError, match=f"CA of region eu-north, .*: {expected}") as as_ca:
        read_ca(replace(settings, tls=replace(settings.tls, ca=str(path))))
    assert (as_issuer.value.code, as_ca.value.code) == ("certificate_unreadable", "certificate_unreadable")


def test_issuer_that_the_region_s_ca_does_not_know_is_refused(site: Site) -> None:
    """The servers would refuse every node."""
    site.refused("ca_chain_broken", pki.root("region CA"), anchors=(pki.root("region CA"),))


def test_issuer_without_its_intermediate_is_refused(site: Site) -> None:
    """The nodes could not show the way to the root."""
    root = pki.root()
    lower = root.sign("upper", is_authority=True).sign("lower", is_authority=True)
    site.refused("ca_chain_broken", lower, anchors=(root,))


def test_issuer_below_a_certificate_that_is_no_ca_is_refused(site: Site) -> None:
    """A signature by a leaf's key proves nothing."""
    root = pki.root()
    leaf = root.sign("leaf")
    site.refused("ca_chain_broken", leaf.sign("lower", is_authority=True), leaf, anchors=(root,))


def test_endless_chain_is_refused(site: Site) -> None:
    """More intermediates than anyone has."""
    chain = [pki.root()]
    for depth in range(10):
        chain.insert(0, chain[0].sign(f"CA {depth}", is_authority=True))
    site.refused("ca_chain_broken", *chain)


# --- what on a host must be replaced ---------------------------------------------------------------------------------


def test_fresh_certificate_may_stay(site: Site) -> None:
    """What was issued needs no renewal, so that a second run changes nothing."""
    root = pki.root()
    issuer = site.issuer(root.sign("lower", is_authority=True), root)
    assert issuer.check.explain_unfit(issued(issuer).chain_pem.decode(), NOW) is None


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (59 * DAY, None),
        (61 * DAY, "expires on {end}, less than a third of its life is left"),
        (90 * DAY, "has expired on {end}"),
    ],
)
def test_certificate_is_renewed_in_the_last_third_of_its_life(
    site: Site, passed: timedelta, expected: str | None
) -> None:
    """Of 90 days, the last 30."""
    issuer = site.issuer(pki.root(), days=90)
    reason = issuer.check.explain_unfit(issued(issuer).chain_pem.decode(), NOW + passed)
    assert reason == (expected and expected.format(end=f"{NOW + 90 * DAY:%Y-%m-%d}"))


def test_missing_certificate_is_to_be_made(site: Site) -> None:
    """There is none."""
    assert site.issuer(pki.root()).check.explain_unfit(None, NOW) == "is missing"


def broken_extension() -> str:
    """A certificate whose alternative names are no names."""
    builder = pki.builder("leaf", pki.root())
    oid = x509.oid.ExtensionOID.SUBJECT_ALTERNATIVE_NAME
    builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x30\x03\x02\x01"), critical=False)
    return pki.signed(builder, pki.root()).pem


def doubled_extension() -> str:
    """A certificate with two extensions of one kind: made by changing one byte of two kinds."""
    builder = pki.builder("leaf", pki.root())
    for last in (5, 6):
        kind = x509.ObjectIdentifier(f"1.2.3.4.{last}")
        builder = builder.add_extension(x509.UnrecognizedExtension(kind, b"\x05\x00"), critical=False)
    der = pki.signed(builder, pki.root()).certificate.public_bytes(serialization.Encoding.DER)
    doubled = der.replace(b"\x2a\x03\x04\x06", b"\x2a\x03\x04\x05")
    return x509.load_der_x509_certificate(doubled).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "found",
    ["", "nonsense", broken_extension(), doubled_extension()],
    ids=["empty", "no PEM", "broken extension", "doubled extension"],
)
def test_certificate_that_cannot_be_read_is_replaced(site: Site, found: str) -> None:
    """Hosts may say anything."""
    assert site.issuer(pki.root()).check.explain_unfit(found, NOW) == "cannot be read as a certificate"


def test_torn_certificate_is_replaced(site: Site) -> None:
    """Whichever of its bytes is another: its version, a name, a time, the key; no exception escapes."""
    issuer = site.issuer(pki.root())
    leaf = leaf_of(issuer).public_bytes(serialization.Encoding.DER)
    reasons = set()
    for place in range(len(leaf)):
        torn = base64.encodebytes(leaf[:place] + bytes([leaf[place] ^ 0x55]) + leaf[place + 1 :]).decode()
        pem = f"-----BEGIN CERTIFICATE-----\n{torn}-----END CERTIFICATE-----\n"
        reasons.add(issuer.check.explain_unfit(pem, NOW))
    assert None not in reasons
    assert "cannot be read as a certificate" in reasons


def test_certificate_of_another_ca_is_replaced(site: Site) -> None:
    """Even where that CA bears the same name."""
    foreign = pki.root().sign(ROLE, names=[ROLE])
    reason = site.issuer(pki.root()).check.explain_unfit(foreign.pem, NOW)
    assert reason == "is issued by CN=region CA, not by CN=region CA"


def test_certificate_of_another_role_is_replaced(site: Site) -> None:
    """A certificate of another region by the same CA."""
    root = pki.root()
    other = root.sign("other", names=["client.us-west.nomad"])
    assert site.issuer(root).check.explain_unfit(other.pem, NOW) == f"does not bear the name {ROLE}"


def test_role_as_common_name_counts(site: Site) -> None:
    """Nomad takes it there too."""
    root = pki.root()
    assert site.issuer(root).check.explain_unfit(root.sign(ROLE).pem, NOW) is None


def test_certificate_without_its_intermediate_is_replaced(site: Site) -> None:
    """The servers know the root alone."""
    root = pki.root()
    issuer = site.issuer(root.sign("lower", is_authority=True), root)
    alone = (
        issued(issuer).chain_pem.decode().split("-----END CERTIFICATE-----")[0]
        + "-----END CERTIFICATE-----\n"
    )
    assert (
        issuer.check.explain_unfit(alone, NOW) == "does not lead to the region's CA: its intermediates differ"
    )


def test_names_of_strangers_are_made_harmless() -> None:
    """A certificate's issuer may be called anything."""
    named = pki.root("evil\x1b[31m\u202e" + "x" * 20).certificate.subject
    assert (display_name(named).isprintable(), len(display_name(named)) <= NAME_LIMIT) == (True, True)


def test_name_without_parts_is_said_to_be_none() -> None:
    """An empty distinguished name is legal."""
    assert display_name(x509.Name([])) == "no name"


# --- ready pairs -----------------------------------------------------------------------------------------------------


def test_ready_pair_is_handed_to_every_node(site: Site) -> None:
    """As it stands in the inventory's files."""
    root = pki.root()
    pair = root.sign("node", names=[ROLE])
    given = issued(site.ready_pair(pair, anchors=(root,)))
    assert (given.chain_pem.decode(), given.key_pem.decode()) == (pair.pem, pair.key_pem)


@pytest.mark.parametrize(
    ("names", "begins", "lasts", "code"),
    [
        (["client.us-west.nomad"], NOW - DAY, 2 * DAY, "pair_wrong_role"),
        ([ROLE], NOW - 2 * DAY, DAY, "pair_expired"),
        ([ROLE], NOW + DAY, DAY, "pair_expired"),
    ],
)
def test_ready_pair_that_no_server_takes_is_refused(
    site: Site, names: list[str], begins: datetime, lasts: timedelta, code: str
) -> None:
    """Wrong role or wrong time: found before any host is touched."""
    root = pki.root()
    with pytest.raises(ConfigurationError) as caught:
        site.ready_pair(root.sign("node", names=names, begins=begins, lasts=lasts), anchors=(root,))
    assert caught.value.code == code


def test_ready_pair_of_two_halves_is_refused(site: Site) -> None:
    """Key and certificate must belong together."""
    root = pki.root()
    with pytest.raises(ConfigurationError) as caught:
        site.ready_pair(root.sign("node", names=[ROLE]), anchors=(root,), key_pem=root.key_pem)
    assert caught.value.code == "pair_mismatch"


def test_ready_pair_of_a_foreign_ca_is_refused(site: Site) -> None:
    """The servers would not trust it."""
    with pytest.raises(ConfigurationError) as caught:
        site.ready_pair(pki.root().sign("node", names=[ROLE]), anchors=(pki.root(),))
    assert caught.value.code == "pair_chain_broken"


def test_ready_pair_on_a_host_is_compared_whole(site: Site) -> None:
    """The inventory's may stay, any other goes, and none is missing."""
    root = pki.root()
    pair = root.sign("node", names=[ROLE])
    issuer = site.ready_pair(pair, anchors=(root,))
    other = root.sign("node", names=[ROLE])
    found = [issuer.check.explain_unfit(pem, NOW) for pem in (pair.pem, other.pem, None)]
    assert found == [None, "is not the certificate that the inventory names", "is missing"]


# --- our own pair for the API ----------------------------------------------------------------------------------------


def check_client(
    site: Site, client: pki.Pair | None, root: pki.Pair, secrets: Mapping[SecretRef, str]
) -> None:
    pair = ReadyPair(pki.write(site.directory / "cli.pem", client), KEY) if client else None
    settings = site.settings(ReadyPair("unused", KEY), (root,), pair)
    check_client_pair(settings, secrets.__getitem__, NOW)


def test_client_pair_that_fits_is_taken(site: Site) -> None:
    """And none at all is fine as well: not every region asks for one."""
    root = pki.root()
    client = root.sign("cli")
    check_client(site, client, root, {KEY: client.key_pem})
    check_client(site, None, root, {})


def test_client_pair_that_does_not_fit_is_refused(site: Site) -> None:
    """Before the first call of the API."""
    root = pki.root()
    with pytest.raises(ConfigurationError) as caught:
        check_client(site, root.sign("cli"), root, {KEY: root.key_pem})
    assert caught.value.code == "pair_mismatch"


def test_host_of_any_name_gets_the_region_s_role(site: Site) -> None:
    """Nothing of a host goes into its certificate: what is in the inventory cannot widen it."""
    odd = replace(HOST, name=HostName("server.eu-north.nomad"))
    leaf = parse_chain(asyncio.run(site.issuer(pki.root()).issue(odd)).chain_pem)[0]
    assert dns_names(leaf) == {ROLE, "localhost"}
