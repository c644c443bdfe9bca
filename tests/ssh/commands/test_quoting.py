"""A command line survives every login shell that a host may have."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ionetctl.ssh.commands.quoting import command_line
from tests.support.programs import needs

ODD = (
    "two words",
    "it's",
    "$HOME `id` $(id)",
    "back\\slash\\\\n",
    "a\\",
    "line\nbreak\n",
    "!bang !!",
    "",
    "\t",
    "%s\\c",
    "日本 é",
)
SHELLS = (("sh",), ("bash",), ("dash",), ("busybox", "sh"), ("zsh",), ("fish",), ("tcsh",), ("csh",))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


def spoken(shell: tuple[str, ...], words: tuple[str, ...]) -> list[str]:
    """What a program gets whose command line goes through a login shell."""
    line = command_line(("printf", "%s\\0", *words))
    answer = subprocess.run([*shell, "-c", line], capture_output=True, check=True, timeout=20)
    return answer.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_words_survive(shell: tuple[str, ...]) -> None:
    """No shell splits, expands or alters a word."""
    needs(shell[0])
    assert spoken(shell, ODD) == list(ODD)


@settings(max_examples=30)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_any_words_survive(words: list[str]) -> None:
    """No text whatsoever means more than itself."""
    assert spoken(("sh",), tuple(words)) == words


def test_plain_words_stay_readable() -> None:
    """A command of plain words is sent as it is, for whoever reads the host's log."""
    assert command_line(("systemctl", "is-active", "nomad.service")) == "systemctl is-active nomad.service"


@pytest.mark.parametrize(
    "argv", [(), ("a\0b",), ("sh", "-c", "\n" * 120 * 1024)], ids=["empty", "NUL", "too long"]
)
def test_what_cannot_be_sent(argv: tuple[str, ...]) -> None:
    """What no host could take is a mistake of the caller's."""
    with pytest.raises(ValueError, match="command"):
        command_line(argv)
