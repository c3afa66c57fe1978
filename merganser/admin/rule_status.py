"""The applied rules: what each is, how far it is, and how many profiles have its value."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from decoration import schedule
from decoration.schedule import MAX_DUE_COUNT
from decoration.source_status import SourceStatus, read_statuses
from merganser.admin.database import open_connection
from merganser.queries import profiles
from merganser.rulebook import rule_store
from merganser.rulebook.language import Rule
from merganser.rulebook.rule_store import Broken, StoredRule
from merganser.runtime import set_aside
from merganser.runtime.postgres import Connection
from merganser.runtime.set_aside import Kind
from merganser.runtime.settings import Settings
from properties.incremental import read_oldest_age
from properties.store import count_rebuilds

SAMPLE = 500
"""Profiles that a coverage is estimated from."""


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """All applied rules, and how far each is."""

    rules: list[StoredRule]
    broken: list[Broken]
    broken_sources: list[Broken]
    profiles: int
    """About how many profiles there are."""
    sources: Mapping[str, SourceStatus]
    """Sources that a decoration process has seen, by name."""
    staleness: float
    """Seconds since the oldest change that the properties do not have yet."""
    rebuilds: int
    """Profiles that wait for a rebuild."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many profiles have a value of each property."""

    counts: Mapping[str, int]
    """By key; without those that no profile has."""
    profiles: int
    """How many profiles were looked at."""
    is_complete: bool
    """Whether these are all profiles."""


class State(NamedTuple):
    """How a rule or source is doing."""

    kind: Literal["good", "waiting", "bad"]
    text: str


@dataclass(frozen=True, slots=True)
class DecorationState:
    """What the decoration process does for one profile and one source."""

    source: str
    due_at: datetime
    """When it queries the source next; the epoch means as soon as possible."""
    source_error: str | None
    """Why the source fails, if it does."""


@dataclass(frozen=True, slots=True)
class Decoration:
    """What the decoration process does for one profile."""

    states: list[DecorationState]
    set_aside: dict[str, str]
    """Why values could not be used, by the rule's key."""


async def list_rules(settings: Settings, now: datetime) -> RuleStatus:
    """Return what `read_status` returns."""
    async with open_connection(settings, "rules") as connection:
        return await read_status(connection, now)


async def read_status(connection: Connection, now: datetime) -> RuleStatus:
    """Return all rules and their state.

    Args:
        connection: to read with.
        now: the current time; it decides which profiles are due.
    """
    _, count = await rule_store.read_backfill_progress(connection)
    _, broken_sources = await rule_store.read_all_sources(connection)
    applied = await rule_store.read_all_rules(connection)
    return RuleStatus(
        applied.rules,
        applied.broken,
        broken_sources,
        count,
        await read_statuses(connection, now),
        await read_oldest_age(connection),
        await count_rebuilds(connection),
    )


async def measure_coverage(connection: Connection, keys: Collection[str]) -> Coverage:
    """Return how many profiles have a value of each property, among at most `SAMPLE` profiles."""
    sample = await profiles.read_sample(connection, SAMPLE)
    counts = await profiles.count_values(connection, sample.user_ids, keys)
    return Coverage(counts, len(sample.user_ids), sample.is_complete)


async def read_decoration(connection: Connection, guid: str, now: datetime) -> Decoration:
    """Return what the decoration process does for a profile.

    Args:
        connection: to read with.
        guid: of the profile.
        now: the current time.
    """
    due = await schedule.read_due(connection, guid)
    if not due:
        return Decoration([], {})
    sources = await read_statuses(connection, now)
    states = [
        DecorationState(name, at, sources[name].error if name in sources else None)
        for name, at in due.items()
    ]
    return Decoration(states, await set_aside.read_open_places(connection, Kind.VALUE, guid))


def describe_rule(rule: Rule) -> str:
    """Return a rule in one line."""
    return f"{rule.key}: {describe_type(rule)}, {describe_origin(rule)}"


def describe_type(rule: Rule) -> str:
    """Return the type of a rule's property, with what is special about it."""
    flags = [name for name in ("unique", "array", "identifying") if getattr(rule, name)]
    return " ".join([rule.type, *flags])


def describe_origin(rule: Rule) -> str:
    """Return where a rule's values come from."""
    if rule.query:
        return f"{rule.query.source}: {rule.query.column}"
    if rule.events is None:
        return "the userIds of events"
    definition = rule.events.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return ", ".join(_describe_events(definition))


def describe_state(stored: StoredRule, status: RuleStatus) -> State:
    """Return how far a rule is."""
    if stored.rule.query:
        return _describe_query_state(stored, status.sources.get(stored.rule.query.source))
    if stored.backfilled_to is None:
        return State("good", "up to date")
    count = max(status.profiles, stored.backfilled)
    return State("waiting", f"backfill: {stored.backfilled:,} of about {count:,}")


def _describe_query_state(stored: StoredRule, source: SourceStatus | None) -> State:
    if source is None or stored.revision not in source.revisions:
        return State("waiting", "waiting: does `merganser decoration` run?")
    if source.error:
        since = f"{source.failing_since:%Y-%m-%d %H:%M:%S}Z"
        return State("bad", f"failing since {since}: {source.error}")
    if error := source.rule_errors.get(stored.rule.key):
        return State("bad", error)
    if source.due or not source.scheduled:
        more = " or more" if source.due >= MAX_DUE_COUNT or not source.scheduled else ""
        return State("waiting", f"{source.due:,}{more} due")
    return State("good", "up to date")


def _describe_events(definition: dict[str, Any]) -> Iterator[str]:
    for name, value in definition.items():
        match name, value:
            case "filters", list():
                for condition in value:
                    yield " ".join(str(part) for part in condition.values())
            case (("from" | "to"), dict()):
                yield f"{name} {value.get('take', 'first')} {'|'.join(value['type'])}"
            case "type", list():
                yield "|".join(value)
            case "window", _:
                yield f"last {value} days"
            case _:
                yield str(value)
