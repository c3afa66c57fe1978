"""The dry run of rules over events: what they give for one profile. Nothing is written."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection

from merganser.rulebook.language import Rule
from merganser.rulebook.profile_lookup import find_profile
from merganser.rulebook.values import DAY
from properties import store
from properties.rules.engine import Engine, EventRule, day_of, ignore_skip
from properties.rules.event_view import EventView, SkipReason

Outcome = Literal[
    "counted",
    "does not fit the type",
    "too long",
    "has no value",
    "filtered out",
    "too old",
]
_SKIPPED: dict[SkipReason, Outcome] = {
    SkipReason.UNFIT: "does not fit the type",
    SkipReason.TOO_LONG: "too long",
}


FETCH_ROWS = 250
"""Events that are fetched and counted at once."""


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What the rule does with one event of its types."""

    event: EventView
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class EventRuleDryRun:
    """What the rule gives for a profile."""

    profile: str
    user_id: str | None
    values: list[str]
    events: list[EventOutcome]


async def dry_run_event_rule(
    connection: AsyncConnection[Any], rule: Rule, any_id: str, now: datetime
) -> EventRuleDryRun | None:
    """Compute a rule for one profile.

    Args:
        connection: to read with.
        rule: a rule over events, or the identifying rule. It need not be applied.
        any_id: a profile's guid, a userId or an anonymousId.
        now: gives the day in UTC, for a rule with a window.

    Returns:
        The values and the outcome of each event, or None if no profile has the id.
    """
    found = await find_profile(connection, any_id)
    if found is None:
        return None
    profile, user_id = found
    engine, today = Engine([(0, rule)]), day_of(now)
    cursor = connection.cursor()
    await store.select_events(cursor, engine, [profile])
    by_profile = store.group_by_profile(await cursor.fetchall())
    events = sorted(by_profile.get(profile, []), key=lambda event: (event.at, event.guid))
    values = engine.compute_from_events(events, today, user_id, ignore_skip)[rule.key]
    outcomes = [
        EventOutcome(event, _outcome(engine, event_rule, event, today))
        for event in events
        for event_rule in engine.event_rules
    ]
    return EventRuleDryRun(profile, user_id, values, outcomes)


@dataclass(frozen=True, slots=True)
class ProfileDryRun:
    """What rules give for a profile."""

    values: dict[str, list[str]]
    """By the rules' keys."""
    skipped: Counter[tuple[str, SkipReason]] = field(default_factory=Counter)
    """How many values each rule skips, and why."""


async def dry_run_profile(
    connection: AsyncConnection[Any],
    engine: Engine,
    profile: tuple[str, str | None],
    today: int,
    max_events: int,
    deadline: float,
) -> ProfileDryRun | None:
    """Compute all rules for one profile, as the properties process does.

    Args:
        connection: in a transaction.
        engine: the rules.
        profile: guid and userId.
        today: the day in UTC, in days since 1970.
        max_events: the most events of the profile.
        deadline: when to give up, as `time.monotonic` counts.

    Returns:
        None if the profile has more events, or if the time is over.

    Raises:
        RuleError: a rule fails.
    """
    guid, user_id = profile
    if await store.count_events(connection, guid, max_events + 1) > max_events:
        return None
    state, result = engine.empty_state(), ProfileDryRun({})

    def on_skip(key: str, reason: SkipReason) -> None:
        result.skipped[key, reason] += 1

    async with connection.cursor("dry_run") as cursor:
        await store.select_events(cursor, engine, [guid])
        while rows := await cursor.fetchmany(FETCH_ROWS):
            if time.monotonic() > deadline:
                return None
            events = store.group_by_profile(rows)[guid]
            # In a thread: with many rules this would stop all other requests of the process.
            await asyncio.to_thread(engine.count, state, events, today, on_skip)
    result.values.update(engine.compute_properties(state, user_id))
    return result


def find_outcome(rule: Rule, event: EventView, now: datetime) -> Outcome | None:
    """Return what a rule does with one event; None if it does not count events of this type."""
    if rule.events is None or event.type not in rule.events.types:
        return None
    engine, today = Engine([(0, rule)]), day_of(now)
    outcomes = [_outcome(engine, event_rule, event, today) for event_rule in engine.event_rules]
    return outcomes[0] if outcomes else None


def _outcome(engine: Engine, rule: EventRule, event: EventView, today: int) -> Outcome:
    """Count the event alone, so that the outcome cannot differ from real counting."""
    if not rule.passes_filters(event):
        return "filtered out"
    state, skips = engine.empty_state(), list[SkipReason]()
    engine.count(state, [event], today, lambda _, skip: skips.append(skip))
    if state[rule.revision] is not None:
        return "counted"
    if skips:
        return _SKIPPED[skips[0]]
    on_its_day = engine.empty_state()
    engine.count(on_its_day, [event], event.at // DAY, ignore_skip)
    return "has no value" if on_its_day[rule.revision] is None else "too old"
