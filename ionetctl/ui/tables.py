"""Tables as kubectl and gh print them: no frame, one line a row, no trailing spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Span, Text

from ionetctl.ui import phrases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GAP: Final = 2
_GAP: Final = " " * GAP


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], right: frozenset[str] = frozenset()
) -> Iterator[Text]:
    """The header and the rows as lines; columns named in ``right`` are right-aligned. Plain cells are sanitized."""
    cells = [[phrases.plain(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [max([len(name), *(_width(row[place]) for row in cells)]) for place, name in enumerate(columns)]
    layout = [(width, name in right) for name, width in zip(columns, widths, strict=True)]
    yield _line([Text(name, style="bold") for name in columns], layout)
    for row in cells:
        yield _line(row, layout)


def _line(row: Sequence[str | Text], layout: Sequence[tuple[int, bool]]) -> Text:
    """The cells in their columns, each of a width and to the right or not; built at once, as there may be 10,000 lines."""
    plain, spans = "", []
    for cell, (width, is_right) in zip(row, layout, strict=True):
        room = " " * (width - _width(cell))
        if isinstance(cell, Text):
            begin = len(plain) + (len(room) if is_right else 0)
            spans += [Span(begin, begin + len(cell), cell.style), *(span.move(begin) for span in cell.spans)]
        plain += f"{room}{cell}{_GAP}" if is_right else f"{cell}{room}{_GAP}"
    line = Text(plain, spans=spans)
    line.rstrip()
    return line


def _width(cell: str | Text) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.cell_len
