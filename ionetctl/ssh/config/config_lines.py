"""The lines of OpenSSH configuration files: the options that ionetctl uses, split into arguments as OpenSSH splits them.

All other options are skipped, whatever they are set to. What an option means for a host is not known here.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from ionetctl.ssh.config.jump_list import parse_jumps
from ionetctl.ssh.patterns import PatternList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_SINGLE: Final = frozenset(
    {
        "canonicalizehostname",
        "certificatefile",
        "hostkeyalias",
        "hostname",
        "identitiesonly",
        "identityagent",
        "identityfile",
        "port",
        "tag",
        "user",
    }
)
"""Options that take one argument."""
_SEVERAL: Final = frozenset({"globalknownhostsfile", "host", "include", "match", "userknownhostsfile"})
_WHOLE: Final = frozenset({"proxycommand", "proxyjump"})
"""Options whose value is the rest of the line."""
_USED: Final = _SINGLE | _SEVERAL | _WHOLE

_WITH_ARGUMENT: Final = frozenset(
    {
        "command",
        "exec",
        "host",
        "localnetwork",
        "localuser",
        "originalhost",
        "sessiontype",
        "tagged",
        "user",
        "version",
    }
)
_WITHOUT_ARGUMENT: Final = frozenset({"all", "canonical", "final"})
_MAY_BE_EMPTY: Final = frozenset({"command", "tagged"})

_BLANK: Final = " \t\r\n"
_LINE: Final = re.compile(
    r"""
    [ \t\r]* (?: =[ \t\r]* )?
    (?: "(?P<quoted>[^"]*)" [ \t\r]*
      | (?P<plain>[^ \t\r"=]+) (?: [ \t\r]+ (?: =[ \t\r]* )? | =[ \t\r]* | $ )
    )
    (?P<rest>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE: Final = re.compile(
    r"""
    (?P<gap>[ \t]+)
    | (?P<plain>(?: [^ \t"'\\] | \\["'\\ ]? )++)
    | "(?P<double>(?: [^"\\] | \\["'\\]? )*+)"
    | '(?P<single>(?: [^'\\] | \\["'\\]? )*+)'
    | (?P<unclosed>["'])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\([\"'\\])")
_ESCAPED_PLAIN: Final = re.compile(r"\\([\"'\\ ])")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition of a ``Match`` line. Its argument, empty where it takes none, as text and as a list of patterns."""

    name: str
    argument: str
    patterns: PatternList
    is_negated: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One option: its keyword in lower case, and its arguments.

    The single argument of ``proxycommand`` and ``proxyjump`` is the rest of the line. A ``host`` line has ``patterns``,
    a ``match`` line ``criteria``.
    """

    keyword: str
    arguments: tuple[str, ...]
    where: str
    patterns: PatternList | None = None
    criteria: tuple[Criterion, ...] = ()


def parse_lines(text: str, path: str) -> Iterator[Line]:
    """The options of a file that ionetctl uses, in order.

    Raises ``ValueError``, with the place, where OpenSSH would refuse one of them.
    """
    for number, raw in enumerate(text.split("\n"), 1):
        found = _LINE.fullmatch(raw.partition("\0")[0].rstrip(_BLANK + "\f"))
        keyword = (found["quoted"] or found["plain"] or "").lower() if found else ""
        if found and keyword in _USED:
            where = f"{path} line {number}"
            try:
                yield _line(keyword, found["rest"], where)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error


def split_arguments(text: str) -> list[str]:
    """The arguments of a line, up to a comment: quotes and backslashes are read as OpenSSH reads them.

    Raises ``ValueError`` for a quotation mark that is not closed.
    """
    arguments: list[str] = []
    is_open = False
    for piece in _PIECE.finditer(text):
        kind, content = piece.lastgroup, piece[piece.lastgroup or 0]
        if kind == "gap":
            is_open = False
            continue
        if kind == "unclosed":
            raise ValueError("a quotation mark is not closed")
        if kind == "plain" and not is_open and content.startswith("#"):
            break
        content = (_ESCAPED_PLAIN if kind == "plain" else _ESCAPED).sub(r"\1", content)
        if is_open:
            arguments[-1] += content
        else:
            arguments.append(content)
        is_open = True
    return arguments


def parse_port(text: str) -> int:
    """The port that a number or the name of a service stands for. Raises ``ValueError``."""
    try:
        port = int(text) if text.isascii() and text.isdigit() else socket.getservbyname(text, "tcp")
    except OSError as error:
        raise ValueError(f"no port: {text!r}") from error
    if not 0 < port < 1 << 16:
        raise ValueError(f"no port: {text!r}")
    return port


def _line(keyword: str, rest: str, where: str) -> Line:
    arguments = split_arguments(rest)
    if not rest or (not arguments and keyword not in _SEVERAL) or ("" in arguments and keyword != "match"):
        raise ValueError(f"{keyword} lacks its argument")
    if keyword == "match":
        return Line(keyword, (), where, criteria=tuple(_criteria(arguments)))
    if keyword == "host":
        return Line(keyword, tuple(arguments), where, PatternList.of(arguments))
    if keyword == "proxycommand":
        return Line(keyword, (rest.lstrip(_BLANK + "="),), where)
    if keyword == "proxyjump":
        return Line(keyword, (_checked(parse_jumps, "".join(arguments).lstrip("=")),), where)
    if keyword in _SINGLE and len(arguments) > 1:
        raise ValueError(f"{keyword} takes one argument")
    if keyword == "port":
        _checked(parse_port, arguments[0])
    if keyword == "identitiesonly" and arguments[0].lower() not in ("yes", "no", "true", "false"):
        raise ValueError(f"{keyword} is neither yes nor no")
    return Line(keyword, tuple(arguments), where)


def _checked(parse: Callable[[str], object], text: str) -> str:
    parse(text)
    return text


def _criteria(arguments: Sequence[str]) -> Iterator[Criterion]:
    """The conditions of a ``Match`` line, each ``NAME``, ``NAME ARGUMENT`` or ``NAME=ARGUMENT``."""
    if not arguments:
        raise ValueError("match lacks its argument")
    words = iter(arguments)
    for number, word in enumerate(words):
        name, equals, argument = word.removeprefix("!").partition("=")
        name = name.lower()
        if name in _WITHOUT_ARGUMENT and not equals:
            argument = ""
        elif name not in _WITH_ARGUMENT:
            raise ValueError(f"Match has no condition {word!r}")
        elif not equals:
            argument = next(words, "" if name in _MAY_BE_EMPTY else "#")
        if argument.startswith("#") or (not argument and name in _WITH_ARGUMENT - _MAY_BE_EMPTY):
            raise ValueError(f"Match {name} lacks its argument")
        if name == "all" and (number > 1 or next(words, None) is not None):
            raise ValueError("Match all stands alone, or after final or canonical")
        if name == "localnetwork":
            for network in argument.split(","):
                ip_network(network)
        patterns = argument.lower() if name in ("host", "originalhost") else argument
        yield Criterion(name, argument, PatternList.of(patterns.split(",")), word.startswith("!"))
