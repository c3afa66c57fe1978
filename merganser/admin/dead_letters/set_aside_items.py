"""Set-aside items: read, retry and drop them.

A record is handled by its letter (`letters.py`). It is an item only where the letter is deleted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from decoration import schedule
from merganser.admin.dead_letters.resolutions import Outcome
from merganser.identity.person_ids import PersonIds
from merganser.runtime import sql
from merganser.runtime.set_aside import Kind
from properties import store as properties

_SQL = sql.load(__package__, "set_aside_items.sql")


KIND_MEANING = {
    Kind.RECORD: "a Kafka record whose letter the dead-letter topic no longer has: drop it",
    Kind.ROW: "a row that another system inserted into events and that the scanner cannot resolve",
    Kind.MOVE: "events that a merge moves from this profile to another one",
    Kind.ERASURE: "events of an erased person, by the guid of the profile",
    Kind.PROFILE: "a profile whose properties cannot be computed from its events",
    Kind.VALUE: "a value that a company database returned for this profile",
}
PLACE_MEANING = {Kind.RECORD: "cluster", Kind.MOVE: "anonymousId", Kind.VALUE: "rule"}
"""What `SetAsideItem.place` is; other kinds have none."""


class ItemName(NamedTuple):
    """An operator's name for items, such as `row:evt_1` or `record:events/0/17`.

    Items that differ only in `place` share it.
    """

    kind: Kind
    subject: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class SetAsideItem:
    """An item that a process could not handle."""

    kind: Kind
    subject: str
    place: str
    reason: str
    attempts: int
    state: Literal["open", "retried", "dropped"]
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> ItemName:
        """The operator's name for it."""
        return ItemName(self.kind, self.subject)


@dataclass(frozen=True, slots=True)
class ItemSelection:
    """Which items: those that match every condition."""

    kinds: Collection[Kind]
    since: datetime | None = None
    """Failed last then or later."""
    until: datetime | None = None
    """Failed last before."""
    names: Collection[ItemName] | None = None
    """None: items with any name."""
    person: PersonIds | None = None
    """Items of this person's events or profile; None: all. Records are found by their letters."""
    newest: int | None = None
    """At most so many items, those that failed last; None: all."""


async def read_items(
    connection: AsyncConnection[Any], selection: ItemSelection, *, resolved: bool = False
) -> list[SetAsideItem]:
    """Return the selected items, the one that failed last at the end.

    Args:
        connection: in any state.
        selection: which items.
        resolved: return items that an operator retried or dropped, instead of open ones.
    """
    names, person = selection.names or (), selection.person
    cursor = await connection.execute(
        _SQL["read"],
        {
            "kinds": list(selection.kinds),
            "open": not resolved,
            "since": selection.since,
            "until": selection.until,
            "any_name": selection.names is None,
            "name_kinds": sql.texts(name.kind for name in names),
            "name_subjects": sql.texts(name.subject for name in names),
            "any_person": person is None,
            "user_ids": sql.texts(person.user_ids if person else ()),
            "anonymous_ids": sql.texts(person.anonymous_ids if person else ()),
            "profiles": sql.texts(person.profiles if person else ()),
            "newest": selection.newest,
        },
    )
    rows = await cursor.fetchall()
    return [SetAsideItem(Kind(kind), *columns) for kind, *columns in reversed(rows)]


async def retry_items(connection: AsyncConnection[Any], items: Sequence[SetAsideItem]) -> int:
    """Make the processes handle open items again.

    Args:
        connection: in a transaction, so that an item is stored as retried only if its process
            comes back to it.
        items: as `read_items` returned them, without records.

    Returns:
        How many were open until now.
    """
    # Lock in the decoration process's order: first its schedule, then set-aside items.
    values = [(item.subject, item.place) for item in items if item.kind is Kind.VALUE]
    await schedule.make_due(connection, values)
    retried = await _resolve(connection, items, "retried")
    profiles = [subject for kind, subject, _ in retried if kind == Kind.PROFILE]
    await properties.start_rebuilds(connection, profiles)
    return len(retried)


async def drop_items(connection: AsyncConnection[Any], items: Sequence[SetAsideItem]) -> int:
    """Store that open items are dropped; return how many were open until now."""
    return len(await _resolve(connection, items, "dropped"))


async def _resolve(
    connection: AsyncConnection[Any], items: Sequence[SetAsideItem], outcome: Outcome
) -> list[tuple[str, str, str]]:
    cursor = await connection.execute(
        _SQL["resolve"],
        {
            "state": outcome,
            "kinds": sql.texts(item.kind for item in items),
            "subjects": sql.texts(item.subject for item in items),
            "places": sql.texts(item.place for item in items),
        },
    )
    return await cursor.fetchall()
