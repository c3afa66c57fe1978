"""`merganser forget`, `readmit`, `export`: what a person may ask for (docs/runbook.md#privacy)."""

import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import structlog
import typer
from psycopg import AsyncConnection
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.database import connected
from cli.terminal import err, fail, run
from cli.work import Transact, transactions
from profiles import erasure, held
from profiles.erasure import Person
from properties import store as properties
from runtime import logs
from runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)

CHUNK = 2000
"""Events, or anonymousIds, of one transaction: it takes some tens of milliseconds."""

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
    person = run(_find(settings, name))
    if person is None:
        finished = run(_finish(settings))
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
        erased = run(forgotten(settings, person, progress, suppress=suppress))
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
    if not run(_readmit(settings, name)):
        fail("this id is not suppressed")
    logs.configure(settings, "readmit")
    log.info("id readmitted", by=_operator())


@app.command()
def export(name: Name) -> None:
    """Write everything that is held about a person, as JSON lines."""
    settings = Settings.read()
    person = run(_find(settings, name))
    if person is None:
        fail("nobody has this userId or guid of a profile; `merganser explain` takes any id")
    logs.configure(settings, "export")
    written = run(_export(settings, person))
    log.info("person exported", profile=person.profile, by=_operator(), lines=written)


async def _find(settings: Settings, name: str) -> Person | None:
    async with await connected(settings, "find") as connection:
        return await erasure.find(connection, name)


async def forgotten(
    settings: Settings, person: Person, progress: Callable[[int], None], *, suppress: bool
) -> int:
    """Forget a person in short transactions; how many events went."""

    async def suppressing(connection: AsyncConnection[Any]) -> list[str]:
        return await erasure.suppress(connection, person.profile, CHUNK)

    async def clearing(connection: AsyncConnection[Any]) -> bool:
        return await erasure.clear_way(connection, person.profile, visitors, CHUNK)

    async def forgetting_visitors(connection: AsyncConnection[Any]) -> None:
        await erasure.forget_visitors(connection, person.profile, visitors, suppressed=suppress)

    async def clearing_trail(connection: AsyncConnection[Any]) -> bool:
        return await erasure.clear_trail(connection, person.profile, CHUNK)

    async def forgetting(connection: AsyncConnection[Any]) -> None:
        await erasure.forget(connection, person.profile, suppressed=suppress)
        await properties.forget(connection, [person.profile])

    async with transactions(settings, "forget") as transact:
        while visitors := await transact(suppressing):
            while await transact(clearing):
                pass
            await transact(forgetting_visitors)
        while await transact(clearing_trail):
            pass
        await transact(forgetting)
        return await _erase(transact, progress) or 0


async def _erase(transact: Transact, progress: Callable[[int], None]) -> int | None:
    """Erase what is left of all who are forgotten; None when nothing was."""

    async def erasing(connection: AsyncConnection[Any]) -> int | None:
        profile = await erasure.next_erasure(connection)
        if profile is None:
            return None
        return await erasure.erase_chunk(connection, profile, CHUNK)

    total: int | None = None
    while (erased := await transact(erasing)) is not None:
        total = (total or 0) + erased
        progress(total)
    return total


async def _finish(settings: Settings) -> int | None:
    async with transactions(settings, "forget") as transact:
        return await _erase(transact, lambda _: None)


async def _readmit(settings: Settings, name: str) -> bool:
    async with await connected(settings, "readmit") as connection:
        return await erasure.readmit(connection, name)


async def _export(settings: Settings, person: Person) -> int:
    written = 0
    async with await connected(settings, "export") as connection:
        async for line in held.lines(connection, person.profile):
            sys.stdout.write(line + "\n")
            written += 1
    return written


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
