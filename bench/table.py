"""How benchmarks show what they found."""

from collections.abc import Iterable, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table


def milliseconds(seconds: Sequence[float]) -> str:
    """The median."""
    return f"{median(seconds) * 1000:.1f}"


def show(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; all columns but the first are numbers."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
