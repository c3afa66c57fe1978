"""Delete old events, in chunks, without changing identity (`merganser prune`).

Profiles, merges and the owners of anonymousIds stay: `"anonymousIds"` keeps the time and guid of
the earliest link, so a later event finds the same owner although the link's event is deleted. The
table `retention` stores up to which time that may be so; an audit trusts those links.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_transactions
from merganser.admin.errors import AdminError
from merganser.identity import audit as identity
from merganser.rulebook import rule_store
from merganser.runtime import sql
from merganser.runtime.settings import Settings

_SQL = sql.load(__package__, "prune.sql")

CHUNK = 5000
"""Events that one transaction reads."""


class AgeOutOfRange(AdminError):
    """No event can be this old."""


class BrokenRuleBlocksPrune(AdminError):
    """A rule is broken, so the events that it counts are unknown."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What `prune_events` did, or would do."""

    before: datetime
    """Older events were old."""
    deleted: int
    kept: int
    """Old events that stay: a rule counts them, or they are not resolved yet."""
    rules: list[str]
    """Keys of the rules that count old events."""


class EventCursor(NamedTuple):
    """A place in the order of all events: by time, then by guid."""

    occurred_at: datetime
    guid: str


FIRST = EventCursor(datetime(1, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class _Chunk:
    deletable: list[str]
    """Guids of events."""
    kept: int
    cursor: EventCursor
    """Of the last event of the chunk."""
    has_more: bool


async def prune_events(
    settings: Settings,
    actor: Actor,
    days: int,
    now: datetime,
    progress: Callable[[int, int], None],
    *,
    include_counted: bool,
    dry_run: bool,
) -> PruneResult:
    """Delete old events with their data.

    Args:
        settings: the database's URL, and how long the topic holds records.
        actor: who deletes them.
        days: age from which events are old. A rule with a longer window counts them.
        now: the current time.
        progress: called with the number of events read so far and an estimate of all old events.
        include_counted: also delete events that rules count; properties then show what is left.
        dry_run: only count.

    Raises:
        AgeOutOfRange: so many days ago is before the year 1.
        BrokenRuleBlocksPrune: a rule is broken and `include_counted` is false.
    """
    try:
        before = now - timedelta(days=days)
    except OverflowError:
        raise AgeOutOfRange(f"no event is {days} days old: give fewer days") from None
    topic_holds_since = None if settings.topic_holds is None else now - settings.topic_holds
    rules_by_type: dict[str, list[str]] = {}

    async def set_pruned_before(connection: AsyncConnection[Any]) -> None:
        await identity.set_pruned_before(connection, before)

    async def prune_chunk(connection: AsyncConnection[Any]) -> _Chunk:
        nonlocal rules_by_type
        await connection.execute(_SQL["lock_rules"])
        if not include_counted:
            rules_by_type = await _read_counted_types(connection, days)
        chunk = await _read_chunk(connection, before, cursor, rules_by_type)
        if not dry_run:
            if not include_counted:
                await connection.execute(_SQL["skip_property_updates"])
            await _delete(connection, chunk.deletable, topic_holds_since)
        return chunk

    async with open_transactions(settings, "prune") as transact:
        total = await transact(lambda connection: _estimate(connection, before))
        if not dry_run:
            await transact(set_pruned_before)
        deleted, kept, cursor, has_more = 0, 0, FIRST, True
        while has_more:
            chunk = await transact(prune_chunk)
            cursor, has_more = chunk.cursor, chunk.has_more
            deleted, kept = deleted + len(chunk.deletable), kept + chunk.kept
            progress(deleted + kept, total)
        if not dry_run:
            subject, counts = f"events before {before:%Y-%m-%d}", {"deleted": deleted, "kept": kept}
            await transact(
                lambda connection: record_action(
                    connection, actor, "events pruned", subject=subject, counts=counts
                )
            )
    keys = {key for keys in rules_by_type.values() for key in keys}
    return PruneResult(before, deleted, kept, sorted(keys))


async def _read_counted_types(connection: AsyncConnection[Any], days: int) -> dict[str, list[str]]:
    """Return the event types that rules need at this age, each with the keys of these rules."""
    applied = await rule_store.read_all_rules(connection)
    if applied.broken:
        raise BrokenRuleBlocksPrune(
            f"the rule {applied.broken[0].key} is broken, so it is unknown which events it counts: "
            "run `merganser rules apply` again, or prune with --counted"
        )
    return rule_store.find_required_types(applied.rules, days)


async def _read_chunk(
    connection: AsyncConnection[Any],
    before: datetime,
    cursor: EventCursor,
    counted_types: Collection[str],
) -> _Chunk:
    values = {
        "before": before,
        "after_time": cursor.occurred_at,
        "after_guid": cursor.guid,
        "needed": list(counted_types),
        "at_most": CHUNK,
    }
    rows = await (await connection.execute(_SQL["next_old_events"], values)).fetchall()
    deletable = [guid for _, guid, may_delete in rows if may_delete]
    last = EventCursor(*rows[-1][:2]) if rows else cursor
    return _Chunk(deletable, len(rows) - len(deletable), last, len(rows) == CHUNK)


async def _delete(
    connection: AsyncConnection[Any], guids: list[str], topic_holds_since: datetime | None
) -> None:
    """Delete events with their data.

    Args:
        connection: in a transaction.
        guids: of the events.
        topic_holds_since: the topic holds no records of earlier events; None: it holds all.
    """
    if not guids:
        return
    if topic_holds_since is not None:
        await connection.execute(_SQL["remember_deleted_since"], {"since": topic_holds_since})
    await connection.execute(_SQL["delete_events"], {"guids": guids})


async def _estimate(connection: AsyncConnection[Any], before: datetime) -> int:
    cursor = await connection.execute(_SQL["estimate"], {"before": before})
    ((plan,),) = await cursor.fetchall()
    return int(plan[0]["Plan"]["Plan Rows"])
