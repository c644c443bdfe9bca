"""What ionetctl makes of a real OpenBao: of 2.4.4's recorded answers always, and of a server's own where IONETCTL_TEST_OPENBAO names the program.

The recordings are made anew with IONETCTL_RENEW_GOLDENS=1 as well. Tokens stand in them by the names that ``prepared`` gives them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Host
from ionetctl.core.model.inventory import RegionSettings, RegionTls, VaultIssuer
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.certificates import parse_chain
from ionetctl.credentials.pki import open_issuer
from ionetctl.credentials.secrets import SecretStore
from ionetctl.credentials.signing_request import new_key, request_for
from ionetctl.credentials.vault import Vault
from tests.goldens.golden import RENEW
from tests.lab.region.test_recordings import shape
from tests.support import openbao_recordings, pki
from tests.support.clock import ManualClock
from tests.support.openbao_recordings import Replay, recorded
from tests.support.real_openbao import RealOpenBao, openbao_binary
from tests.support.vault_pki import MOUNT, ROLE, SIGN, TOKEN, Role, StandIn, good, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

EU: Final = RegionName("eu-north")
CLIENT: Final = "client.eu-north.nomad"
HOST: Final = Host(HostName("rig-001"), "10.0.0.1", EU, "rey1")
VALUE: Final = "5f1c-hunter2-9aa0"
ROOT: Final = pki.root(lasts=timedelta(days=7300))
SITE: Final = ROOT.sign("site CA", is_authority=True, lasts=timedelta(days=3650))
REFUSED: Final = "secret_unreadable: Vault's token may not read {}, or has ended"
ENGINE: Final = "sys/internal/ui/mounts/"
UNWRAP: Final = "sys/wrapping/unwrap"
RIGHTS: Final = "sys/capabilities-self"
POLICIES: Final = {
    "reader": ["kv2/data/*", "kv1/*", "team/kv/data/*"],
    "narrow": ["kv2/data/other", "kv1/other"],
    "signer": [],
}
ROLES: Final = {
    ROLE: good(),
    "names-of-requests": good(use_csr_common_name=True, use_csr_sans=True),
    "client-alone": good(client_flag=False),
    "short": good(max_ttl=timedelta(hours=768)),
    "rsa": Role(allowed_domains=(CLIENT,), allow_bare_domains=True),
    "p384": good(key_bits=384),
    "other-domain": good(allowed_domains=("other.nomad",)),
    "no-bare-domain": good(allow_bare_domains=False),
    "no-localhost": good(allow_localhost=False),
    "no-addresses": good(allow_ip_sans=False),
    "beyond-the-ca": good(max_ttl=timedelta(days=5000)),
}


@dataclass(frozen=True)
class Call:
    """A request of ionetctl's."""

    name: str
    token: str
    method: str
    path: str
    namespace: str = ""
    body: Any = None


def reads(name: str, token: str, path: str, *more: str) -> list[Call]:
    """The two calls of a secret that is read; the second is left out where the first is refused."""
    engine = Call(f"{name}: engine", token, "GET", f"{ENGINE}{path}")
    return [engine, *(Call(f"{name}: secret", token, "GET", each) for each in more)]


def asks_rights(token: str, namespace: str = "") -> Call:
    name = f"rights: {token}{' in an unknown namespace' if namespace else ''}"
    return Call(name, token, "POST", RIGHTS, namespace, {"paths": [f"{MOUNT}/sign/{ROLE}"]})


def signs(role: str, signer: str = "signer") -> Call:
    days = 4000 if role == "beyond-the-ca" else 1825
    key, _ = new_key()
    csr = x509.load_der_x509_csr(request_for(key, CLIENT)).public_bytes(serialization.Encoding.PEM)
    asked = {"csr": csr.decode(), "common_name": CLIENT, "alt_names": "localhost", "ip_sans": "127.0.0.1"}
    body = {**asked, "ttl": f"{days * 24}h", "format": "pem"}
    return Call(f"sign: {role}, by {signer}", signer, "POST", f"{MOUNT}/sign/{role}", body=body)


CALLS: Final = (
    *reads("version 2", "reader", "kv2/ionet/eu-north", "kv2/data/ionet/eu-north"),
    *reads("version 1", "reader", "kv1/ionet/eu-north", "kv1/ionet/eu-north"),
    *reads("mount with a slash", "reader", "team/kv/ionet", "team/kv/data/ionet"),
    *reads("nothing in version 2", "reader", "kv2/none", "kv2/data/none"),
    *reads("deleted", "reader", "kv2/gone", "kv2/data/gone"),
    *reads("nothing in version 1", "reader", "kv1/none", "kv1/none"),
    *reads("no engine", "reader", "nomount/x"),
    *reads("no rights at all", "signer", "kv2/ionet/eu-north"),
    *reads("other rights, version 2", "narrow", "kv2/ionet/eu-north", "kv2/data/ionet/eu-north"),
    *reads("other rights, version 1", "narrow", "kv1/ionet/eu-north", "kv1/ionet/eu-north"),
    *reads("expired", "expired", "kv2/ionet/eu-north"),
    *reads("revoked", "revoked", "kv2/ionet/eu-north"),
    *reads("unknown token", "unknown", "kv2/ionet/eu-north"),
    Call("unknown namespace", "reader", "GET", f"{ENGINE}kv2/ionet/eu-north", "nosuch"),
    Call("unwrap: unknown namespace", "wrapped", "POST", UNWRAP, "nosuch"),
    Call("unwrap: first use", "wrapped", "POST", UNWRAP),
    Call("unwrap: second use", "wrapped", "POST", UNWRAP),
    *reads("unwrapped", "unwrapped", "kv2/ionet/eu-north", "kv2/data/ionet/eu-north"),
    Call("unwrap: too late", "wrapped-late", "POST", UNWRAP),
    Call("unwrap: sys/wrapping/wrap", "wrapped-data", "POST", UNWRAP),
    Call("unwrap: kv2/data/ionet/eu-north", "wrapped-secret", "POST", UNWRAP),
    Call("unwrap: a token that wraps nothing", "reader", "POST", UNWRAP),
    *(asks_rights(token) for token in ("signer", "reader", "expired", "without-default-policy")),
    asks_rights("signer", "nosuch"),
    *map(signs, ROLES),
    signs("nosuch"),
    signs(ROLE, "reader"),
    signs(ROLE, "expired"),
    Call("sealed", "while-sealed", "GET", f"{ENGINE}kv2/ionet/eu-north"),
)


def prepared(bao: RealOpenBao) -> dict[str, str]:
    """The tokens by their names, where secrets, policies, roles and the site's CA are as the calls expect them."""
    for mount, version in (("kv2", "2"), ("kv1", "1"), ("team/kv", "2")):
        bao.done("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": version}})
    entry = {"token": VALUE, "port": 5}
    for path in ("kv2/data/ionet/eu-north", "kv2/data/gone", "team/kv/data/ionet"):
        bao.done("POST", path, {"data": entry})
    bao.done("DELETE", "kv2/data/gone")
    bao.done("POST", "kv1/ionet/eu-north", entry)
    bao.done("POST", f"sys/mounts/{MOUNT}", {"type": "pki", "config": {"max_lease_ttl": "120000h"}})
    bao.done("POST", f"{MOUNT}/config/ca", {"pem_bundle": SITE.key_pem + SITE.pem + ROOT.pem})
    for name, role in ROLES.items():
        bao.done("POST", f"{MOUNT}/roles/{name}", role.settings())
    for name, paths in POLICIES.items():
        rules = [f'path "{path}" {{ capabilities = ["read"] }}' for path in paths]
        signing = [f'path "{MOUNT}/sign/*" {{ capabilities = ["update"] }}'] * (name == "signer")
        bao.done("PUT", f"sys/policies/acl/{name}", {"policy": "\n".join((*rules, *signing))})
    tokens = {name: bao.new_token(name)["auth"]["client_token"] for name in (*POLICIES, "revoked")}
    tokens["expired"] = bao.new_token("reader", ttl="1s")["auth"]["client_token"]
    tokens["wrapped-late"] = bao.new_token("reader", wrap_ttl="1s")["wrap_info"]["token"]
    tokens["wrapped"] = bao.new_token("reader", wrap_ttl="1h")["wrap_info"]["token"]
    bare = bao.done("POST", "auth/token/create", {"policies": ["signer"], "no_default_policy": True})
    tokens["without-default-policy"] = bare["auth"]["client_token"]
    wrapping = {"X-Vault-Wrap-TTL": "1h"}
    data = bao.done("POST", "sys/wrapping/wrap", {"client_token": "x"}, **wrapping)
    secret = bao.done("GET", "kv2/data/ionet/eu-north", **wrapping)
    tokens |= {
        "wrapped-data": data["wrap_info"]["token"],
        "wrapped-secret": secret["wrap_info"]["token"],
        "unknown": "s.nosuch",
    }
    bao.done("POST", "auth/token/revoke", {"token": tokens["revoked"]})
    while bao.ask("GET", "auth/token/lookup-self", token=tokens["expired"])[0] != 403:
        time.sleep(0.1)
    while bao.ask("POST", "sys/wrapping/lookup", {"token": tokens["wrapped-late"]})[0] == 200:
        time.sleep(0.1)
    return tokens


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealOpenBao, dict[str, str]]]:
    with RealOpenBao(openbao_binary(), tmp_path_factory.mktemp("openbao")) as bao:
        yield bao, prepared(bao)


# --- what is recorded ------------------------------------------------------------------------------------------------


@pytest.mark.openbao
def test_real_server_answers_as_it_is_recorded(tmp_path: Path) -> None:
    """Each call, in the order of the recordings: status, refusals and warnings word for word, the keys and types of the rest."""
    with RealOpenBao(openbao_binary(), tmp_path) as bao:
        tokens = prepared(bao)
        version = bao.done("GET", "sys/health")["version"]
        answers = [_answer_of(bao, call, tokens) for call in CALLS]
    if os.environ.get(RENEW):
        _write(answers, version)
    assert [_told(each) for each in answers] == [_told(each) for each in openbao_recordings.CALLS]


def _answer_of(bao: RealOpenBao, call: Call, tokens: dict[str, str]) -> dict[str, Any]:
    if call.name == "sealed":
        bao.done("PUT", "sys/seal")
    headers = {"X-Vault-Namespace": call.namespace} if call.namespace else {}
    token = tokens.get(call.token, tokens["reader"])
    status, said, content = bao.ask(call.method, call.path, call.body, token, **headers)
    body = json.loads(content)
    if call.name == "unwrap: first use":
        tokens["unwrapped"] = body["auth"]["client_token"]
        body["auth"]["client_token"] = "unwrapped"
    kept = {name: said[name] for name in ("content-type", "cache-control")}
    request = {name: getattr(call, name) for name in ("token", "namespace", "method", "path")}
    return {
        "name": call.name,
        "request": request,
        "response": {"status": status, "headers": kept, "body": body},
    }


def _write(answers: list[dict[str, Any]], version: str) -> None:
    note = "Answers of a real OpenBao, taken as they came; tokens are replaced by their names in the test that makes this file."
    openbao_recordings.FILE.parent.mkdir(exist_ok=True)
    document = {"openbao": version, "note": note, "calls": answers}
    openbao_recordings.FILE.write_text(json.dumps(document, indent=1) + "\n")


def _told(call: dict[str, Any]) -> tuple[Any, ...]:
    body = call["response"]["body"]
    errors = [str(error).split("notAfter of")[0] for error in body.get("errors", [])]
    return (call["request"], call["response"]["status"], errors, body.get("warnings"), shape(body))


@pytest.mark.parametrize("role", ROLES)
async def test_stand_in_signs_as_it_is_recorded(tmp_path: Path, role: str) -> None:
    """The stand-in of the PKI engine answers as the real one does, to the same request for the same role."""
    call = signs(role)
    async with serving(StandIn(SITE, (ROOT,), ROLES[role]), tmp_path) as environ:
        context = ssl.create_default_context(cafile=environ["VAULT_CACERT"])
        async with httpx.AsyncClient(verify=context, headers={"X-Vault-Token": TOKEN}) as client:
            said = await client.post(f"{environ['VAULT_ADDR']}{SIGN}", json=call.body)
    status, body = recorded(call.name)
    answers = [(said.status_code, said.json()), (status, body)]
    ours, theirs = (
        _told({"request": None, "response": {"status": code, "body": content}}) for code, content in answers
    )
    assert ours == theirs


@pytest.mark.parametrize("token", ["signer", "reader"])
async def test_stand_in_tells_rights_as_it_is_recorded(tmp_path: Path, token: str) -> None:
    """So it does for whoever may sign, and for whoever may not."""
    call = asks_rights(token)
    status, body = recorded(call.name)
    stand_in = StandIn(SITE, (ROOT,), rights=(200, body["capabilities"]))
    async with serving(stand_in, tmp_path) as environ:
        ours = await asyncio.to_thread(Vault.open(environ).ask, "POST", RIGHTS, call.body)
    assert status == 200
    assert (shape(ours), ours["data"]) == (shape(body), body["data"])


# --- what ionetctl makes of it ---------------------------------------------------------------------------------------


@dataclass
class Place:
    """A server to ask, and the tokens that it knows by their names. ``vault`` is the stand-in of the PKI engine, if it is one."""

    environ: dict[str, str]
    tokens: Mapping[str, str]
    bao: RealOpenBao | None = None

    def store(self, token: str, **variables: str) -> SecretStore:
        name = "BAO_WRAPPED_TOKEN" if token.startswith("wrapped") else "BAO_TOKEN"
        return SecretStore(self.environ | {name: self.tokens.get(token, token)} | variables)

    @contextlib.contextmanager
    def sealed(self) -> Iterator[SecretStore]:
        if self.bao is None:
            yield self.store("while-sealed")
            return
        self.bao.done("PUT", "sys/seal")
        try:
            yield self.store("reader")
        finally:
            self.bao.unseal()


@pytest.fixture(params=["recorded", pytest.param("openbao", marks=pytest.mark.openbao)])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "openbao":
        bao, tokens = request.getfixturevalue("openbao")
        yield Place(bao.environ(), tokens, bao)
        return
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", Replay().answer)
    async with TestServer(app) as server:
        yield Place({"BAO_ADDR": str(server.make_url("/"))}, {})


def revealed(store: SecretStore, path: str, name: str = "token") -> str:
    """The secret, or what is said in its place."""
    try:
        return store.reveal(SecretRef("vault", f"{path}#{name}"))
    except ConfigurationError as error:
        return f"{error.code}: {error.message.replace(store.vault().address, 'ADDRESS')}"


@pytest.mark.parametrize(
    ("token", "path", "expected"),
    [
        ("reader", "kv2/ionet/eu-north", VALUE),
        ("reader", "kv1/ionet/eu-north", VALUE),
        ("reader", "team/kv/ionet", VALUE),
        ("reader", "kv2/none", "secret_missing: Vault has no kv2/none"),
        ("reader", "kv2/gone", "secret_missing: Vault has no kv2/gone"),
        ("reader", "kv1/none", "secret_missing: Vault has no kv1/none"),
        ("reader", "nomount/x", REFUSED.format("nomount/x")),
        ("signer", "kv2/ionet/eu-north", REFUSED.format("kv2/ionet/eu-north")),
        ("narrow", "kv2/ionet/eu-north", REFUSED.format("kv2/ionet/eu-north")),
        ("narrow", "kv1/ionet/eu-north", REFUSED.format("kv1/ionet/eu-north")),
        ("expired", "kv2/ionet/eu-north", REFUSED.format("kv2/ionet/eu-north")),
        ("revoked", "kv2/ionet/eu-north", REFUSED.format("kv2/ionet/eu-north")),
        ("unknown", "kv2/ionet/eu-north", REFUSED.format("kv2/ionet/eu-north")),
    ],
)
async def test_secrets(place: Place, token: str, path: str, expected: str) -> None:
    """They are read from either version and from any mount; why not is said as far as the server tells."""
    assert await asyncio.to_thread(revealed, place.store(token), path) == expected


@pytest.mark.parametrize("name", ["port", "other"])
async def test_field_that_is_no_text(place: Place, name: str) -> None:
    """A number is none, nor is one that is not there."""
    told = await asyncio.to_thread(revealed, place.store("reader"), "kv2/ionet/eu-north", name)
    assert told == f"secret_missing: kv2/ionet/eu-north in Vault has no text field {name}"


async def test_namespace_that_is_not_there_is_named(place: Place) -> None:
    """Else the secret would seem to be missing."""
    store = place.store("reader", BAO_NAMESPACE="nosuch")
    told = await asyncio.to_thread(revealed, store, "kv2/ionet/eu-north")
    assert told == "secret_missing: Vault has no kv2/ionet/eu-north in the namespace nosuch"


async def test_sealed_server(place: Place) -> None:
    """It does not answer as it should, and nothing is said about the secret."""
    with place.sealed() as store:
        told = await asyncio.to_thread(revealed, store, "kv2/ionet/eu-north")
    assert told == "vault_unavailable: ADDRESS did not answer as Vault does: it answered 503"


async def test_wrapped_token_works_once(place: Place) -> None:
    """A wrong namespace does not use it up, nor is it called used then; whoever comes second is told."""

    def opened(**variables: str) -> str:
        try:
            return place.store("wrapped", **variables).reveal(SecretRef("vault", "kv2/ionet/eu-north#token"))
        except ConfigurationError as error:
            return error.code

    tried = [await asyncio.to_thread(opened, **each) for each in ({"BAO_NAMESPACE": "nosuch"}, {}, {})]
    assert tried == ["vault_unavailable", VALUE, "vault_token_used"]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("wrapped-late", "was used before, or has expired"),
        ("wrapped-data", "is no token of a login"),
        ("wrapped-secret", "is no token of a login"),
        ("reader", "was used before, or has expired"),
    ],
)
async def test_token_that_wraps_no_login(place: Place, token: str, expected: str) -> None:
    """One that came too late, that somebody made of data of their own or of a secret, and one that wraps nothing."""
    variables = {"BAO_WRAPPED_TOKEN": place.tokens.get(token, token), "BAO_TOKEN": ""}
    store = place.store("", **variables)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        await asyncio.to_thread(store.vault)
    assert caught.value.code == "vault_token_used"


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (ROLE, "signed"),
        ("names-of-requests", "signed"),
        ("client-alone", "issuer_unfit"),
        ("short", "issuer_unfit"),
        ("rsa", "issuer_refused"),
        ("p384", "issuer_refused"),
        ("other-domain", "issuer_refused"),
        ("no-bare-domain", "issuer_refused"),
        ("no-localhost", "issuer_refused"),
        ("no-addresses", "issuer_refused"),
        ("beyond-the-ca", "issuer_refused"),
        ("nosuch", "issuer_refused"),
    ],
)
@pytest.mark.parametrize("on_host", [False, True], ids=["our key", "key on host"])
@pytest.mark.openbao
async def test_roles(
    openbao: tuple[RealOpenBao, dict[str, str]], tmp_path: Path, role: str, expected: str, *, on_host: bool
) -> None:
    """What is signed, and what is not: the stand-in's tests have the same for its answers, which are the recorded ones."""
    if on_host and role == "names-of-requests":
        expected = "issuer_refused"  # the host's request has the common name that is not allowed
    assert await _issued(openbao, tmp_path, role, "signer", on_host=on_host) == expected


@pytest.mark.parametrize("token", ["reader", "expired", "revoked", "unknown"])
@pytest.mark.openbao
async def test_tokens_that_may_not_sign(
    openbao: tuple[RealOpenBao, dict[str, str]], tmp_path: Path, token: str
) -> None:
    """For want of a policy, or because they are no more."""
    assert await _issued(openbao, tmp_path, ROLE, token, on_host=False) == "issuer_forbidden"


async def _issued(
    openbao: tuple[RealOpenBao, dict[str, str]], tmp_path: Path, role: str, token: str, *, on_host: bool
) -> str:
    bao, tokens = openbao
    place, clock = Place(bao.environ(), tokens, bao), ManualClock(datetime.now(UTC))
    store = place.store(token)
    node = VaultIssuer(MOUNT, role, 4000 if role == "beyond-the-ca" else 1825, on_host)
    tls = RegionTls(pki.write(tmp_path / "ca.pem", ROOT), "server.eu-north.nomad", None, node)
    region = RegionSettings(EU, ("https://127.0.0.1",), ("127.0.0.1:4647",), SecretRef("env", "T"), tls)
    request = bare_request() if on_host else None
    try:
        issuer = await asyncio.to_thread(open_issuer, region, store.reveal, clock, store.vault)
        pair = await issuer.issue(HOST, request)
    except ConfigurationError as error:
        return error.code
    assert parse_chain(pair.chain_pem)[1] == SITE.certificate
    return "signed"


def bare_request() -> bytes:
    """As a host makes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    built = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.DER)
