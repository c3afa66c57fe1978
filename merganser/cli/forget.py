"""`merganser forget`, `readmit`, `export`: what a person may ask for (docs/runbook.md#privacy)."""

import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import structlog
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from merganser.admin import export as exporting
from merganser.admin import forget as forgetting
from merganser.cli.terminal import err, fail, run
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)

Name = Annotated[
    str, typer.Argument(metavar="USER_OR_PROFILE", help="A userId, or the guid of a profile.")
]


@app.command()
def forget(
    name: Name,
    suppress: Annotated[
        bool,
        typer.Option(
            "--suppress/--no-suppress", help="Store no later event and no id of the person either."
        ),
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a person: events with their data, ids, profile, properties. It cannot be undone."""
    settings = Settings.read()
    person = run(forgetting.find(settings, name))
    if person is None:
        finished = run(forgetting.finish(settings))
        if finished is None:
            fail("nobody has this userId or guid of a profile; `merganser explain` takes any id")
        err.print(f"it is forgotten already; {finished:,} events that were left are erased now")
        return
    err.print(
        f"{person.profile}: {person.events:,} events and {person.anonymous_ids:,} anonymousIds",
        highlight=False,
    )
    if not yes:
        if not sys.stdin.isatty():
            fail("nobody is there to ask: look at the line above, then add --yes")
        typer.confirm("Erase all of it for good?", abort=True, err=True)
    logs.configure(settings, "forget")
    with _bar("erasing", person.events) as progress:
        erased = run(forgetting.forget(settings, person, progress, suppress=suppress))
    log.info(
        "person forgotten",
        profile=person.profile,
        by=_operator(),
        events=erased,
        anonymous_ids=person.anonymous_ids,
        suppressed=suppress,
    )


@app.command()
def readmit(
    name: Annotated[str, typer.Argument(metavar="ID", help="A userId or an anonymousId.")],
) -> None:
    """Store an id again that `forget` has suppressed."""
    settings = Settings.read()
    if not run(forgetting.readmit(settings, name)):
        fail("this id is not suppressed")
    logs.configure(settings, "readmit")
    log.info("id readmitted", by=_operator())


@app.command()
def export(name: Name) -> None:
    """Write everything that is held about a person, as JSON lines."""
    settings = Settings.read()
    person = run(forgetting.find(settings, name))
    if person is None:
        fail("nobody has this userId or guid of a profile; `merganser explain` takes any id")
    logs.configure(settings, "export")
    written = run(exporting.export(settings, person.profile, sys.stdout.write))
    log.info("person exported", profile=person.profile, by=_operator(), lines=written)


def _operator() -> str:
    """Who runs the command; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda done: progress.update(bar, completed=done)
