"""Commands as root: sudo in all its variants, imitated by a script on the server's PATH, over real SSH."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import HostError, HostFailedError
from ionetctl.core.ports import Command, Completed
from ionetctl.ssh.commands.sudo import SudoDialogue
from tests.ssh.servers import PASSWORD, SECRETS, WRONG, Behaviour, connector, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncssh

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
def rig(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
    seen: Path,
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
        behaviour = Behaviour(authorized=[user_key], path=str(programs))
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


async def test_wrong_password_for_sudo_rs_is_answered_once(rig: Any, seen: Path) -> None:
    """Its second prompt is what tells a wrong password."""
    async with rig(RS_NEEDS_PASSWORD + RS_ASK + RUN, become_password=WRONG) as session:
        assert (await refusal(session)).code == "sudo_password_wrong"
    assert [line for line in lines(seen) if line] == [SECRETS["WRONG"]]


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


async def test_wrong_password_is_answered_once(rig: Any, seen: Path) -> None:
    """A second prompt is not answered: one wrong password, one error."""
    async with rig(NEEDS_PASSWORD + ASK + RUN, become_password=WRONG) as session:
        error = await refusal(session)
    assert (type(error), error.code, error.transient) == (HostFailedError, "sudo_password_wrong", False)
    assert [line for line in lines(seen) if line] == [SECRETS["WRONG"]]


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
