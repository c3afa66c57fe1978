"""`merganser dead`: what failed and was set aside, and what is to become of it."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from rich.markup import escape
from rich.table import Table

from decoration import schedule
from merganser.admin.database import connected
from merganser.admin.dead_letters import service, topic
from merganser.admin.dead_letters import set_aside_items as set_aside
from merganser.admin.dead_letters.resolutions import Handled, Ledger
from merganser.admin.dead_letters.service import Entry, Retried, Survey
from merganser.admin.dead_letters.set_aside_items import Item, ItemSelection, Name
from merganser.admin.dead_letters.topic import Address, Selection
from merganser.cli import aside, letter, times
from merganser.cli.terminal import confirm, err, fail, out, run
from merganser.runtime import kafka
from merganser.runtime.set_aside import Kind
from merganser.runtime.settings import Settings
from schemas.dead_letter import Letter, Reason

app = typer.Typer(no_args_is_help=True, help="List, show, retry and drop what failed.")

SHOWN = 100
"""Letters that a table lists."""


def _which(text: str) -> Address | Name:
    if parts := re.fullmatch(r"(\d{1,9}):(\d{1,18})", text):
        return Address(int(parts[1]), int(parts[2]))
    kind, _, subject = text.partition(":")
    if subject and kind in _ITEM_KINDS:
        return Name(Kind(kind), subject)
    raise typer.BadParameter(
        f"{text!r} is neither a dead letter (partition:offset, such as 0:17) nor a set-aside item "
        f"({', '.join(f'{kind}:GUID' for kind in _ITEM_KINDS)})"
    )


_ITEM_KINDS = [kind for kind in Kind if kind is not Kind.RECORD]

Which = Address | Name
One = Annotated[
    Any, typer.Argument(metavar="ITEM", parser=_which, help="As `list` names it: 0:17, row:evt_1.")
]
Several = Annotated[
    list[Any] | None,
    typer.Argument(metavar="[ITEM]...", parser=_which, help="As `list` names them."),
]
Kinds = Annotated[
    list[Kind] | None,
    typer.Option("--kind", help="record: dead letters. May be given several times."),
]
Reasons = Annotated[
    list[Reason] | None,
    typer.Option("--reason", help="Of dead letters. May be given several times."),
]
Since = Annotated[
    datetime | None,
    typer.Option(parser=times.given, metavar="TIME", help="Failed then or later: a time, or 2h."),
]
Until = Annotated[
    datetime | None, typer.Option(parser=times.given, metavar="TIME", help="Failed before.")
]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a command line selects: of the letters in the topic, and of the items in the table."""

    letters: Selection | None
    """None: no letters, so that Kafka need not answer."""
    items: ItemSelection

    @classmethod
    def of(
        cls,
        named: Sequence[Which] | None,
        kinds: Sequence[Kind] | None,
        reasons: Sequence[Reason] | None,
        since: datetime | None,
        until: datetime | None,
    ) -> "Choice":
        """What these arguments and options select together."""
        addresses = frozenset(one for one in named or () if isinstance(one, Address))
        names = [one for one in named or () if isinstance(one, Name)]
        wanted = set(kinds or Kind)
        if reasons:
            wanted &= {Kind.RECORD}
        if named and not addresses:
            wanted -= {Kind.RECORD}
        return cls(
            Selection(frozenset(reasons or ()), since, until, addresses)
            if Kind.RECORD in wanted
            else None,
            ItemSelection(sorted(wanted - {Kind.RECORD}), since, until, names if named else None),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a choice finds."""

    survey: Survey
    items: list[Item]


@app.command("list")
def list_(
    items: Several = None,
    kind: Kinds = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    handled: Annotated[
        bool, typer.Option("--handled", help="Those that were retried or dropped instead.")
    ] = False,
    as_json: Annotated[
        bool | None,
        typer.Option("--json/--table", help="A line of JSON an item; by default if piped."),
    ] = None,
) -> None:
    """List dead letters and set-aside items that nobody has dealt with."""
    found = run(_find(Choice.of(items, kind, reason, since, until), open_=not handled))
    entries = [e for e in found.survey.entries if e.handled] if handled else found.survey.open
    if as_json if as_json is not None else not out.is_terminal:
        for data in (*map(_as_data, entries), *map(aside.as_data, found.items)):
            typer.echo(json.dumps(data))
    else:
        _show(entries)
        aside.show_all(found.items)
    for foreign in found.survey.foreign[:SHOWN]:
        text = f"[yellow]{foreign.address} is not a dead letter: {foreign.letter}"
        err.print(text, highlight=False)


@app.command()
def show(
    which: One,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Only the exact bytes of a record's value, for a file or pipe."),
    ] = False,
) -> None:
    """Show a dead letter with the record exactly as it was, or a set-aside item."""
    if isinstance(which, Name):
        found = run(_find_all_of(which))
        if not found:
            fail(f"nothing is set aside as {which}: `merganser dead list` lists what is")
        for item in found:
            aside.show(item)
        return
    if (one := run(_letter(which))) is None:
        fail(f"no letter is at {which}")
    record, handled = one
    if not isinstance(record.letter, Letter):
        err.print(f"[yellow]not a dead letter: {record.letter}", highlight=False)
        raise typer.Exit(1)
    if raw:
        if record.letter.dropped:
            fail(letter.elsewhere(record.letter))
        sys.stdout.buffer.write(record.letter.value or b"")
        sys.stdout.buffer.flush()
        return
    letter.show(record, record.letter, handled)


@app.command()
def retry(
    items: Several = None,
    kind: Kinds = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
) -> None:
    """Try open items again: records go to the topic of events as they first came."""
    found = _chosen(Choice.of(items, kind, reason, since, until), everything=everything)
    retried = run(_retry(found.survey.open))
    again = run(_in_transaction(lambda connection: _retry_items(connection, found.items)))
    if found.survey.open or not found.items:
        others = _otherwise(found.survey.open, retried)
        err.print(f"[green]{retried.sent:,} sent again[/]{others}")
        err.print("what fails again comes back as a letter of the next attempt")
    if found.items:
        err.print(f"[green]{again:,} set-aside items are tried again[/] by their processes")
    if retried.left:
        fail(
            f"{len(retried.left):,} are larger than the topic of events takes, and still open: "
            + ", ".join(map(str, retried.left[:SHOWN]))
        )


@app.command()
def drop(
    items: Several = None,
    kind: Kinds = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Note that nothing is to be done about items. Letters stay in their topic."""
    found = _chosen(Choice.of(items, kind, reason, since, until), everything=everything)
    _show(found.survey.open)
    aside.show_all(found.items)
    if count := len(found.survey.open) + len(found.items):
        confirm(f"Drop {count:,}?", yes=yes)
    dropped = run(_drop(found.survey.open)) if found.survey.open else 0
    dropped += run(_in_transaction(lambda connection: set_aside.drop(connection, found.items)))
    err.print(f"[green]{dropped:,} dropped")


def _chosen(choice: Choice, *, everything: bool) -> Found:
    """The open items to act on, which must have been asked for."""
    if everything == (choice != Choice.of(None, None, None, None, None)):
        fail("say which: ITEM, --kind, --reason, --since, --until; or --all, and nothing else")
    found = run(_find(choice, open_=True))
    known = {str(entry.address) for entry in found.survey.entries}
    known |= {str(item.name) for item in found.items}
    named = {*(choice.letters.addresses if choice.letters else ()), *(choice.items.names or ())}
    if missing := sorted({str(one) for one in named} - known):
        fail(
            f"not open: {', '.join(missing)}. `merganser dead list` shows what is; of several "
            "letters of one record the latest"
        )
    return Found(Survey(found.survey.open, []), found.items)


def _otherwise(entries: Sequence[Entry], retried: Retried) -> str:
    """What became of the others: another operator was quicker."""
    others = len(entries) - retried.sent - len(retried.left)
    return f", {others:,} were dealt with by another operator meanwhile" if others else ""


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
        "kind": Kind.RECORD,
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


async def _find(choice: Choice, *, open_: bool) -> Found:
    survey = Survey([], [])
    if choice.letters is not None:
        async with _ledger() as (settings, ledger):
            survey = await service.survey(settings, ledger, choice.letters)
    async with await connected(Settings.read(), "dead") as connection:
        return Found(survey, await set_aside.items(connection, choice.items, open_=open_))


async def _find_all_of(name: Name) -> list[Item]:
    selection = ItemSelection([name.kind], names=[name])
    async with await connected(Settings.read(), "dead") as connection:
        return [
            *await set_aside.items(connection, selection),
            *await set_aside.items(connection, selection, open_=False),
        ]


async def _in_transaction(work: Callable[[AsyncConnection[Any]], Awaitable[int]]) -> int:
    async with await connected(Settings.read(), "dead") as connection, connection.transaction():
        return await work(connection)


async def _letter(address: Address) -> tuple[topic.Found, Handled | None] | None:
    async with _ledger() as (settings, ledger):
        selection = Selection(addresses=frozenset([address]))
        async for (found,) in topic.read(settings, selection):
            if not isinstance(found.letter, Letter):
                return found, None
            handled = await ledger.read([found.letter])
            return found, service.done(found.letter, handled.get(found.letter.origin))
    return None


async def _retry(entries: Sequence[Entry]) -> Retried:
    if not entries:
        return Retried()
    async with _ledger() as (settings, ledger):
        producer = kafka.producer(settings, "dead", timeout=10)
        try:
            await producer.start()
            return await service.retry(settings, ledger, producer, entries)
        finally:
            await asyncio.shield(producer.stop())


async def _retry_items(connection: AsyncConnection[Any], items: Sequence[Item]) -> int:
    # In the order in which the decoration process locks: what is due, then what is set aside.
    values = [(item.subject, item.place) for item in items if item.kind is Kind.VALUE]
    await schedule.make_due(connection, values)
    return await set_aside.retry(connection, items)


async def _drop(entries: Sequence[Entry]) -> int:
    async with _ledger() as (_, ledger):
        return await service.drop(ledger, entries)


@asynccontextmanager
async def _ledger() -> AsyncIterator[tuple[Settings, Ledger]]:
    settings = Settings.read()
    cluster = await kafka.cluster_id(settings)
    async with await connected(settings, "dead") as connection:
        yield settings, Ledger(connection, cluster)
