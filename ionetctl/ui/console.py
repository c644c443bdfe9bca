"""Consoles for standard output and standard error: colour as configured, no markup, no wrapping in pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TextIO, cast

from rich.console import Console

from ionetctl.ui.stream import SurvivingStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

Color = Literal["auto", "always", "never"]

PIPE_WIDTH: Final = 10_000
"""Wide enough that no line is wrapped or cut where a program reads the output."""
MIN_WIDTH: Final = 20
"""The width used for a terminal that reports less; it wraps longer lines itself."""
LIVE_WIDTH: Final = 40
LIVE_HEIGHT: Final = 8
"""Below this size plain lines are used instead of a redrawn display."""


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


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print the lines: wrapped on a terminal, whole into pipes and files."""
    for line in lines:
        console.print(line, soft_wrap=not console.file.isatty())


def _color_system(color: Color) -> Literal["auto", "standard"] | None:
    wishes: dict[Color, Literal["auto", "standard"] | None] = {
        "auto": "auto",
        "always": "standard",
        "never": None,
    }
    return wishes[color]
