"""Commands as root: sudo in all its variants, imitated by a script on the server's PATH, over real SSH."""

from __future__ import annotations

import asyncio
import contextlib
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from ionetctl.core.errors import HostError, HostFailedError
from ionetctl.core.ports import Command, Completed
from ionetctl.ssh.commands.sudo import SudoDialogue
from tests.ssh.servers import PASSWORD, SECRETS, WRONG, Behaviour, connector, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ionetctl.ssh import SshSession, TransportSettings

CASES = Path(__file__).parents[2] / "data" / "cases"
NEEDS_PASSWORD = 'case "$*" in -n*) echo "sudo: a password is required" >&2; exit 1;; esac\n'
RUN = 'while [ "$1" != -- ]; do shift; done; shift; ROOT=1 exec "$@"\n'
ASK = f"""prompt=$3
printf '%s' "$prompt" >&2; IFS= read -r answer; echo "$answer" >> "$SEEN"
[ "$answer" = "{SECRETS["PASSWORD"]}" ] || {{ echo "Sorry, try again." >&2; printf '%s' "$prompt" >&2; IFS= read -r answer;
  echo "$answer" >> "$SEEN"; echo "sudo: 2 incorrect password attempts" >&2; exit 1; }}
"""
RS_NEEDS_PASSWORD = (
    'case "$*" in -n*) echo "sudo-rs: interactive authentication is required" >&2; exit 1;; esac\n'
)
RS_ASK = f"""prompt=$3
for try in 1 2 3; do
  printf '[sudo: %s] Password: ' "$prompt" >&2; IFS= read -r answer; echo "$answer" >> "$SEEN"; echo >&2
  if [ "$answer" = "{SECRETS["PASSWORD"]}" ]; then break; fi
  if [ $try = 3 ]; then echo "sudo-rs: Maximum 3 incorrect authentication attempts" >&2; exit 1; fi
  echo "sudo: Authentication failed, try again." >&2
done
"""
"""As sudo-rs 0.2.5 of Debian 13: other words, and the prompt in a frame of its own."""
LECTURE = """echo 'We trust you have received the usual lecture. [sudo] password for miner: ' >&2
echo 'ionetctl-root-0000'\n"""
WHO = Command(("sh", "-c", 'cat; echo "root=${ROOT:-no}"; echo noise >&2'), timeout_s=20, idle_s=20)


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Where the stand-in writes what it read as passwords."""
    return tmp_path / "seen"


@pytest.fixture
def commands() -> list[asyncio.Task[Any]]:
    """The commands of the server: done where one has ended."""
    return []


@pytest.fixture
def rig(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
    seen: Path,
    commands: list[asyncio.Task[Any]],
) -> Any:
    @asynccontextmanager
    async def connected(sudo: str | None, **ssh: Any) -> AsyncIterator[SshSession]:
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        if sudo is not None:
            script = programs / "sudo"
            script.write_text(f'#!/bin/sh\nSEEN={seen}\necho "$*" >> {seen}.argv; env >> {seen}.env\n{sudo}')
            script.chmod(0o755)
        for name in ("sh", "cat", "env", "sleep"):
            with contextlib.suppress(FileExistsError):
                (programs / name).symlink_to(f"/bin/{name}")
        handler = ssh.pop("handler", None)
        behaviour = Behaviour(authorized=[user_key], path=str(programs), handler=handler, commands=commands)
        async with (
            serve(behaviour, host_key) as server,
            connector(settings) as ways,
            ways.connect(server.host(identities=(identity,), **ssh)) as session,
        ):
            yield session

    return connected


def lines(path: Path) -> list[str]:
    """What the stand-in wrote down."""
    return path.read_text().splitlines() if path.exists() else []


async def refusal(session: SshSession) -> HostError:
    with pytest.raises(HostError) as caught:
        await session.run(WHO, stdin=b"payload ")
    return caught.value


async def test_sudo_without_a_password(rig: Any) -> None:
    """Where sudo asks nothing, the command runs as root, and sudo's chatter is not its output."""
    async with rig("echo chatter >&2\n" + RUN) as session:
        assert await session.run(WHO, stdin=b"payload ") == Completed(0, b"payload root=1\n", b"noise\n")


async def test_command_that_is_not_roots(rig: Any) -> None:
    """A command that does not ask for root does not get it."""
    plain = Command(WHO.argv, timeout_s=20, idle_s=20, as_root=False)
    async with rig(RUN) as session:
        assert (await session.run(plain)).stdout == b"root=no\n"


@pytest.mark.parametrize(
    ("ssh", "expected"),
    [
        pytest.param({"user": "root"}, b"root=no\n", id="root's login"),
        pytest.param({"become": "root"}, b"root=no\n", id="become root"),
        pytest.param({"user": "root", "become": "sudo"}, b"root=1\n", id="sudo insisted on"),
    ],
)
async def test_root_needs_no_sudo(rig: Any, ssh: dict[str, str], expected: bytes) -> None:
    """A login as root runs commands as they are, unless the inventory insists on sudo."""
    async with rig(RUN, **ssh) as session:
        assert (await session.run(WHO)).stdout == expected


async def test_password_is_answered_once(rig: Any, seen: Path) -> None:
    """After a refusal without one, the password answers the prompt; the payload stays the command's."""
    async with rig(NEEDS_PASSWORD + LECTURE + ASK + RUN, become_password=PASSWORD) as session:
        first = await session.run(WHO, stdin=b"payload ")
        second = await session.run(WHO, stdin=b"again ")
    assert (first, second.stdout) == (Completed(0, b"payload root=1\n", b"noise\n"), b"again root=1\n")
    assert lines(seen) == [SECRETS["PASSWORD"]] * 2


@pytest.mark.parametrize(
    "refusal_by_n",
    [
        pytest.param(RS_NEEDS_PASSWORD, id="sudo-rs"),
        pytest.param('case "$*" in -n*) echo "sudo: ask me nicely" >&2; exit 1;; esac\n', id="any words"),
        pytest.param('case "$*" in -n*) exit 1;; esac\n', id="none"),
    ],
)
async def test_password_is_tried_whatever_the_words(rig: Any, seen: Path, refusal_by_n: str) -> None:
    """A sudo that refuses to do without a password in other words, and frames its prompt, gets it once."""
    async with rig(refusal_by_n + RS_ASK + RUN, become_password=PASSWORD) as session:
        completed = await session.run(WHO, stdin=b"payload ")
    assert completed == Completed(0, b"payload root=1\n", b"noise\n")
    assert lines(seen) == [SECRETS["PASSWORD"]]


async def test_wrong_password_for_sudo_rs_is_answered_once(
    rig: Any, seen: Path, commands: list[asyncio.Task[Any]]
) -> None:
    """Its second prompt is what tells a wrong password; it is ended there, as it takes the end of its input for an answer."""
    async with rig(RS_NEEDS_PASSWORD + RS_ASK + RUN, become_password=WRONG) as session:
        error = await refusal(session)
        await asyncio.wait(commands)
    assert (error.code, "Authentication failed, try again." in error.message) == ("sudo_password_wrong", True)
    assert lines(seen) == [SECRETS["WRONG"]]


async def test_env_of_uutils_takes_no_option_of_sudos(rig: Any, tmp_path: Path, seen: Path) -> None:
    """That of Debian 13 (0.0.30) takes ``-S`` for its own wherever it stands: sudo would not read the password."""
    (tmp_path / "bin").mkdir()
    env = tmp_path / "bin" / "env"
    env.write_text(
        '#!/bin/sh\nfor word in "$@"; do shift; [ "$word" = -S ] || set -- "$@" "$word"; done\nexec /usr/bin/env "$@"\n'
    )
    env.chmod(0o755)
    async with rig(NEEDS_PASSWORD + ASK + RUN, become_password=PASSWORD) as session:
        assert (await session.run(WHO)).stdout == b"root=1\n"
    assert lines(seen) == [SECRETS["PASSWORD"]]


async def test_case_sudo_rs(rig: Any) -> None:
    """The case from the field: with the password the command runs as root, without it that is what is missing."""
    sudo = (CASES / "sudo-rs" / "sudo").read_text()
    async with rig(sudo, become_password=PASSWORD) as session:
        assert (await session.run(WHO, stdin=b"payload ")).stdout == b"payload root=no\n"
    async with rig(sudo) as session:
        assert (await refusal(session)).code == "sudo_needs_password"


async def test_password_is_not_sent_where_nobody_asks(rig: Any, seen: Path) -> None:
    """A sudo that needs no password never sees it."""
    async with rig(RUN, become_password=PASSWORD) as session:
        await session.run(WHO)
    assert lines(seen) == []


async def test_password_is_in_no_argument_and_no_variable(rig: Any, seen: Path) -> None:
    """What ps shows of sudo holds no password; the prompt's nonce it does."""
    async with rig(NEEDS_PASSWORD + ASK + RUN, become_password=PASSWORD) as session:
        await session.run(WHO)
    shown = "\n".join(lines(seen.parent / "seen.argv") + lines(seen.parent / "seen.env"))
    assert (SECRETS["PASSWORD"] in shown, "[ionetctl " in shown) == (False, True)


async def test_wrong_password_is_answered_once(
    rig: Any, seen: Path, commands: list[asyncio.Task[Any]]
) -> None:
    """A second prompt is not answered, not even by the end of the input: one wrong password, one error."""
    async with rig(NEEDS_PASSWORD + ASK + RUN, become_password=WRONG) as session:
        error = await refusal(session)
        await asyncio.wait(commands)
    assert (type(error), error.code, error.transient) == (HostFailedError, "sudo_password_wrong", False)
    assert error.message.endswith("sudo asks for the password again, and says: Sorry, try again.")
    assert lines(seen) == [SECRETS["WRONG"]]


async def test_prompt_of_others_is_not_answered(
    rig: Any, settings: TransportSettings, seen: Path, commands: list[asyncio.Task[Any]]
) -> None:
    """A module's own prompt, a second factor's say, gets no password and no end of input; the error quotes it."""
    ask = 'printf "Verification code: " >&2; read -r answer; echo "$answer" >> "$SEEN"; exit 1\n'
    async with rig(NEEDS_PASSWORD + ask, become_password=PASSWORD) as session:
        session.settings = type(settings)(sudo_timeout_s=2)
        error = await refusal(session)
        await asyncio.wait(commands)
    assert (error.code, error.exit_code, lines(seen)) == ("sudo_refused", 5, [])
    assert error.message.endswith("sudo did not answer within 2 s; it says: Verification code:")
    assert "passprompt_override" in (error.hint or "")


@pytest.mark.parametrize(
    ("sudo", "code", "words"),
    [
        pytest.param(
            NEEDS_PASSWORD, "sudo_needs_password", "a password is required", id="no password at hand"
        ),
        pytest.param(
            "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1",
            "sudo_refused",
            "must have a tty",
            id="requiretty",
        ),
        pytest.param(
            "echo 'miner is not in the sudoers file.' >&2; exit 1", "sudo_refused", "sudoers", id="no right"
        ),
        pytest.param("exit 1", "sudo_refused", "says: nothing", id="silent"),
        pytest.param(
            "printf '\\033[31mno\\007 way\\n' >&2; exit 1", "sudo_refused", "says: no way", id="harmless"
        ),
        pytest.param(None, "sudo_refused", "not found", id="not installed"),
        pytest.param(RS_NEEDS_PASSWORD, "sudo_needs_password", "authentication is required", id="sudo-rs"),
        pytest.param(
            "echo \"sudo-rs: I'm sorry miner. I'm afraid I can't do that\" >&2; exit 1",
            "sudo_refused",
            "sudo-rs: I'm sorry miner",
            id="no right by sudo-rs",
        ),
        pytest.param(
            'case "$*" in -n*) echo "sudo: ask me nicely" >&2; exit 1;; esac\n' + RS_ASK,
            "sudo_needs_password",
            "asks for a password",
            id="prompt after words that nobody knows",
        ),
    ],
)
async def test_refusals(rig: Any, sudo: str | None, code: str, words: str) -> None:
    """Each refusal has a code, sudo's own words, and a remedy."""
    async with rig(sudo) as session:
        error = await refusal(session)
    assert (error.code, error.exit_code, words in error.message, bool(error.hint)) == (code, 5, True, True)


async def test_sudo_that_never_answers(rig: Any, settings: TransportSettings) -> None:
    """A sudo that neither asks nor runs anything has a deadline of its own."""
    async with rig("exec sleep 30") as session:
        session.settings = type(settings)(sudo_timeout_s=0.3)
        error = await refusal(session)
    assert (error.code, "did not answer within 0.3 s" in error.message) == ("sudo_refused", True)


async def test_exit_status_is_the_commands(rig: Any) -> None:
    """A failure of the command itself is no refusal of sudo's."""
    async with rig(RUN) as session:
        completed = await session.run(Command(("sh", "-c", "exit 9"), timeout_s=20, idle_s=20))
    assert completed.exit_status == 9


async def test_root_who_may_start_nothing(rig: Any) -> None:
    """By noexec in sudoers root's shell starts, and every command that it would become is forbidden."""
    async with rig(RUN) as session:
        with pytest.raises(HostFailedError) as caught:
            await session.run(Command(("/etc/passwd",), timeout_s=20, idle_s=20))
        printed = await session.run(Command(("sh", "-c", "echo x; exit 126"), timeout_s=20, idle_s=20))
    assert (caught.value.code, "noexec" in (caught.value.hint or "")) == ("sudo_refused", True)
    assert "Permission denied" in caught.value.message
    assert printed == Completed(126, b"x\n", b"")


async def test_password_that_root_repeats_is_not_quoted(rig: Any) -> None:
    """The answer to sudo may stand in what comes after the marker, too."""
    repeats = Command(
        ("sh", "-c", f"echo 'cannot run {SECRETS['PASSWORD']}' >&2; exit 126"), timeout_s=20, idle_s=20
    )
    async with rig(NEEDS_PASSWORD + ASK + RUN, become_password=PASSWORD) as session:
        with pytest.raises(HostFailedError) as caught:
            await session.run(repeats)
    assert "runs no command: cannot run ***" in caught.value.message


# --- the dialogue by itself ------------------------------------------------------------------------------------------


def _dialogue() -> tuple[SudoDialogue, bytes, bytes]:
    """A dialogue with a password, its prompt and its root shell's answer."""
    dialogue = SudoDialogue(asks=True, password=lambda: "secret")
    argv = dialogue.wrap(("true",))
    return dialogue, argv[7].encode(), f"{argv[-2]}\n".encode()


def test_prompt_in_pieces_is_answered_once() -> None:
    """A prompt counts when all of it came."""
    dialogue, prompt, _ = _dialogue()
    replies = []
    for byte in prompt + b" ":
        assert dialogue.take_stderr(bytes([byte])) is None
        replies.append(dialogue.take_reply())
    assert replies == [None] * (len(prompt) - 1) + [b"secret\n", None]


def test_two_prompts_at_once_are_not_answered() -> None:
    """A host that asks twice in one breath gets no answer."""
    dialogue, prompt, _ = _dialogue()
    dialogue.take_stderr(b"lecture\n")
    with pytest.raises(HostFailedError, match="again"):
        dialogue.take_stderr(prompt + b"\n" + prompt)


def test_answer_in_pieces_opens_the_way() -> None:
    """The root shell's answer counts when all of it came; what was before it is noise, what follows is output."""
    dialogue, _, answer = _dialogue()
    stream = b"motd\n" + answer + b"out"
    assert [dialogue.take_stdout(stream[:20]), dialogue.take_stdout(stream[20:])] == [None, b"out"]


def test_noise_is_bounded() -> None:
    """A host that talks without end before the answer takes no memory for it."""
    dialogue, _, _ = _dialogue()
    for _ in range(100):
        assert dialogue.take_stdout(b"x" * 65536) is None
        assert dialogue.take_stderr(b"x" * 65536) is None
    assert (len(dialogue._root.stdout), len(dialogue._root.stderr)) == (65536, 65536)


def test_dialogue_shows_no_password() -> None:
    """Its repr names no secret."""
    dialogue, prompt, _ = _dialogue()
    dialogue.take_stderr(prompt)
    assert dialogue.take_reply() == b"secret\n"
    assert "secret\\n" not in repr(dialogue)


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_chatter_before_root_is_bounded(rig: Any, stream: str) -> None:
    """A login that prints without end is cut off like a command that does, long before any deadline."""
    async with rig(f"while :; do echo chatter; done >&{stream}\n") as session:
        assert (await refusal(session)).code == "output_limit"


# --- what sudo says --------------------------------------------------------------------------------------------------


def _told(text: str, exit_status: int = 1) -> HostFailedError:
    """The error for a sudo that shows the prompt, is answered, prints the text and ends."""
    dialogue, prompt, _ = _dialogue()
    dialogue.take_stderr(prompt)
    assert dialogue.take_reply() == b"secret\n"
    dialogue.take_stderr(text.encode())
    return dialogue.refusal(exit_status)


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        pytest.param("sudo: 1 incorrect password attempt\n", "sudo_password_wrong", "correct", id="one try"),
        pytest.param(
            "Sorry, try again.\nsudo: 3 incorrect password attempts\n",
            "sudo_password_wrong",
            "correct",
            id="three",
        ),
        pytest.param(
            "sudo-rs: maximum 3 incorrect authentication attempts\n",
            "sudo_password_wrong",
            "correct",
            id="sudo-rs 0.2.14",
        ),
        pytest.param(
            "miner is not in the sudoers file.\nThis incident has been reported to the administrator.\n",
            "sudo_refused",
            "allow this user",
            id="not in sudoers",
        ),
        pytest.param(
            "Sorry, user miner is not allowed to execute '/usr/bin/sh -c x' as root on rig-001.\n",
            "sudo_refused",
            "ALL commands",
            id="certain commands",
        ),
        pytest.param(
            'sudo: Account expired or PAM config lacks an "account" section for sudo, contact your system administrator\n',
            "sudo_refused",
            "renew the account",
            id="account expired",
        ),
        pytest.param(
            "sudo: Password expired, contact your system administrator\n",
            "sudo_refused",
            "new password",
            id="expired",
        ),
        pytest.param(
            "sudo: Account expired or PAM config lacks …\nsudo: a password is required\n",
            "sudo_refused",
            "renew the account",
            id="account expired, without a password",
        ),
        pytest.param(
            "sudo-rs: PAM error: User account has expired\n",
            "sudo_refused",
            "renew the account",
            id="by sudo-rs",
        ),
        pytest.param(
            "sudo-rs: PAM error: Permission denied\n",
            "sudo_password_wrong",
            "PAM forbids",
            id="faillock, sudo-rs",
        ),
        pytest.param("sudo: invalid option provided\n", "sudo_refused", "since 0.2.5", id="sudo-rs 0.2.2"),
        pytest.param("sudo: \n", "sudo_refused", "by hand", id="no words"),
    ],
)
def test_words_choose_code_and_hint(text: str, code: str, hint: str) -> None:
    """The wording of sudo 1.8 to 1.9 and of sudo-rs."""
    error = _told(text)
    assert (error.code, error.exit_code, hint in (error.hint or "")) == (code, 5, True)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="bare"),
        pytest.param("\nWe trust you have received the usual lecture. Password:\n\n", id="lecture"),
        pytest.param("\nWir gehen davon aus, dass der Systemadministrator …\n[sudo: ", id="sudo-rs"),
        pytest.param("The account is locked due to 3 failed logins.\n(9 minutes left to unlock)\n", id="PAM"),
    ],
)
def test_whatever_comes_before_the_prompt(before: str) -> None:
    """Only the prompt is answered, wherever on its line it stands."""
    dialogue, prompt, _ = _dialogue()
    dialogue.take_stderr(before.encode())
    assert dialogue.take_reply() is None
    dialogue.take_stderr(prompt)
    assert dialogue.take_reply() == b"secret\n"


def test_password_that_is_repeated_is_not_quoted() -> None:
    """Neither the end of a sudo that prints what it was given, nor its second prompt, nor its silence shows the password."""
    ended = _told("debug: got secret\n")
    again, prompt, _ = _dialogue()
    again.take_stderr(prompt)
    again.take_reply()
    with pytest.raises(HostFailedError) as caught:
        again.take_stderr(b"is secret yours?\n" + prompt)
    silent, prompt, _ = _dialogue()
    silent.take_stderr(prompt)
    silent.take_reply()
    silent.take_stderr(b"trying secret")
    assert [error.message for error in (ended, caught.value, silent.no_answer(30))] == [
        "sudo says: debug: got ***",
        "sudo asks for the password again, and says: is *** yours?",
        "sudo did not answer within 30 s; it says: trying ***",
    ]


def test_line_that_explains_is_quoted() -> None:
    """Not the last one, where that explains nothing; a sudo that asks for a new password is told from one that is silent."""
    dialogue, prompt, _ = _dialogue()
    dialogue.take_stderr(prompt)
    dialogue.take_reply()
    dialogue.take_stderr(
        b"sudo: Account or password is expired, reset your password and try again\nCurrent password: "
    )
    ended, silent = dialogue.refusal(1), dialogue.no_answer(30)
    assert (
        ended.message == "sudo says: sudo: Account or password is expired, reset your password and try again"
    )
    assert silent.message.endswith(
        "it says: sudo: Account or password is expired, reset your password and try again"
    )
    assert (silent.hint, silent.code) == (ended.hint, "sudo_refused")


def test_other_words_are_quoted_as_they_are() -> None:
    """Nothing is masked before the password was sent."""
    dialogue, _, _ = _dialogue()
    dialogue.take_stderr(b"no secret here\n")
    assert dialogue.refusal(1).message == "sudo says: no secret here"


@pytest.mark.parametrize("password", ["two\nlines", "two\r\nlines", "end\n"])
def test_password_of_several_lines_is_not_sent(password: str) -> None:
    """Its second line would answer the next prompt, or be the beginning of the payload."""
    dialogue = SudoDialogue(asks=True, password=lambda: password)
    dialogue.take_stderr(dialogue.wrap(("true",))[7].encode())
    with pytest.raises(HostFailedError, match="line breaks") as caught:
        dialogue.take_reply()
    assert (caught.value.code, dialogue.take_reply()) == ("sudo_password_wrong", None)


def test_password_in_another_encoding_is_sent_as_it_is() -> None:
    """Bytes that are no UTF-8 come from an environment as surrogates, and go as the bytes that they were."""
    dialogue = SudoDialogue(asks=True, password=lambda: b"gr\xfcn".decode("utf-8", "surrogateescape"))
    dialogue.take_stderr(dialogue.wrap(("true",))[7].encode())
    assert dialogue.take_reply() == b"gr\xfcn\n"


# --- a host that lies ------------------------------------------------------------------------------------------------


class Liar:
    """A host that answers in sudo's place: it refuses ``sudo -n`` and then does what its function says.

    ``heard`` is what it was sent in all.
    """

    def __init__(self, act: Callable[[Liar, asyncssh.SSHServerProcess[bytes]], Awaitable[None]]) -> None:
        self.heard = b""
        self._act = act

    async def __call__(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Handle a command."""
        command = process.command or ""
        self.login, self.root = (f"{word}\n".encode() for word in re.findall(r"ionetctl-start-\w+", command))
        prompts = re.findall(r"\[ionetctl \w+\]", command)
        if not prompts:
            process.stderr.write(self.login + b"sudo: a password is required\n")
            process.stdout.write(self.login)
            process.exit(1)
            return
        self.prompt = prompts[0].encode()
        await self._act(self, process)

    async def listen(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Note what is sent, until it ends."""
        with contextlib.suppress(asyncssh.SignalReceived):
            while data := await process.stdin.read(65536):
                self.heard += data


async def _harvest(liar: Liar, process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(liar.login + liar.prompt)
    process.stdout.write(liar.login)
    liar.heard += await process.stdin.readline()
    process.exit(0)


async def _show_root_then_prompt(liar: Liar, process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(liar.login)
    process.stdout.write(liar.login + liar.root)
    await process.stdout.drain()
    process.stderr.write(liar.prompt)
    await liar.listen(process)
    process.exit(0)


async def _prompt_before_the_login(liar: Liar, process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(liar.prompt + liar.login)
    process.stdout.write(liar.login)
    await liar.listen(process)


async def _prompt_twice(liar: Liar, process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(liar.login + liar.prompt + b"\n" + liar.prompt)
    await liar.listen(process)


async def _prompt_far_apart(liar: Liar, process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(liar.login + liar.prompt)
    liar.heard += await process.stdin.readline()
    process.stderr.write(b"x" * 100_000 + liar.prompt)
    await liar.listen(process)


async def _close_after_the_prompt(liar: Liar, process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(liar.login + liar.prompt)
    liar.heard += await process.stdin.readline()
    process.channel.get_connection().abort()


@pytest.mark.parametrize(
    ("act", "heard", "ending"),
    [
        pytest.param(_harvest, "P", "sudo_refused", id="takes it and ends"),
        pytest.param(_show_root_then_prompt, "payload ", 0, id="prompts in the payload"),
        pytest.param(_prompt_before_the_login, "", "sudo_refused", id="prompts before the login"),
        pytest.param(_prompt_twice, "", "sudo_password_wrong", id="prompts twice at once"),
        pytest.param(_prompt_far_apart, "P", "sudo_password_wrong", id="prompts again after noise"),
        pytest.param(_close_after_the_prompt, "P", "connection_lost", id="takes it and goes"),
    ],
)
async def test_host_that_lies(
    rig: Any,
    settings: TransportSettings,
    act: Callable[[Liar, asyncssh.SSHServerProcess[bytes]], Awaitable[None]],
    heard: str,
    ending: str | int,
) -> None:
    """The password at most once, the payload not before root's marker, and neither within the other."""
    liar = Liar(act)
    async with rig(None, become_password=PASSWORD, handler=liar) as session:
        session.settings = type(settings)(sudo_timeout_s=2)
        try:
            ended: str | int = (await session.run(WHO, stdin=b"payload ")).exit_status
        except HostError as error:
            ended, said = error.code, f"{error.message} {error.hint}"
        else:
            said = ""
    assert SECRETS["PASSWORD"] not in said
    assert (liar.heard.decode(), ended) == (heard.replace("P", SECRETS["PASSWORD"] + "\n"), ending)
