"""Consoles for standard output and standard error: colour as wished, markup off, no fixed width into pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TextIO, cast

from rich.console import Console

from ionetctl.ui.stream import SurvivingStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

Color = Literal["auto", "always", "never"]

PIPE_WIDTH: Final = 10_000
"""Wide enough that nothing is wrapped or cut where a program reads along."""
MIN_WIDTH: Final = 20
"""A terminal that claims less is taken to have this much; what does not fit wraps there."""
LIVE_WIDTH: Final = 40
LIVE_HEIGHT: Final = 8
"""Below these a redrawn display says less than plain lines do."""


def make_console(stream: TextIO | None, color: Color = "auto") -> Console:
    """A console on ``stream`` (``None``: closed already) that survives its reader and takes no text for markup."""
    surviving = SurvivingStream(stream)
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
    """Whether a live display makes sense: a real terminal with some room that can move its cursor."""
    return (
        console.file.isatty()
        and not console.is_dumb_terminal
        and console.width >= LIVE_WIDTH
        and console.height >= LIVE_HEIGHT
    )


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """The lines, wrapped where people read them and whole where programs do."""
    for line in lines:
        console.print(line, soft_wrap=not console.file.isatty())


def _color_system(color: Color) -> Literal["auto", "standard"] | None:
    wishes: dict[Color, Literal["auto", "standard"] | None] = {
        "auto": "auto",
        "always": "standard",
        "never": None,
    }
    return wishes[color]
