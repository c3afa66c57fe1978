"""Output and input of commands: results on standard output, everything else on standard error."""

import asyncio
import getpass
import os
import re
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from merganser.admin.actions import Actor
from merganser.admin.errors import explain_error

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters and marks of direction, except tab and newline."""


class PlainTextConsole(Console):
    """A console on which the text of events cannot control the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text with a replacement character for each control character."""
        return super().render_str(_CONTROLS.sub("\ufffd", text), **options)


out = PlainTextConsole(emoji=False)
err = PlainTextConsole(emoji=False, stderr=True)

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run an operation and return its result; exit with a message if it fails as it may."""
    try:
        return asyncio.run(work)
    except Exception as error:
        if (message := explain_error(error)) is None:
            raise
        fail(message)


def fail(message: str) -> NoReturn:
    """Print an error message, which says what to do next, and exit with status 1."""
    err.print(f"[bold red]merganser:[/] {escape(message)}", highlight=False)
    sys.exit(1)


def is_interactive() -> bool:
    """Return whether a person can answer a question."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Exit unless a person confirms, or confirmed with `--yes`."""
    if yes:
        return
    if not is_interactive():
        fail(
            "this needs a confirmation, and standard input is not a terminal: check the output "
            "above, then add --yes"
        )
    typer.confirm(question, abort=True, err=True)


def operator() -> str:
    """Return the name of the user who runs the command, for logs."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def actor() -> Actor:
    """Return the user who runs the command, for the log of actions."""
    return Actor("cli", operator())


class UpdateProgress(Protocol):
    """Updates a progress bar."""

    def __call__(
        self, completed: float, total: float | None = None, description: str | None = None
    ) -> None:
        """Show how much is done; total and description stay as they are if they are None."""


@contextmanager
def progress_bar(description: str, total: float | None = None) -> Iterator[UpdateProgress]:
    """Show a progress bar on standard error for the length of a `with` block."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(description, total=total)

        def update(
            completed: float, total: float | None = None, description: str | None = None
        ) -> None:
            progress.update(task, completed=completed, total=total, description=description)

        yield update
