"""Tables on a terminal of any width: names and addresses stay whole, texts wrap between words.

`console.print_table` uses it. A table takes the first form that fits:

    columns          side by side, texts wrapped between words
    name on a line   the first column on a line of its own, the other columns below it
    records          each value on a line of its own, with its title; in a long table, long words are folded instead
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 2  # columns between two columns
_INDENT = 2
_SHORT = 20  # narrower cells do not wrap
_FOLDED = 24  # least width of a column of folded words
_MANY = 10  # rows, from which a table is long


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[Text]], *, width: int) -> Iterator[RenderableType]:
    """The table as lines and tables of at most `width` characters; only a name that is longer goes beyond."""
    widths = _fit(columns, rows, width)
    if widths is not None:
        yield _grid([_titles(columns), *rows], widths)
        return
    widths = _fit(columns[1:], [row[1:] for row in rows], width - _INDENT) if len(columns) > 2 else None
    if widths is None:
        folded = _fit(columns, rows, width, fold=True) if len(rows) > _MANY else None
        yield from [_grid([_titles(columns), *rows], folded)] if folded else _records(columns, rows, width)
        return
    yield Text(columns[0], style="bold")
    yield Padding(_grid([_titles(columns[1:])], widths), (0, 0, 0, _INDENT))
    for name, own in groupby(rows, key=lambda row: row[0]):
        yield name
        yield Padding(_grid([row[1:] for row in own], widths), (0, 0, 0, _INDENT))


def _fit(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int, *, fold: bool = False) -> list[int] | None:
    """The widths of the columns; None if a name, a short cell or a word would not stay whole.

    Args:
        fold: long words need not stay whole.
    """
    cells = [[title, *(row[index].plain for row in rows)] for index, title in enumerate(columns)]
    natural = [max(map(cell_len, column)) for column in cells]
    least = [
        longest
        if index == 0 or longest <= _SHORT
        else min(_FOLDED if fold else longest, max(cell_len(word) for cell in column for word in cell.split()))
        for index, (column, longest) in enumerate(zip(cells, natural, strict=True))
    ]
    room = width - _GAP * (len(columns) - 1)
    if sum(least) > room:
        return None
    widths = list(least)
    for index in sorted(range(len(columns)), key=lambda index: natural[index] - least[index]):
        still = [other for other in range(len(columns)) if widths[other] < natural[other]]
        if index in still:  # an equal part of what is left
            widths[index] += min(natural[index] - widths[index], (room - sum(widths)) // len(still))
    return widths


def _grid(rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> Table:
    table = Table.grid(padding=(0, _GAP, 0, 0))
    for width in widths:
        table.add_column(width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _titles(columns: Sequence[str]) -> list[Text]:
    return [Text(title, style="bold") for title in columns]


def _records(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> Iterator[RenderableType]:
    titles = max(map(cell_len, columns))
    room = max(1, width - titles - _GAP)
    for index, row in enumerate(rows):
        if index:
            yield Text()
        for title, cell in zip(columns, row, strict=True):
            if cell.plain and all(cell_len(word) <= room for word in cell.plain.split()):
                yield _grid([[Text(title, style="bold"), cell]], [titles, room])
            elif cell.plain:  # a word that is longer than the line: the terminal breaks it, and it can be copied whole
                yield Text.assemble((f"{title:{titles + _GAP}}", "bold"), cell)
