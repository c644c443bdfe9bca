"""Tables as kubectl and gh print them: no frame, one line a row, no trailing spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.ui import phrases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GAP: Final = 2


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], right: frozenset[str] = frozenset()
) -> Iterator[Text]:
    """The header and the rows as lines; columns named in ``right`` are right-aligned. Plain cells are sanitized."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(row[place].cell_len for row in cells)]) for place, name in enumerate(columns)]
    for row in [[Text(name, style="bold") for name in columns], *cells]:
        line = Text()
        for name, cell, width in zip(columns, row, widths, strict=True):
            line.append_text(_aligned(cell, width, is_right=name in right)).append(" " * GAP)
        line.rstrip()
        yield line


def _cell(cell: str | Text) -> Text:
    return Text(phrases.plain(cell)) if isinstance(cell, str) else cell


def _aligned(cell: Text, width: int, *, is_right: bool) -> Text:
    room = " " * (width - cell.cell_len)
    return Text.assemble(room, cell) if is_right else Text.assemble(cell, room)
