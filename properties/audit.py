"""The audit of properties: compute each from the events again and compare it with the stored one.

It is safe on a live system: it reads one snapshot and takes no lock. What the snapshot shows as
pending is counted and not compared: profiles with event changes, a rebuild or an expired window,
and rules whose backfill is running. Profiles that are set aside and broken rules are also only
counted, as nothing computes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from merganser.rulebook import property_store, rule_store
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind
from properties import store
from properties.rules.engine import Engine, ProfileState, day_of, ignore_skip
from properties.rules.event_view import EventView

_SQL = sql.load(__package__, "audit.sql")

CHUNK = 500
"""Profiles that are compared at once. Their events are read a few at a time."""

MAX_KEPT = 1000
"""Disagreements that a report has. It counts the others."""


@dataclass(frozen=True, slots=True)
class PropertyDisagreement:
    """A property whose stored values differ from those computed from the events."""

    profile: str
    key: str
    stored: list[str]
    expected: list[str]


@dataclass(frozen=True, slots=True)
class PropertyAuditReport:
    """The result of an audit."""

    profiles: int
    """Profiles that were compared."""
    pending: int
    """Profiles that were not compared, as changes were pending."""
    set_aside: int
    """Profiles that were not compared, as they are set aside."""
    backfilling: int
    """Rules that were not compared, as their backfill was running."""
    broken: int
    """Rules that were not compared, as they are not computed."""
    found: int
    """Number of disagreements."""
    disagreements: list[PropertyDisagreement]
    """The first `MAX_KEPT` of them."""


async def audit(
    connection: AsyncConnection[Any], now: datetime, on_progress: Callable[[float], None]
) -> PropertyAuditReport:
    """Compare all properties.

    Args:
        connection: in autocommit mode.
        now: gives the day in UTC, for rules with a window.
        on_progress: called with the completed fraction, from 0 to 1.
    """
    disagreements: list[PropertyDisagreement] = []
    compared, found, after = 0, 0, ""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        stored = await rule_store.read_all_rules(connection)
        engine = Engine(
            (rule.revision, rule.rule) for rule in stored.rules if rule.backfilled_to is None
        )
        await cursor.execute(_SQL["read_pending"], {"now": now})
        pending = {profile for (profile,) in await cursor.fetchall()}
        aside = await set_aside.read_subjects(connection, Kind.PROFILE)
        unsettled = pending | aside
        await cursor.execute(_SQL["estimate_profiles"])
        (total,) = await cursor.fetchone() or (0,)
        while True:
            await cursor.execute(_SQL["read_next_profiles"], {"after": after, "limit": CHUNK})
            user_ids = dict(await cursor.fetchall())
            if not user_ids:
                break
            after = max(user_ids)
            settled = {guid: user for guid, user in user_ids.items() if guid not in unsettled}
            different = await _compare(connection, engine, settled, day_of(now))
            found += len(different)
            disagreements += different[: MAX_KEPT - len(disagreements)]
            compared += len(settled)
            on_progress(compared / max(total, compared, 1))
        await cursor.execute(_SQL["read_orphans"], {"unsettled": list(unsettled)})
        orphans = [
            PropertyDisagreement(profile, key, [], []) for profile, key in await cursor.fetchall()
        ]
    return PropertyAuditReport(
        compared,
        len(pending - aside),
        len(aside),
        sum(rule.backfilled_to is not None for rule in stored.rules),
        len(stored.broken),
        found + len(orphans),
        [*disagreements, *orphans][:MAX_KEPT],
    )


async def _compare(
    connection: AsyncConnection[Any],
    engine: Engine,
    user_ids: dict[str, str | None],
    today: int,
) -> list[PropertyDisagreement]:
    states: dict[str, ProfileState] = {guid: engine.empty_state() for guid in user_ids}
    await _count(connection, engine, states, today)
    stored = await property_store.read_values(connection, user_ids, engine.keys)
    return [
        PropertyDisagreement(guid, key, actual, expected)
        for guid, user_id in user_ids.items()
        for key, expected in engine.compute_properties(states[guid], user_id).items()
        if (actual := stored.get((guid, key), [])) != expected
    ]


async def _count(
    connection: AsyncConnection[Any], engine: Engine, states: dict[str, ProfileState], today: int
) -> None:
    async with connection.cursor("audited_events") as cursor:
        await store.select_events(cursor, engine, states)
        async for profile, at, guid, type_, user_id, ip_address, data in cursor:
            event = EventView(at, guid, type_, user_id, ip_address, data or {})
            engine.count(states[profile], [event], today, ignore_skip)
