"""What a login prints before a command runs, and logins that never come to it, over real SSH with real shells."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import HostError
from ionetctl.core.ports import Command, Completed
from ionetctl.facts.report_lines import APPLY_REPORTS, Ready, parse_report_line
from ionetctl.ssh.commands.start_marker import StartMarker
from tests.ssh.servers import Behaviour, connector, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncssh

    from ionetctl.ssh import SshSession, TransportSettings

CASES = Path(__file__).parents[2] / "data" / "cases"
READY = Command(
    ("sh", "-c", "printf 'ready\\tn0nce\\nrest'; echo reason >&2; exit 3"), timeout_s=20, idle_s=20
)
NOLOGIN = "echo This account is currently not available.\nexit 1\n"
NO_LIBRARY = """echo "fish: error while loading shared libraries: libpcre2-32.so.0: cannot open shared object file" >&2
exit 127
"""


@pytest.fixture
def login(
    settings: TransportSettings, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, identity: str
) -> Any:
    @asynccontextmanager
    async def connected(user: str, **behaviour: Any) -> AsyncIterator[SshSession]:
        async with (
            serve(Behaviour(authorized=[user_key], **behaviour), host_key) as server,
            connector(settings) as ways,
            ways.connect(server.host(identities=(identity,), user=user)) as session,
        ):
            yield session

    return connected


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param((CASES / "login-noise-no-newline" / "BASH_ENV").read_text(), id="case"),
        pytest.param("printf 'Welcome to rig-1'", id="text"),
        pytest.param("printf '\\033[H\\033[2J'", id="clear screen"),
        pytest.param("echo one; printf two; printf three >&2", id="both outputs"),
    ],
)
@pytest.mark.parametrize("user", ["root", "miner"])
async def test_noise_without_a_line_break_is_no_output(
    login: Any, tmp_path: Path, noise: str, user: str
) -> None:
    """What a start file prints, its last line unfinished, belongs to no line of the dialogue and to no output."""
    start_file = tmp_path / "bashrc"
    start_file.write_text(noise)
    lines: list[bytes] = []
    command = Command(READY.argv, 20, 20, as_root=user == "root")
    async with login(user, login_shell="/bin/bash", variables={"BASH_ENV": str(start_file)}) as session:
        completed = await session.run(command, on_line=lines.append)
    assert completed == Completed(3, b"ready\tn0nce\nrest", b"reason\n")
    assert [parse_report_line(line, APPLY_REPORTS) for line in lines] == [Ready("n0nce")]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(NOLOGIN, "status 1, and said: This account is currently not available.", id="nologin"),
        pytest.param(NO_LIBRARY, "status 127, and said: fish: error while loading shared", id="no library"),
        pytest.param("exit 1\n", "status 1, and said: nothing", id="false"),
        pytest.param(
            "echo Only backups here.\n", "status 0, and said: Only backups here.", id="ForceCommand"
        ),
    ],
)
@pytest.mark.parametrize("user", ["root", "miner"])
async def test_broken_login_shell_is_named(
    login: Any, tmp_path: Path, script: str, said: str, user: str
) -> None:
    """A login that ends before the command runs is no refusal of sudo's, and what it said is shown."""
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\n{script}")
    shell.chmod(0o755)
    async with login(user, login_shell=str(shell)) as session:
        with pytest.raises(HostError) as caught:
            await session.run(READY)
    assert (caught.value.code, caught.value.exit_code) == ("session_refused", 5)
    assert f"its login shell ended with {said}" in caught.value.message
    assert "the account's shell" in caught.value.hint


def test_marker_in_pieces_is_found() -> None:
    """The marker counts when all of it came; what was before it is kept for the message."""
    marker = StartMarker()
    text = f"{marker.wrap(('true',))[4]}\n".encode()
    stream = b"motd" + text + b"out"
    assert [marker.take_stdout(stream[:20]), marker.take_stdout(stream[20:])] == [None, b"out"]
    assert (marker.last_line(), marker.has_arrived) == ("motd", True)
