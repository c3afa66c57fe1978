"""Tables of the benchmarks' results."""

import sys
from collections.abc import Iterable, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

WIDTH = 160
"""Characters of a line if the output is not a terminal."""


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median in milliseconds as text."""
    return f"{median(seconds) * 1000:.1f}"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; all columns but the first are numbers, and only the last may wrap."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        last = number == len(columns) - 1
        table.add_column(column, justify="right" if number else "left", no_wrap=not last)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
