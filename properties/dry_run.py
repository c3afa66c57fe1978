"""What a rule would give for one profile, and from which events: nothing is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection

from merganser.rulebook.language import Rule
from merganser.rulebook.values import DAY, LONGEST_VALUE
from merganser.runtime import sql
from properties.rules.engine import Counted, Rulebook, day_of
from properties.rules.event_view import Occurrence
from properties.rules.monoid import Skip

_SQL = sql.load(__package__, "dry_run.sql")

Outcome = Literal[
    "counted",
    "does not fit the type",
    "too long",
    "has no value",
    "filtered out",
    "too old",
]
_SKIPPED: dict[Skip, Outcome] = {
    Skip.UNFIT: "does not fit the type",
    Skip.LONG: "too long",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """One event of a type that the rule is about."""

    event: Occurrence
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rule gives for a profile."""

    profile: str
    user_id: str | None
    values: list[str]
    events: list[Tried]


async def trial(
    connection: AsyncConnection[Any], rule: Rule, name: str, now: datetime
) -> Trial | None:
    """Try a rule on a profile.

    Args:
        connection: to read with.
        rule: one over events, or the identifying one; it need not be applied.
        name: a profile's guid, a userId or an anonymousId.
        now: decides which day it is in UTC, for a rule with a window.

    Returns:
        None if nobody has that name.
    """
    cursor = await connection.execute(_SQL["profile"], {"name": name})
    found = await cursor.fetchone()
    if found is None:
        return None
    profile, user_id = found
    book, today = Rulebook([(0, rule)]), day_of(now)
    cursor = await connection.execute(
        _SQL["events"],
        {
            "profile": profile,
            "types": list(book.types),
            "keys": list(book.data_keys),
            "longest": LONGEST_VALUE,
        },
    )
    events = [
        Occurrence(at, guid, kind, user, ip_address, data or {})
        for at, guid, kind, user, ip_address, data in await cursor.fetchall()
    ]
    values = book.recount(events, today, user_id, lambda _key, _skip: None)[rule.key]
    return Trial(profile, user_id, values, _tried(book, events, today))


def _tried(book: Rulebook, events: Iterable[Occurrence], today: int) -> list[Tried]:
    return [
        Tried(event, _outcome(book, rule, event, today))
        for event in events
        for rule in book.counted
    ]


def _outcome(book: Rulebook, rule: Counted, event: Occurrence, today: int) -> Outcome:
    """Told by counting the event alone, so that it cannot differ from what counting does."""
    if not rule.meets(event):
        return "filtered out"
    state, skips = book.fresh(), list[Skip]()
    book.count(state, [event], today, lambda _, skip: skips.append(skip))
    if state[rule.revision] is not None:
        return "counted"
    if skips:
        return _SKIPPED[skips[0]]
    always = book.fresh()
    book.count(always, [event], event.at // DAY, lambda _key, _skip: None)
    return "has no value" if always[rule.revision] is None else "too old"
