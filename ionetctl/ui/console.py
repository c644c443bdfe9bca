"""Consoles for standard output and standard error: colour as configured, no markup, no wrapping in pipes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TextIO, cast

from rich.console import Console
from rich.text import Span, Text

from ionetctl.ui.stream import SurvivingStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import ConsoleOptions, RenderResult

Color = Literal["auto", "always", "never"]

PIPE_WIDTH: Final = 10_000
"""Wide enough that no line is wrapped or cut where a program reads the output."""
MIN_WIDTH: Final = 20
"""The width used for a terminal that reports less; it wraps longer lines itself."""
LIVE_WIDTH: Final = 40
LIVE_HEIGHT: Final = 8
"""Below this size plain lines are used instead of a redrawn display."""
_LABELS: Final = re.compile(r" *(?:[-+~*] |(?:\S+ {2,})*)")


def make_console(stream: TextIO | SurvivingStream | None, color: Color = "auto") -> Console:
    """A console on ``stream`` (``None``: already closed) that ignores a closed pipe and does not interpret markup."""
    surviving = stream if isinstance(stream, SurvivingStream) else SurvivingStream(stream)
    is_terminal = surviving.isatty()
    console = Console(
        file=cast("TextIO", surviving),  # all of a stream that rich uses
        force_terminal=True if color == "always" else None,
        color_system=_color_system(color),
        width=None if is_terminal else PIPE_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )
    if is_terminal and console.width < MIN_WIDTH:
        console.width = MIN_WIDTH
    return console


def can_redraw(console: Console) -> bool:
    """Whether a live display can be used: a terminal that is large enough and can move its cursor."""
    return (
        console.file.isatty()
        and not console.is_dumb_terminal
        and console.width >= LIVE_WIDTH
        and console.height >= LIVE_HEIGHT
    )


def print_lines(console: Console, lines: Iterable[Text | str]) -> None:
    """Print the lines: wrapped on a terminal, where further lines keep the indent; whole into pipes and files.

    A line with ``no_wrap`` (a command to be copied) is always printed whole.
    """
    width = console.width if console.file.isatty() else None
    texts = (Text(line) if isinstance(line, str) else line for line in lines)
    parts = (part for text in texts for part in _parts(text, console, width))
    console.print(_Lines(parts), soft_wrap=True)


def _parts(text: Text, console: Console, width: int | None) -> Iterable[Text]:
    return (text,) if width is None or text.no_wrap else _wrapped(text, console, width)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines as they are, printed at once: to print each by itself costs rich many times as much."""

    lines: Iterable[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            # ``render`` knows spans alone, and no tabs.
            whole = Text(line.plain, spans=[Span(0, len(line), line.style), *line.spans])
            if "\t" in line.plain:
                whole.expand_tabs(console.tab_size)
            yield from whole.render(console, end="\n")


def _wrapped(line: Text, console: Console, width: int) -> Iterator[Text]:
    """The line's parts that fit; what follows labels (words with two spaces behind) is wrapped behind them."""
    hang = cast("re.Match[str]", _LABELS.match(line.plain)).end()
    if line.cell_len <= width or hang > width // 2:
        hang = 0
    head, rest = (line[:hang], line[hang:]) if hang else (Text(), line)
    for part in rest.wrap(console, width - hang):
        part.rstrip()
        yield head + part
        head = Text(" " * hang)


def _color_system(color: Color) -> Literal["auto", "standard"] | None:
    wishes: dict[Color, Literal["auto", "standard"] | None] = {
        "auto": "auto",
        "always": "standard",
        "never": None,
    }
    return wishes[color]
