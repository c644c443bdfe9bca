"""Secrets: where they come from, what goes wrong there, and that nothing shows one."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import pty
import shlex
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keyring
import pexpect
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.secret_sources import LIMIT_BYTES
from ionetctl.credentials.secrets import Secret, SecretStore

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
        (VALUE.encode() * LIMIT_BYTES, "secret_unreadable"),
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


# --- commands --------------------------------------------------------------------------------------------------------


def program(*lines: str) -> SecretRef:
    """The command that runs these lines of Python."""
    return SecretRef("command", shlex.join([sys.executable, "-c", "\n".join(lines)]))


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), (" ä b ", " ä b ")],
)
def test_command_loses_one_line_break(printed: str, expected: str) -> None:
    """What it prints is the secret, as a file's content is."""
    ref = program("import sys", f"sys.stdout.buffer.write({printed.encode()!r})")
    assert resolve(ref).reveal() == expected


def test_no_shell_reads_a_command() -> None:
    """Its arguments are its own, whatever is in them."""
    words = ["$HOME", "a b", "'", '"', "`id`", "; id", "*", "", "\\"]
    ref = SecretRef("command", shlex.join([sys.executable, "-c", "import sys; print(sys.argv[1:])", *words]))
    assert resolve(ref).reveal() == str(words)


def test_command_has_the_users_environment_and_nothing_else(tmp_path: Path) -> None:
    """As he sees it, without another secret of ours, in it or on a standard input that has nothing; arguments as they are written."""
    noted = tmp_path / "noted"
    ref = program(
        "import os, sys, json",
        "seen = dict(os.environ), sys.orig_argv, sys.stdin.read(), sorted(os.listdir('/dev/fd'))[:3]",
        f"open({str(noted)!r}, 'w').write(json.dumps(seen))",
        "print('x')",
    )
    reading, writing = os.pipe()
    os.write(writing, json.dumps({"other": VALUE}).encode())
    os.close(writing)
    environ = {"MINE": "1", "OTHERS": VALUE, "PATH": os.environ["PATH"]}
    store = SecretStore(environ, {"OTHERS", "NOT_THERE"}, stdin=reading)
    assert (store.reveal(SecretRef("stdin", "other")), store.reveal(ref)) == (VALUE, "x")
    os.close(reading)
    environ, argv, stdin, descriptors = json.loads(noted.read_text())
    python_sets = {"LC_CTYPE": environ.get("LC_CTYPE")} if "LC_CTYPE" in environ else {}
    assert environ == {"MINE": "1", "PATH": os.environ["PATH"]} | python_sets
    assert (argv[1:2], stdin, descriptors, VALUE in noted.read_text()) == (["-c"], "", ["0", "1", "2"], False)


def test_program_is_looked_up_in_the_users_path(tmp_path: Path) -> None:
    """In that of the environment given."""
    script = tmp_path / "my-pass"
    script.write_text(f"#!/bin/sh\necho {VALUE}\n")
    script.chmod(0o755)
    assert resolve(SecretRef("command", "my-pass"), {"PATH": f"{tmp_path}:/bin"}).reveal() == VALUE


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        (
            [f"print('{VALUE}')", f"raise SystemExit('{VALUE}')"],
            "secret_command_failed",
            "ended with status 1",
        ),
        (
            [f"print('{VALUE}', flush=True)", "import os; os.kill(os.getpid(), 9)"],
            "secret_command_failed",
            "signal 9",
        ),
        ([f"print('{VALUE}' * {LIMIT_BYTES})"], "secret_command_failed", f"more than {LIMIT_BYTES} bytes"),
        ([f"print('{VALUE}', end=chr(0))"], "secret_unreadable", "NUL"),
        ([f"import os; os.write(1, b'{VALUE}\\xff')"], "secret_unreadable", "UTF-8"),
        (["pass"], "secret_missing", "is empty"),
    ],
    ids=["status", "signal", "endless", "NUL", "not UTF-8", "nothing"],
)
def test_failed_command_is_named_without_its_output(
    capfd: pytest.CaptureFixture[str], lines: list[str], code: str, why: str
) -> None:
    """The program's name and what became of it; nothing that it printed, on either stream, and none of its arguments."""
    error = refused(code, program(*lines))
    assert (sys.executable in error.message, why in error.message) == (True, True)
    assert VALUE not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["/nosuch/program", "no-such-program-of-ours"])
def test_program_that_is_not_there(name: str) -> None:
    """It is said that it cannot be started; its arguments are not shown."""
    error = refused("secret_command_failed", SecretRef("command", f"{name} {VALUE}"))
    assert error.message == f"{name} cannot be started: No such file or directory"


@pytest.mark.parametrize("keeps", ["stdout open", "stdout closed", "a child"])
def test_command_that_does_not_end_has_a_deadline(keeps: str) -> None:
    """Whatever it does with its output, and though what it started lives on."""
    wait = "import os, signal; signal.sigtimedwait([], 10)"
    lines = {
        "stdout open": [wait],
        "stdout closed": ["import os; os.close(1)", wait],
        "a child": [f"import os; os.fork(); {wait}"],
    }
    with pytest.raises(ConfigurationError, match=r"did not end within 0\.5 s") as caught:
        SecretStore({}, patience_s=0.5).resolve(program(*lines[keeps]))
    assert caught.value.code == "secret_command_failed"


ASKING = """
import os, shlex
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.secrets import SecretStore
ask = 'read -r typed </dev/tty; printf "prompt " >&2; read -r again; echo "$typed-$again"'
print(len(SecretStore(os.environ).reveal(SecretRef("command", shlex.join(["sh", "-c", ask])))))
"""


def test_command_asks_by_the_terminal() -> None:
    """By /dev/tty as pinentry and ssh do, by its standard input, and by its standard error, which a person sees."""
    asking = pexpect.spawn(sys.executable, ["-c", ASKING], timeout=60)
    asking.sendline("typed")
    asking.expect("prompt ")
    asking.sendline("again")
    asking.expect(str(len("typed-again")))
    asking.expect(pexpect.EOF)


def test_command_that_fails_is_the_last_that_is_run(tmp_path: Path) -> None:
    """Whoever pressed Ctrl-C is not asked again by the next."""
    refs = [program("raise SystemExit(1)"), program(f"open({str(tmp_path / 'ran')!r}, 'w')", "print(1)")]
    with pytest.raises(ConfigurationError, match="ended with status 1"):
        SecretStore({}).resolve_all(refs)
    assert not (tmp_path / "ran").exists()
    SecretStore({}).resolve_all(refs[1:])
    assert (tmp_path / "ran").exists()


# --- standard input --------------------------------------------------------------------------------------------------


@contextmanager
def piped(content: bytes | None) -> Iterator[SecretStore]:
    """A store whose standard input has that, or that nobody closes."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content or b"{")
        if content is not None:
            os.close(writing)
        yield SecretStore({}, stdin=reading, patience_s=60 if content is not None else 0.1)
    finally:
        os.close(reading)
        if content is None:
            os.close(writing)


def test_several_secrets_come_from_one_document() -> None:
    """Read once, each by its name, as often as it is asked for."""
    document = {"eu/token": VALUE, "key": "a\nb\n", "unused": 5}
    with piped(json.dumps(document).encode()) as store:
        refs = [SecretRef("stdin", name) for name in ("eu/token", "key", "eu/token")]
        assert [store.reveal(ref) for ref in refs] == [VALUE, "a\nb", VALUE]


def test_document_may_be_a_file(tmp_path: Path) -> None:
    """By a redirection."""
    (tmp_path / "secrets").write_text(json.dumps({"a": VALUE}))
    with (tmp_path / "secrets").open() as file:
        assert SecretStore({}, stdin=file.fileno()).reveal(SecretRef("stdin", "a")) == VALUE


@pytest.mark.parametrize(
    ("content", "code", "why"),
    [
        (json.dumps({"b": VALUE}).encode(), "secret_missing", "has no text a"),
        (json.dumps({"a": [VALUE]}).encode(), "secret_missing", "has no text a"),
        (json.dumps({"a": ""}).encode(), "secret_missing", "is empty"),
        (b'{"a": "%s\\ud800"}' % VALUE.encode(), "secret_unreadable", "not UTF-8"),
        (json.dumps([VALUE]).encode(), "secret_unreadable", "no JSON object"),
        (VALUE.encode(), "secret_unreadable", "no JSON"),
        (b"", "secret_unreadable", "no JSON"),
        (b"[" * 60_000, "secret_unreadable", "no JSON"),
        (b"\xff", "secret_unreadable", "no JSON"),
        (None, "secret_unreadable", "did not end within"),
    ],
)
def test_unusable_document_is_refused(content: bytes | None, code: str, why: str) -> None:
    """What is wrong with it is said, and what it should be; nothing of it is shown."""
    with piped(content) as store, pytest.raises(ConfigurationError, match=why) as caught:
        store.resolve(SecretRef("stdin", "a"))
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error.__context__) + repr(vars(error))
    assert (error.code, VALUE in shown) == (code, False)


def test_long_document_is_refused(tmp_path: Path) -> None:
    """Beyond the limit nothing is read."""
    (tmp_path / "secrets").write_text(json.dumps({"a": VALUE * LIMIT_BYTES}))
    with (tmp_path / "secrets").open() as file, pytest.raises(ConfigurationError, match="more than"):
        SecretStore({}, stdin=file.fileno()).resolve(SecretRef("stdin", "a"))


def test_terminal_and_closed_input_are_refused() -> None:
    """At a terminal what is typed would be shown, and nobody knows what to type."""
    leader, follower = pty.openpty()
    with pytest.raises(ConfigurationError, match="is a terminal") as caught:
        SecretStore({}, stdin=follower).resolve(SecretRef("stdin", "a"))
    os.close(leader)
    os.close(follower)
    assert (caught.value.code, "JSON" in caught.value.hint) == ("secret_missing", True)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        SecretStore({}, stdin=follower).resolve(SecretRef("stdin", "a"))


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
