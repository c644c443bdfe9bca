"""The documentation says what the command line has, and nothing else."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer

from ionetctl.cli.app import app
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).parents[2]
CLI: Final = (ROOT / "docs" / "reference" / "cli.md").read_text()
EXIT_CODES: Final = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
UNLISTED: Final = {"--help"}
TOP: Final = {"--version", "--install-completion", "--show-completion", "--help"}
Options = dict[str, tuple[str, ...]]
"""Long name → every spelling and the environment variable."""


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from walk(below, (*path, name))


COMMANDS: Final = dict(walk(typer.main.get_command(app), ("ionetctl",)))


def options_of(command: Any) -> Options:
    """The options that a command really has."""
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    found = {}
    for option in options:
        name = next(spelling for spelling in option.opts if spelling.startswith("--"))
        if name not in UNLISTED:
            found[name] = (*sorted(option.opts), str(option.envvar))
    return found


def section(title: str, level: str = "##") -> str:
    """The text below a heading."""
    found = re.search(rf"^{level} {re.escape(title)}$(.*?)(?=^##|\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def options_in(text: str) -> Options:
    """The options that tables list."""
    found = {}
    for spelled, variable in re.findall(r"^\| (`-[^|]*(?:\\\|[^|]*)*) \| `(\w+)` \|", text, re.MULTILINE):
        spellings = sorted(re.findall(r"`(--?[\w-]+)", spelled))
        name = next(spelling for spelling in spellings if spelling.startswith("--"))
        found[name] = (*spellings, variable)
    return found


COMMON: Final = options_in(section("Common options"))
HEADINGS: Final = dict(re.findall(r"^### `((?:ionetctl)(?: [a-z]+)+)([^`]*)`$", CLI, re.MULTILINE))


def test_every_command_has_a_heading_and_every_heading_a_command() -> None:
    """No command is undocumented, and none is documented that does not exist."""
    assert sorted(HEADINGS) == sorted(" ".join(path) for path in COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_options_are_documented_as_they_are(path: tuple[str, ...]) -> None:
    """A command's table and its list of common options are together what it takes, spelling and variable too."""
    name = " ".join(path)
    text = section(f"`{name}{HEADINGS[name]}`", "###")
    listed = re.search(r"^Common options: (.*)$", text, re.MULTILINE)
    common = re.findall(r"`(--[\w-]+)`", listed[1]) if listed else []
    assert options_in(text) | {option: COMMON[option] for option in common} == options_of(COMMANDS[path])


def test_every_option_has_its_environment_variable() -> None:
    """Each option can be set by a variable that begins with IONETCTL_."""
    variables = {spelled[-1] for command in COMMANDS.values() for spelled in options_of(command).values()}
    assert [variable for variable in sorted(variables) if not variable.startswith("IONETCTL_")] == []


def test_arguments_are_documented() -> None:
    """Headings name the arguments in order."""
    expected = {
        " ".join(path): [
            parameter.metavar for parameter in command.params if parameter.param_type_name == "argument"
        ]
        for path, command in COMMANDS.items()
    }
    assert {name: words.split() for name, words in HEADINGS.items()} == expected


def test_exit_codes_are_documented() -> None:
    """The table lists every exit code there is, once, and no other."""
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", EXIT_CODES, re.MULTILINE)]
    assert codes == sorted(int(code) for code in ExitCode)


def shown(text: str) -> Iterator[list[str]]:
    """Every command line in the fenced blocks of a text, as a shell would split it."""
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^\s*(?:\$ )?(?:\w+=\S* )*(ionetctl .*)$", block, re.MULTILINE):
            words = shlex.split(line, comments=True)
            end = min((words.index(sign) for sign in (">", "|", "&&") if sign in words), default=None)
            yield words[:end]


def mentioned(text: str) -> Iterator[list[str]]:
    """Every command line that a text shows or names between its words, without what follows a pipe."""
    for found in re.findall(r"`(ionetctl [^`]+)`", text):
        line = re.split(r" \| |  | #|; | && |\\\|", found)[0]
        yield shlex.split(line.replace("…", ""), posix=False)
    yield from shown(text)


def lines_of_documents(find: Callable[[str], Iterator[list[str]]]) -> list[Any]:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        pytest.param(words, id=f"{path.name}: {' '.join(words)}")
        for path in documents
        for words in find(path.read_text())
    ]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command, or group, that a command line names, and the words behind its name."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while rest and hasattr(command, "commands") and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    return command, rest


def untypable(words: list[str]) -> list[str]:
    """The words of a command line that ionetctl does not have."""
    command, rest = find_command(words)
    is_group = hasattr(command, "commands")
    known = {spelling for parameter in command.params for spelling in parameter.opts} | TOP | {"-h"}
    wrong = [word for word in rest if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    if is_group and rest and not rest[0].startswith("-") and not rest[0].isupper():
        wrong.append(rest[0])
    return wrong


@pytest.mark.parametrize("words", lines_of_documents(mentioned))
def test_mentioned_command_lines_exist(words: list[str]) -> None:
    """Whatever README and docs show can be typed: the command is there, and so are its options."""
    assert untypable(words) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ionetctl enrol x.yaml", ["enrol"]),
        ("ionetctl enroll x.yaml --yess", ["--yess"]),
        ("ionetctl inventory import x", ["import"]),
        ("ionetctl status --watch", []),
    ],
)
def test_what_cannot_be_typed_would_be_found(line: str, expected: list[str]) -> None:
    """The check above does find commands and options that do not exist."""
    assert untypable(line.split()) == expected


def parse(words: list[str]) -> None:
    """Has the command line parsed and does not run it; raises ``typer.BadParameter`` for a wrong or missing value."""
    command, rest = find_command(words)
    assert not hasattr(command, "commands"), f"{words} names no command"
    command.make_context(" ".join(words), rest)


@pytest.mark.parametrize("words", lines_of_documents(shown))
def test_shown_command_lines_parse(words: list[str]) -> None:
    """What a fenced block shows is complete: arguments are there, and values are of their kind."""
    parse(words)


@pytest.mark.parametrize("line", ["ionetctl enroll", "ionetctl enroll x.yaml --concurrency many"])
def test_what_does_not_parse_would_be_found(line: str) -> None:
    """The check above does find missing arguments and wrong values."""
    with pytest.raises(typer.BadParameter):
        parse(line.split())
