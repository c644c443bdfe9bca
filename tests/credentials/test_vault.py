"""Vault and OpenBao: secrets of their KV engine, wrapped tokens, and what a server may do to whoever asks it.

The stand-in gives answers of OpenBao 2.4.4 (test_vault_contract.py), and what a server of another mind could say.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.secrets import SecretStore
from ionetctl.credentials.vault import LIMIT_BYTES, Vault, VaultRefusedError
from ionetctl.lab.certificates import issue, new_authority
from tests.support.openbao_recordings import recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

VALUE = "5f1c-hunter2-9aa0"
TOKEN = "hvs.token-of-the-login"
WRAPPED = "hvs.wrapping-token"
REF = SecretRef("vault", "secret/ionet/eu-north#token")
KV2 = recorded("version 2: secret")[1]
KV1 = recorded("version 1: secret")[1]
LOGIN = recorded("unwrap: first use")[1]
LOGIN["auth"]["client_token"] = TOKEN
ENGINE = "/v1/sys/internal/ui/mounts/"
UNWRAP = "/v1/sys/wrapping/unwrap"


@dataclass
class StandIn:
    """A server that has what ``answers`` says by path, for the right token, and whose wrapping token works once.

    It has KV engines of ``version`` alone, in whose other paths the token may do nothing.
    """

    answers: Mapping[str, tuple[int, object]]
    version: str = "2"
    wrapped: object = field(default_factory=lambda: LOGIN)
    asked: list[str] = field(default_factory=list)
    is_used: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        token = request.headers.get("X-Vault-Token")
        if request.path == UNWRAP:
            is_good = token == WRAPPED and not self.is_used
            self.is_used = True
            used, refusal = recorded("unwrap: second use")
            return web.json_response(self.wrapped if is_good else refusal, status=200 if is_good else used)
        if token != TOKEN:
            status, body = recorded("unknown token: engine")
        elif request.path.startswith(ENGINE):
            status, body = recorded(f"version {self.version}: engine")
            mount = request.path.removeprefix(ENGINE).partition("/")[0]
            body = body | {"data": body["data"] | {"path": f"{mount}/"}}
        else:
            status, body = self.answers.get(request.path, (404, {"errors": []}))
        return web.json_response(body, status=status)


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Any], **variables: str) -> AsyncIterator[dict[str, str]]:
    """The environment in which that server, on loopback, is the Vault."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield {"VAULT_ADDR": str(server.make_url("/")), "VAULT_TOKEN": TOKEN} | variables


def told(store: SecretStore, ref: SecretRef = REF) -> str:
    """The secret, or the code of the error that is raised in its place; no error shows a secret or a token."""
    try:
        return store.reveal(ref)
    except ConfigurationError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error.__context__) + repr(vars(error))
        assert [each for each in (VALUE, TOKEN, WRAPPED) if each in shown] == []
        return error.code


async def ask(handler: Callable[[web.Request], Any], ref: SecretRef = REF, **variables: str) -> str:
    """What comes of ``ref`` where ``handler`` is the Vault."""
    async with serving(handler, **variables) as environ:
        return await asyncio.to_thread(told, SecretStore(environ), ref)


# --- KV --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "path"), [("2", "secret/data/ionet/eu-north"), ("1", "secret/ionet/eu-north")]
)
async def test_both_versions_are_read(version: str, path: str) -> None:
    """The server is asked which it is, then for the secret, and for nothing else."""
    server = StandIn({f"/v1/{path}": (200, KV2 if version == "2" else KV1)}, version)
    assert await ask(server.answer) == VALUE
    assert server.asked == [f"GET {ENGINE}secret/ionet/eu-north", f"GET /v1/{path}"]


@pytest.mark.parametrize(
    "engine",
    [None, [], {"path": "other/", "options": {"version": "2"}}, {"path": 5, "options": {"version": "2"}}],
    ids=["none", "list", "another's", "number"],
)
async def test_engine_that_makes_no_sense_is_taken_for_version_1(engine: object) -> None:
    """Then the path of the reference is asked for, and no path of the server's choice."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"data": engine} if request.path.startswith(ENGINE) else KV1)

    assert await ask(answer) == VALUE
    assert asked == [f"{ENGINE}secret/ionet/eu-north", "/v1/secret/ionet/eu-north"]


async def test_secret_is_read_where_the_event_loop_runs() -> None:
    """A caller need not be in a thread of its own, where the server is in another process."""
    vault = Vault.open({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": TOKEN})
    with pytest.raises(ConfigurationError, match="did not answer"):
        vault.ask("GET", "secret/data/x")


DATA = "/v1/a/data/b"


@pytest.mark.parametrize(
    ("answers", "name", "code"),
    [
        ({}, "c", "secret_missing"),
        ({DATA: (200, KV2)}, "other", "secret_missing"),
        ({DATA: (200, KV2)}, "port", "secret_missing"),
        ({DATA: (200, {"data": [VALUE]})}, "c", "vault_unavailable"),
        ({DATA: (200, {"data": {"data": VALUE}})}, "c", "vault_unavailable"),
        ({DATA: (200, [VALUE])}, "c", "vault_unavailable"),
        ({DATA: (503, {"errors": [VALUE]})}, "c", "vault_unavailable"),
        ({DATA: (429, {"errors": [VALUE]})}, "c", "vault_unavailable"),
        ({DATA: (400, {"errors": [VALUE]})}, "c", "vault_unavailable"),
        ({DATA: (302, {})}, "c", "vault_unavailable"),
        ({DATA: (200, {"data": {"data": {"c": VALUE + "\ud800"}}})}, "c", "secret_unreadable"),
    ],
    ids=[
        "nothing",
        "field",
        "number",
        "list",
        "text",
        "array",
        "sealed",
        "busy",
        "malformed",
        "redirect",
        "half a character",
    ],
)
async def test_failures_have_their_codes(
    answers: dict[str, tuple[int, object]], name: str, code: str
) -> None:
    """Each way to get nothing is told apart, without showing what the server said."""
    assert await ask(StandIn(answers).answer, SecretRef("vault", f"a/b#{name}")) == code


async def test_wrong_token_may_not_read() -> None:
    """It is said what its policy must allow."""
    answers = {"/v1/secret/data/ionet/eu-north": (200, KV2)}
    assert await ask(StandIn(answers).answer, VAULT_TOKEN="wrong") == "secret_unreadable"


async def test_path_is_escaped() -> None:
    """What stands in a reference is part of the path, and never a query."""
    server = StandIn({"/v1/a/data/b?list=true&x y": (200, KV2)})
    assert await ask(server.answer, SecretRef("vault", "a/b?list=true&x y#token")) == VALUE


# --- wrapped tokens --------------------------------------------------------------------------------------------------


async def test_wrapped_token_is_unwrapped_once() -> None:
    """However many secrets are read with what it holds."""
    server = StandIn({"/v1/secret/data/ionet/eu-north": (200, KV2), "/v1/b/data/c": (200, KV2)})
    async with serving(server.answer, VAULT_TOKEN="", VAULT_WRAPPED_TOKEN=WRAPPED) as environ:
        store = SecretStore(environ)
        both = [await asyncio.to_thread(told, store, ref) for ref in (REF, SecretRef("vault", "b/c#token"))]
    assert (both, server.asked.count(f"POST {UNWRAP}")) == ([VALUE, VALUE], 1)


async def test_used_wrapped_token_is_an_error_of_its_own() -> None:
    """It says that somebody else may have opened it: that is what wrapping is for."""
    server = StandIn({"/v1/secret/data/ionet/eu-north": (200, KV2)}, is_used=True)
    async with serving(server.answer, VAULT_TOKEN="", VAULT_WRAPPED_TOKEN=WRAPPED) as environ:
        with pytest.raises(ConfigurationError) as caught:
            await asyncio.to_thread(SecretStore(environ).reveal, REF)
    assert (caught.value.code, "somebody else" in caught.value.hint) == ("vault_token_used", True)
    assert server.asked == [f"POST {UNWRAP}"]


@pytest.mark.parametrize(
    "wrapped",
    [
        {"auth": None, "data": {"client_token": TOKEN}},
        {"auth": {"client_token": ""}},
        {"auth": [TOKEN]},
    ],
    ids=["data of somebody", "empty", "list"],
)
async def test_wrapped_value_that_is_no_login_is_refused(wrapped: object) -> None:
    """Whoever opened it can wrap any data again, but no login that is not one."""
    server = StandIn({}, wrapped=wrapped)
    assert await ask(server.answer, VAULT_TOKEN="", VAULT_WRAPPED_TOKEN=WRAPPED) == "vault_token_used"


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "VAULT_ADDR and VAULT_TOKEN"),
        ({"VAULT_ADDR": "http://127.0.0.1:1"}, "VAULT_TOKEN"),
        ({"BAO_TOKEN": "x", "VAULT_ADDR": ""}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "127.0.0.1:8200", "VAULT_TOKEN": VALUE}, "no address"),
        ({"VAULT_ADDR": f"https://u:{VALUE}@vault", "VAULT_TOKEN": "x"}, "no address"),
        ({"VAULT_ADDR": f"https://:{VALUE}@vault:8200", "VAULT_TOKEN": "x"}, "no address"),
        ({"VAULT_ADDR": f"https://vault:8200/?token={VALUE}", "VAULT_TOKEN": "x"}, "no address"),
        ({"VAULT_ADDR": f"https://vault:8200#{VALUE}", "VAULT_TOKEN": "x"}, "no address"),
        ({"VAULT_ADDR": "http://[", "VAULT_TOKEN": "x"}, "no address"),
        (
            {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": VALUE, "VAULT_WRAPPED_TOKEN": VALUE},
            "VAULT_TOKEN and VAULT_WRAPPED_TOKEN",
        ),
        (
            {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": VALUE, "VAULT_CACERT": "/nosuch"},
            "VAULT_CACERT",
        ),
        ({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": f"{VALUE}\n"}, "characters"),
        (
            {"BAO_ADDR": "http://127.0.0.1:1", "VAULT_ADDR": "http://127.0.0.1:2", "VAULT_TOKEN": VALUE},
            "VAULT_TOKEN",
        ),
    ],
)
def test_environment_that_is_not_usable(environ: dict[str, str], named: str) -> None:
    """What is missing or wrong is named; a token is not shown, nor sent to another server than its own."""
    with pytest.raises(ConfigurationError) as caught:
        Vault.open(environ)
    assert (named in caught.value.message, VALUE in f"{caught.value.message} {caught.value.hint}") == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"BAO_ADDR": "http://bao:1", "BAO_TOKEN": "b"}, "http://bao:1"),
        ({"BAO_ADDR": "http://bao:1", "VAULT_TOKEN": "b"}, "http://bao:1"),
        (
            {
                "BAO_ADDR": "http://bao:1",
                "BAO_TOKEN": "b",
                "VAULT_ADDR": "http://vault:1",
                "VAULT_TOKEN": "v",
            },
            "http://bao:1",
        ),
        ({"VAULT_ADDR": "http://vault:1/", "VAULT_TOKEN": "b", "BAO_TOKEN": "other"}, "http://vault:1"),
        ({"VAULT_ADDR": "http://vault:1/", "BAO_TOKEN": "b"}, "http://vault:1"),
        ({"BAO_ADDR": "http://bao:1", "BAO_TOKEN": "b", "VAULT_TOKEN": "other"}, "http://bao:1"),
    ],
)
def test_variables_of_whoever_names_the_address_go_first(environ: dict[str, str], address: str) -> None:
    """With both addresses OpenBao's alone, as for its own command; the other's are the fallback."""
    vault = Vault.open(environ)
    assert (vault.address, vault.token, "token" in repr(vault)) == (address, "b", False)


async def test_namespace_is_sent() -> None:
    """In the header that both servers take it from."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("X-Vault-Namespace"))
        return web.json_response(KV1)

    assert await ask(answer, VAULT_NAMESPACE="team") == VALUE
    assert await ask(answer) == VALUE
    assert seen == ["team", "team", None, None]


# --- servers that do harm --------------------------------------------------------------------------------------------


def one_answer(body: bytes, **headers: str) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json", headers=headers)

    return answer


@pytest.mark.parametrize("length", [1 << 20, LIMIT_BYTES])
async def test_answer_has_its_limit(length: int) -> None:
    """Beyond it nothing is read; a secret of any length that Vault stores is within."""
    body = json.dumps({"data": {"token": VALUE, "more": "x" * length}}).encode()
    assert await ask(one_answer(body)) == (VALUE if length < LIMIT_BYTES else "vault_unavailable")


async def test_answer_is_not_decompressed() -> None:
    """It was not asked to be compressed: a few kilobytes may stand for gigabytes."""
    body = gzip.compress(json.dumps(KV1).encode())
    assert await ask(one_answer(body, **{"Content-Encoding": "gzip"})) == "vault_unavailable"


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"\xff", b"null"])
async def test_answer_that_is_no_json_object(body: bytes) -> None:
    """As proxies give it, and worse."""
    assert await ask(one_answer(body)) == "vault_unavailable"


@pytest.mark.parametrize("drips_headers", [True, False])
async def test_server_that_drips_has_a_deadline(*, drips_headers: bool) -> None:
    """A byte now and then keeps it alive for no longer than the deadline, in headers and in the body."""
    writers: list[asyncio.StreamWriter] = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\n" + (b"X-More: " if drips_headers else b"Content-Length: 999999\r\n\r\n")
        )
        while not writer.is_closing():
            writer.write(b"a")
            await asyncio.sleep(0.01)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        opened = Vault.open({"VAULT_ADDR": f"http://127.0.0.1:{port}", "VAULT_TOKEN": TOKEN})
        with pytest.raises(ConfigurationError, match=r"nothing complete within 0\.5 s"):
            await asyncio.to_thread(replace(opened, deadline_s=0.5).ask, "GET", "a/data/b")
        for writer in writers:
            writer.close()


async def test_reason_of_a_refusal_is_harmless() -> None:
    """For those who show it: one line, without the token, which is not part of the error's text."""

    async def refuse(request: web.Request) -> web.Response:
        reason = f"no \x1b[31m{request.headers['X-Vault-Token']}\n::error::"
        return web.json_response({"errors": [reason, 5]}, status=400)

    async with serving(refuse) as environ, Vault.open(environ).connect() as session:
        with pytest.raises(VaultRefusedError) as caught:
            await session.ask("PUT", "pki/sign/nomad", {"csr": VALUE})
    assert (caught.value.status, caught.value.reason, str(caught.value)) == (
        400,
        "no *** : :error::; 5",
        "status 400",
    )


async def test_session_sends_json() -> None:
    """As PKI and other engines take it."""
    bodies: list[object] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response({"data": {"serial_number": "1"}})

    async with serving(answer) as environ, Vault.open(environ).connect() as session:
        assert await session.ask("POST", "pki/sign/nomad", {"csr": "x"}) == {"data": {"serial_number": "1"}}
    assert bodies == [{"csr": "x"}]


@pytest.mark.parametrize("trusts", [True, False])
async def test_server_is_known_by_its_certificate(tmp_path: Path, *, trusts: bool) -> None:
    """Of the CA that is named; by another it gets no token, and it is said what is wrong with its certificate."""
    own, other = new_authority("own"), new_authority("other")
    own.write(tmp_path / "own.pem", tmp_path / "own.key")
    other.write(tmp_path / "other.pem", tmp_path / "other.key")
    issue(own, "vault.example").write(tmp_path / "cert.pem", tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = StandIn({"/v1/secret/data/ionet/eu-north": (200, KV2)})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    ca = str(tmp_path / ("own.pem" if trusts else "other.pem"))
    environ = {
        "VAULT_ADDR": f"https://127.0.0.1:{runner.addresses[0][1]}",
        "VAULT_TOKEN": TOKEN,
        "VAULT_CACERT": ca,
    }
    found = await asyncio.to_thread(_found, SecretStore(environ))
    await runner.cleanup()
    assert (found == VALUE, "certificate verify failed" in found, len(server.asked)) == (
        trusts,
        not trusts,
        2 * trusts,
    )


def _found(store: SecretStore) -> str:
    try:
        return store.reveal(REF)
    except ConfigurationError as error:
        return error.message


def test_file_without_certificates_is_named(tmp_path: Path) -> None:
    """It is no CA, and no reason to trust those of this machine in its place."""
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigurationError, match="VAULT_CACERT"):
        Vault.open(
            {"VAULT_ADDR": "https://v", "VAULT_TOKEN": "x", "VAULT_CACERT": str(tmp_path / "empty.pem")}
        )
