"""Set-aside items other than records: listed, tried again, dropped."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from merganser.runtime import sql
from merganser.runtime.set_aside import Kind
from properties import store as properties

State = Literal["open", "retried", "dropped"]

_SQL = sql.load(__package__, "set_aside_items.sql")


class Name(NamedTuple):
    """What an operator calls an item: `row:evt_1`. Items that differ in `place` alone share it."""

    kind: Kind
    subject: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Item:
    """An item that a process could not handle."""

    kind: Kind
    subject: str
    place: str
    reason: str
    attempts: int
    state: State
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> Name:
        """What an operator calls it."""
        return Name(self.kind, self.subject)


@dataclass(frozen=True, slots=True)
class ItemSelection:
    """Which items; those that match all that is given."""

    kinds: Collection[Kind]
    since: datetime | None = None
    until: datetime | None = None
    """By when they failed last."""
    names: Collection[Name] | None = None
    """None: whatever their name is."""


async def items(
    connection: AsyncConnection[Any], selection: ItemSelection, *, open_: bool = True
) -> list[Item]:
    """The selected items, the one that failed last at the end.

    Args:
        connection: to read with.
        selection: which.
        open_: those that nobody has dealt with; else those that were retried or dropped.
    """
    names = selection.names or ()
    cursor = await connection.execute(
        _SQL["items"],
        {
            "kinds": list(selection.kinds),
            "open": open_,
            "since": selection.since,
            "until": selection.until,
            "every": selection.names is None,
            "named": sql.texts(name.kind for name in names),
            "subjects": sql.texts(name.subject for name in names),
        },
    )
    return [Item(Kind(kind), *rest) for kind, *rest in await cursor.fetchall()]


async def retry(connection: AsyncConnection[Any], chosen: Sequence[Item]) -> int:
    """Have the processes try open items again; how many.

    In a transaction: an item that is noted as retried is also one that its process comes back to.
    """
    retried = await _put_state(connection, chosen, "retried")
    profiles = [subject for kind, subject, _ in retried if kind == Kind.PROFILE]
    await properties.begin_recounts(connection, profiles)
    return len(retried)


async def drop(connection: AsyncConnection[Any], chosen: Sequence[Item]) -> int:
    """Note that nothing is to be done about open items; how many."""
    return len(await _put_state(connection, chosen, "dropped"))


async def _put_state(
    connection: AsyncConnection[Any], chosen: Sequence[Item], state: State
) -> list[tuple[str, str, str]]:
    cursor = await connection.execute(
        _SQL["put_state"],
        {
            "state": state,
            "kinds": sql.texts(item.kind for item in chosen),
            "subjects": sql.texts(item.subject for item in chosen),
            "places": sql.texts(item.place for item in chosen),
        },
    )
    return await cursor.fetchall()
