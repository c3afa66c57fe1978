"""Deleting old events without touching identity, some thousands at a time.

The owners of anonymousIds, the profiles and the merges stay: `"anonymousIds"` keeps the time and
guid of the earliest link, so a later event finds the same owner when the link's event is gone.
`retention` remembers up to which time that may be so, and an audit believes those links.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.admin.database import transactions
from merganser.rulebook import rule_store
from merganser.runtime import sql
from merganser.runtime.settings import Settings

_SQL = sql.load(__package__, "prune.sql")

CHUNK = 5000
"""Events that one transaction looks at."""


class RuleBroken(Exception):
    """A rule is broken, so nothing says which events it needs; the argument is its key."""


class Place(NamedTuple):
    """Where in the order of all events."""

    occurred_at: datetime
    guid: str


START = Place(datetime(1, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a chunk did."""

    deleted: int
    kept: int
    """Old events that stay: of a type that is needed, or not resolved yet."""
    place: Place
    """Where the next chunk begins."""
    more: bool
    """Whether there is one."""


async def hold_rules(connection: AsyncConnection[Any]) -> None:
    """Keep the rules of properties as they are until the transaction ends."""
    await connection.execute(_SQL["hold_rules"])


async def remember(connection: AsyncConnection[Any], before: datetime) -> None:
    """Say that events older than this may go; to be committed before the first one goes."""
    await connection.execute(_SQL["remember"], {"before": before})


async def chunk(
    connection: AsyncConnection[Any],
    before: datetime,
    place: Place,
    needed: Collection[str],
    at_most: int,
    *,
    held_since: datetime | None = None,
    dry: bool = False,
    counted: bool = False,
) -> Pruned:
    """Look at the next old events and delete those that may go.

    Args:
        connection: in a transaction.
        before: what occurred earlier is old.
        place: where the last chunk ended.
        needed: types of events that stay.
        at_most: events to look at.
        held_since: the topic does not hold events that were created before; None: it holds all.
        dry: delete nothing, only count.
        counted: rules count some of what goes: the properties process is to hear of it.
    """
    values = {
        "before": before,
        "after_time": place.occurred_at,
        "after_guid": place.guid,
        "needed": list(needed),
        "at_most": at_most,
    }
    rows = await (await connection.execute(_SQL["old"], values)).fetchall()
    guids = [guid for _, guid, may_go in rows if may_go]
    if guids and not dry:
        if not counted:
            await connection.execute(_SQL["uncounted"])
        if held_since is not None:
            await connection.execute(_SQL["remember_deleted_since"], {"since": held_since})
        await connection.execute(_SQL["delete"], {"guids": guids})
    last = Place(*rows[-1][:2]) if rows else place
    return Pruned(len(guids), len(rows) - len(guids), last, len(rows) == at_most)


async def estimate(connection: AsyncConnection[Any], before: datetime) -> int:
    """About how many events are older."""
    cursor = await connection.execute(_SQL["estimate"], {"before": before})
    ((plan,),) = await cursor.fetchall()
    return int(plan[0]["Plan"]["Plan Rows"])


async def prune(
    settings: Settings,
    before: datetime,
    days: int,
    progress: Callable[[int, int], None],
    *,
    counted: bool,
    dry: bool,
) -> tuple[int, int, dict[str, list[str]]]:
    """Delete what is old, chunk by chunk.

    Args:
        settings: for the database.
        before: what occurred earlier is old.
        days: how old that is; a rule whose window is longer counts it.
        progress: told how many events were looked at, and how many there are, about.
        counted: whether events that rules count go, too.
        dry: delete nothing.

    Returns:
        How many events went, how many old ones stay, and which types rules count, by which rules.

    Raises:
        RuleBroken: nothing says which events a rule needs.
    """
    place, more = START, True
    held = settings.topic_holds
    held_since = None if held is None else datetime.now(UTC) - held
    deleted = kept = 0
    needed: dict[str, list[str]] = {}

    async def look(connection: AsyncConnection[Any]) -> Pruned:
        nonlocal needed
        await hold_rules(connection)
        applied = await rule_store.read(connection)
        if applied.broken and not counted:
            raise RuleBroken(applied.broken[0].key)
        needed = {} if counted else rule_store.needed(applied.rules, days)
        return await chunk(
            connection,
            before,
            place,
            needed,
            CHUNK,
            held_since=held_since,
            dry=dry,
            counted=counted,
        )

    async def note(connection: AsyncConnection[Any]) -> None:
        await remember(connection, before)

    async with transactions(settings, "prune") as transact:
        total = await transact(lambda connection: estimate(connection, before))
        if not dry:
            await transact(note)
        while more:
            done = await transact(look)
            place, more = done.place, done.more
            deleted, kept = deleted + done.deleted, kept + done.kept
            progress(deleted + kept, total)
    return deleted, kept, needed
