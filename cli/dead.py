"""`merganser dead`: what is in the topic of dead letters, and what is to become of it."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cli import letter, times
from cli.database import connected
from cli.terminal import confirm, err, fail, out, run
from letters import desk, topic
from letters.desk import Entry, Retried, Survey
from letters.handled import Handled, Ledger
from letters.topic import Address, Found, Selection
from runtime import kafka
from runtime.settings import Settings
from schemas.dead_letter import Letter, Reason

app = typer.Typer(no_args_is_help=True, help="List, show, retry and drop dead letters.")

SHOWN = 100
"""Letters that a table lists."""


def _address(text: str) -> Address:
    if not (parts := re.fullmatch(r"(\d{1,9}):(\d{1,18})", text)):
        raise typer.BadParameter(f"{text!r} is no partition:offset, such as 0:17")
    return Address(int(parts[1]), int(parts[2]))


WHICH = "LETTER"
One = Annotated[
    Address, typer.Argument(metavar=WHICH, parser=_address, help="Its partition:offset.")
]
Several = Annotated[
    list[Address] | None,
    typer.Argument(metavar=f"[{WHICH}]...", parser=_address, help="Their partition:offset."),
]
Reasons = Annotated[
    list[Reason] | None,
    typer.Option("--reason", help="May be given several times."),
]
Since = Annotated[
    datetime | None,
    typer.Option(parser=times.given, metavar="TIME", help="Written then or later: a time, or 2h."),
]
Until = Annotated[
    datetime | None, typer.Option(parser=times.given, metavar="TIME", help="Written before.")
]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]


@app.command("list")
def list_(
    letters: Several = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    handled: Annotated[
        bool, typer.Option("--handled", help="Those that were retried or dropped instead.")
    ] = False,
    as_json: Annotated[
        bool | None,
        typer.Option("--json/--table", help="A line of JSON a letter; by default if piped."),
    ] = None,
) -> None:
    """List the letters that nobody has dealt with, and how many there are by reason."""
    survey = run(_survey(_selection(letters, reason, since, until)))
    entries = [entry for entry in survey.entries if entry.handled] if handled else survey.open
    if as_json if as_json is not None else not out.is_terminal:
        for entry in entries:
            typer.echo(json.dumps(_as_data(entry)))
    else:
        _show(entries)
    for found in survey.foreign[:SHOWN]:
        err.print(f"[yellow]{found.address} is no dead letter: {found.letter}", highlight=False)


@app.command()
def show(
    which: One,
    raw: Annotated[
        bool, typer.Option("--raw", help="Only the exact bytes of the value, for a file or pipe.")
    ] = False,
) -> None:
    """Show a letter: why it is here, and the record exactly as it was."""
    if (one := run(_found(which))) is None:
        fail(f"no letter is at {which}")
    found, handled = one
    if not isinstance(found.letter, Letter):
        err.print(f"[yellow]no dead letter: {found.letter}", highlight=False)
        raise typer.Exit(1)
    if raw:
        if found.letter.dropped:
            fail(letter.elsewhere(found.letter))
        sys.stdout.buffer.write(found.letter.value or b"")
        sys.stdout.buffer.flush()
        return
    letter.show(found, found.letter, handled)


@app.command()
def retry(
    letters: Several = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
) -> None:
    """Send records to the topic of events again, as they first came; open letters only."""
    entries = _chosen(_selection(letters, reason, since, until), everything=everything)
    retried = run(_retry(entries))
    err.print(f"[green]{retried.sent:,} sent again[/]{_otherwise(entries, retried)}")
    err.print("what fails again comes back as a letter of the next attempt")
    if retried.left:
        fail(
            f"{len(retried.left):,} are larger than the topic of events takes, and still open: "
            + ", ".join(map(str, retried.left[:SHOWN]))
        )


@app.command()
def drop(
    letters: Several = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Note that nothing is to be done about letters. They stay in their topic."""
    entries = _chosen(_selection(letters, reason, since, until), everything=everything)
    _show(entries)
    if entries:
        confirm(f"Drop {len(entries):,}?", yes=yes)
    err.print(f"[green]{run(_drop(entries)):,} dropped")


def _selection(
    letters: Sequence[Address] | None,
    reasons: Sequence[Reason] | None,
    since: datetime | None,
    until: datetime | None,
) -> Selection:
    return Selection(frozenset(reasons or ()), since, until, frozenset(letters or ()))


def _chosen(selection: Selection, *, everything: bool) -> list[Entry]:
    """The open letters to act on, which must have been asked for."""
    if everything == (selection != Selection()):
        fail("say which: LETTER, --reason, --since, --until; or --all, and nothing else")
    survey = run(_survey(selection))
    found = {entry.address for entry in survey.entries}
    if missing := sorted(selection.addresses - found):
        fail(
            f"not among the dead letters: {', '.join(map(str, missing))}. Of several letters "
            "of one record, `merganser dead list` shows the latest"
        )
    return survey.open


def _otherwise(entries: Sequence[Entry], retried: Retried) -> str:
    """What became of the others: another operator was quicker."""
    others = len(entries) - retried.sent - len(retried.left)
    return f", {others:,} were dealt with by somebody else meanwhile" if others else ""


def _show(entries: Sequence[Entry]) -> None:
    table = Table("letter", "written", "reason", "error", "origin", "attempt", "bytes", "")
    for entry in entries[-SHOWN:]:
        table.add_row(
            str(entry.address),
            f"{entry.at:%Y-%m-%d %H:%M:%S}Z",
            entry.letter.reason,
            escape(entry.letter.error),
            str(entry.letter.origin),
            str(entry.letter.attempt),
            f"{entry.size:,}",
            letter.state(entry.handled),
        )
    if entries:
        out.print(table)
    if len(entries) > SHOWN:
        out.print(f"and {len(entries) - SHOWN:,} earlier ones", highlight=False)
    counts = Counter(entry.letter.reason for entry in entries)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    out.print(f"{len(entries):,} letters" + (f": {by_reason}" if by_reason else ""))


def _as_data(entry: Entry) -> dict[str, Any]:
    return {
        "letter": str(entry.address),
        "at": entry.at.isoformat(),
        "reason": entry.letter.reason,
        "error": entry.letter.error,
        "failed": str(entry.letter.failed),
        "origin": str(entry.letter.origin),
        "attempt": entry.letter.attempt,
        "bytes": entry.size,
        "complete": not entry.letter.dropped,
        "outcome": entry.handled.outcome if entry.handled else None,
        "handledAt": entry.handled.at.isoformat() if entry.handled else None,
    }


async def _survey(selection: Selection) -> Survey:
    async with _ledger() as (settings, ledger):
        return await desk.survey(settings, ledger, selection)


async def _found(address: Address) -> tuple[Found, Handled | None] | None:
    async with _ledger() as (settings, ledger):
        selection = Selection(addresses=frozenset([address]))
        async for (found,) in topic.read(settings, selection):
            if not isinstance(found.letter, Letter):
                return found, None
            handled = await ledger.read([found.letter])
            return found, desk.done(found.letter, handled.get(found.letter.origin))
    return None


async def _retry(entries: Sequence[Entry]) -> Retried:
    async with _ledger() as (settings, ledger):
        producer = kafka.producer(settings, "dead", timeout=10)
        try:
            await producer.start()
            return await desk.retry(settings, ledger, producer, entries)
        finally:
            await asyncio.shield(producer.stop())


async def _drop(entries: Sequence[Entry]) -> int:
    async with _ledger() as (_, ledger):
        return await desk.drop(ledger, entries)


@asynccontextmanager
async def _ledger() -> AsyncIterator[tuple[Settings, Ledger]]:
    settings = Settings.read()
    cluster = await kafka.cluster_id(settings)
    async with await connected(settings, "dead") as connection:
        yield settings, Ledger(connection, cluster)
