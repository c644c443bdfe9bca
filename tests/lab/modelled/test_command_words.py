"""What a modelled host takes an SSH command line for: the product's own lines, and others."""

from __future__ import annotations

import pytest

from ionetctl.lab.modelled.command_words import CommandWords, read_command
from ionetctl.remote import probe_script, receive_script
from ionetctl.ssh.commands.quoting import command_line
from ionetctl.ssh.commands.start_marker import StartMarker
from ionetctl.ssh.commands.sudo import SudoDialogue

COMMANDS = (
    ("sh", "-s", "--", "n" * 32, "127.0.0.1:4647,localhost:4647", "/etc/nomad.d/nomad.hcl"),
    ("sh", "-c", probe_script(), "ionet-probe", "n" * 32),
    (
        "sh",
        "-c",
        receive_script(),
        "sh",
        "n" * 32,
        "rollout",
        "me@here's",
        "2026-01-01T00:00:00Z",
        "10240",
        "-",
    ),
)


@pytest.mark.parametrize("words", COMMANDS)
def test_our_commands_are_read_through_every_wrapper(words: tuple[str, ...]) -> None:
    """Start marker, sudo, root's marker, quoting and encoding: what is left are the words, and both markers in their order."""
    outer, sudo = StartMarker(), SudoDialogue(asks=False)
    line = command_line(outer.wrap(sudo.wrap(words)))
    read = read_command(line)
    assert (read.words, read.is_sudo, len(set(read.markers))) == (words, True, 2)
    assert read.markers[0] == outer.wrap(())[4]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cat /proc/sys/kernel/random/boot_id", CommandWords(("cat", "/proc/sys/kernel/random/boot_id"))),
        ("sudo -n -p 'a prompt' -- id -u", CommandWords(("id", "-u"), is_sudo=True)),
        ("sh -c 'echo hello' sh", CommandWords(("sh", "-c", "echo hello", "sh"))),
        (
            """sh -c 'eval "$1"; exec "$@"' sh id""",
            CommandWords(("sh", "-c", 'eval "$1"; exec "$@"', "sh", "id")),
        ),
    ],
)
def test_other_lines_are_left_as_they_are(line: str, expected: CommandWords) -> None:
    """Only what is known to change nothing is passed over."""
    assert read_command(line) == expected
