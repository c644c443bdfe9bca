"""Tables as kubectl and gh print them: no frame, one line a row, as wide as they need to be in a pipe."""

from __future__ import annotations

from rich.table import Table


def make_table(*columns: str, right: frozenset[str] = frozenset()) -> Table:
    """An empty table; columns named in ``right`` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
