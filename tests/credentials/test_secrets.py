"""Secrets: where they come from, what goes wrong there, and that nothing shows one."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.secrets import FILE_LIMIT_BYTES, Secret, SecretStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUE = "5f1c-hunter2-9aa0"


def resolve(ref: SecretRef, environ: dict[str, str] | None = None) -> Secret:
    return SecretStore(environ or {}).resolve(ref)


def refused(code: str, ref: SecretRef, environ: dict[str, str] | None = None) -> ConfigurationError:
    """The error of resolving ``ref``, its code as expected and the value nowhere in it."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(ref, environ)
    error = caught.value
    assert error.code == code
    shown = "".join(traceback.format_exception(error)) + repr(error.__context__) + repr(vars(error))
    assert VALUE not in shown
    return error


def private_file(path: Path, content: bytes, mode: int = 0o600) -> SecretRef:
    path.write_bytes(content)
    path.chmod(mode)
    return SecretRef("file", str(path))


# --- the type ----------------------------------------------------------------------------------------------------------

SHOWN: list[tuple[str, Callable[[Secret], str]]] = [
    ("repr", repr),
    ("str", str),
    ("format", lambda secret: f"{secret} {secret:>9} {secret!r} {secret!s}"),
    ("percent", lambda secret: "%s %r" % (secret, secret)),  # noqa: UP031  (an old way to show it)
    ("container", lambda secret: repr([{"token": secret}])),
    ("log", lambda secret: logging.makeLogRecord({"msg": "%s", "args": (secret,)}).getMessage()),
]


@pytest.mark.parametrize(("way", "show"), SHOWN, ids=[way for way, _ in SHOWN])
def test_secret_shows_a_mask(way: str, show: Callable[[Secret], str]) -> None:
    """No way of turning a Secret into text shows it; the mask is there in its place."""
    assert ("***" in show(Secret(VALUE)), VALUE in show(Secret(VALUE))) == (True, False), way


@pytest.mark.parametrize(("way", "show"), SHOWN, ids=[way for way, _ in SHOWN])
def test_control_text_is_shown(way: str, show: Callable[[object], str]) -> None:
    """The same ways do show a plain text: the test above can fail."""
    if way == "format":
        assert VALUE in f"{VALUE}"
    else:
        assert VALUE in show(VALUE)


def test_secret_reveals_itself_when_asked() -> None:
    """reveal() is the way to the value."""
    assert Secret(VALUE).reveal() == VALUE


@pytest.mark.parametrize("move", [pickle.dumps, copy.copy, copy.deepcopy, hash])
def test_secret_does_not_travel(move: Callable[[Secret], object]) -> None:
    """A Secret is neither pickled nor copied nor hashed."""
    with pytest.raises(TypeError):
        move(Secret(VALUE))


def test_secrets_compare_by_value() -> None:
    """Equal values are equal Secrets; a text is never equal to one."""
    expected = (True, False, False)
    assert (
        Secret(VALUE) == Secret(VALUE),
        Secret(VALUE) == Secret("other"),
        Secret(VALUE) == VALUE,
    ) == expected


# --- the environment -------------------------------------------------------------------------------------------------


def test_environment_variable_is_read() -> None:
    """env: the value as it is."""
    assert resolve(SecretRef("env", "TOKEN"), {"TOKEN": VALUE}).reveal() == VALUE


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}])
def test_missing_or_empty_variable_is_missing(environ: dict[str, str]) -> None:
    """An empty variable is no secret either."""
    assert "TOKEN" in refused("secret_missing", SecretRef("env", "TOKEN"), environ).message


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b"abc\n\n", "abc\n"),
        (b" a b ", " a b "),
        ("ä€".encode(), "ä€"),
        (b"\xef\xbb\xbfabc\r\n", "abc"),
    ],
)
def test_file_loses_one_line_break(tmp_path: Path, content: bytes, expected: str) -> None:
    """An editor's last line break and byte order mark are not part of the secret; everything else is."""
    assert resolve(private_file(tmp_path / "token", content), {}).reveal() == expected


def test_file_may_be_reached_by_a_link(tmp_path: Path) -> None:
    """Secret mounts are links."""
    private_file(tmp_path / "token", b"abc")
    (tmp_path / "link").symlink_to("token")
    assert resolve(SecretRef("file", str(tmp_path / "link")), {}).reveal() == "abc"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """As ssh does with private keys, with the remedy."""
    error = refused("secret_file_readable", private_file(tmp_path / "token", VALUE.encode(), mode))
    assert error.hint == f"chmod 600 {tmp_path / 'token'}"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "secret_missing"),
        (b"\n", "secret_missing"),
        (VALUE.encode() + b"\xff", "secret_unreadable"),
        (VALUE.encode() + b"\0", "secret_unreadable"),
        (VALUE.encode() * FILE_LIMIT_BYTES, "secret_unreadable"),
    ],
    ids=["empty", "blank", "not UTF-8", "NUL", "too big"],
)
def test_unusable_content_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    """What cannot be a secret is said to be so, without showing it."""
    refused(code, private_file(tmp_path / "token", content))


def test_missing_file_is_missing(tmp_path: Path) -> None:
    """The path is named."""
    path = str(tmp_path / "nosuch")
    assert path in refused("secret_missing", SecretRef("file", path)).message


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    """Only regular files are read."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    refused("secret_unreadable", SecretRef("file", str(tmp_path / "fifo")))


def test_path_through_a_file_is_unreadable(tmp_path: Path) -> None:
    """Other failures of the system carry its reason."""
    private_file(tmp_path / "token", b"abc")
    error = refused("secret_unreadable", SecretRef("file", str(tmp_path / "token" / "below")))
    assert "Not a directory" in error.message


# --- keyrings --------------------------------------------------------------------------------------------------------


class MemoryKeyring(KeyringBackend):
    """A keyring of one entry, locked or open."""

    priority = 1.0

    def __init__(self, *, is_locked: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._is_locked = is_locked

    def get_password(self, service: str, username: str) -> str | None:
        if self._is_locked:
            raise KeyringLocked(VALUE)
        return VALUE if (service, username) == ("io.net/eu", "admin") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


@contextmanager
def using(backend: KeyringBackend) -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.set_keyring(before)


def test_keyring_is_read_by_service_and_user() -> None:
    """The last part is the user: services are often paths."""
    with using(MemoryKeyring()):
        assert resolve(SecretRef("keyring", "io.net/eu/admin"), {}).reveal() == VALUE


def test_unknown_keyring_entry_is_missing() -> None:
    """The hint shows how to put it there."""
    with using(MemoryKeyring()):
        error = refused("secret_missing", SecretRef("keyring", "io.net/eu/other"))
    assert error.hint == "keyring set io.net/eu other"


def test_locked_keyring_is_unavailable() -> None:
    """What the keyring says is not repeated: it may be anything."""
    with using(MemoryKeyring(is_locked=True)):
        refused("keyring_unavailable", SecretRef("keyring", "io.net/eu/admin"))


def test_keyring_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install; other sources do without it."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    error = refused("keyring_unavailable", SecretRef("keyring", "io.net/eu/admin"))
    assert error.hint == "install it with: pip install 'ionetctl[keyring]'"
    assert resolve(SecretRef("env", "TOKEN"), {"TOKEN": VALUE}).reveal() == VALUE


# --- the store -------------------------------------------------------------------------------------------------------


def test_store_asks_a_source_once(tmp_path: Path) -> None:
    """A file that goes away afterwards is not missed."""
    ref = private_file(tmp_path / "token", VALUE.encode())
    store = SecretStore({})
    store.resolve_all([ref, ref])
    (tmp_path / "token").unlink()
    assert store.reveal(ref) == VALUE


def test_store_names_everything_that_is_missing() -> None:
    """All sources are asked before the first error is raised."""
    with pytest.raises(ConfigurationError) as caught:
        SecretStore({"B": VALUE}).resolve_all([SecretRef("env", name) for name in ("A", "B", "C")])
    assert caught.value.message == "the environment has no A; the environment has no C"


def test_store_shows_nothing() -> None:
    """Its repr holds neither environment nor secrets; the value is there to be had."""
    store = SecretStore({"A": VALUE})
    assert (store.reveal(SecretRef("env", "A")), VALUE in repr(store)) == (VALUE, False)
