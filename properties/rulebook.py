"""The rules as Postgres keeps them: read, compared with a file, and replaced by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from properties.rules import Rule, RuleFile, Source
from runtime import sql

_SQL = sql.load(__package__, "rulebook.sql")


@dataclass(frozen=True, slots=True)
class Stored:
    """A rule that applies."""

    revision: int
    rule: Rule
    applied_at: datetime
    backfilled_to: str | None
    """The profiles up to this guid have the property; None when all have."""
    backfilled: int
    """Profiles that the backfill has done."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a file would change, by key."""

    added: tuple[Rule, ...]
    changed: tuple[tuple[Rule, Rule], ...]
    """Before and after."""
    removed: tuple[Rule, ...]
    unchanged: tuple[Rule, ...]
    sources: bool
    """Whether the sources differ."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.sources)


async def rules(connection: AsyncConnection[Any]) -> list[Stored]:
    """The rules, by key."""
    cursor = await connection.execute(_SQL["rules"])
    return [
        Stored(revision, Rule.model_validate(definition), applied_at, backfilled_to, backfilled)
        for revision, definition, applied_at, backfilled_to, backfilled in await cursor.fetchall()
    ]


async def sources(connection: AsyncConnection[Any]) -> dict[str, Source]:
    """The company's databases, by name."""
    cursor = await connection.execute(_SQL["sources"])
    return {name: Source.model_validate(source) for name, source in await cursor.fetchall()}


async def backfill(connection: AsyncConnection[Any]) -> tuple[int, int, int]:
    """How many profiles the backfill of new rules has done (-1: there is none), of about how many.

    And how many profiles wait to be counted again, whatever for.
    """
    cursor = await connection.execute(_SQL["backfill"])
    done, profiles, pending = await cursor.fetchone() or (-1, 0, 0)
    return done, max(profiles, 0), pending


def compare(stored: Sequence[Stored], known: dict[str, Source], file: RuleFile) -> Difference:
    """What applying the file would change."""
    before = {one.rule.key: one.rule for one in stored}
    after = {rule.key: rule for rule in file.rules}
    both = [key for key in after if key in before]
    return Difference(
        added=tuple(rule for key, rule in after.items() if key not in before),
        changed=tuple((before[key], after[key]) for key in both if before[key] != after[key]),
        removed=tuple(rule for key, rule in before.items() if key not in after),
        unchanged=tuple(after[key] for key in both if before[key] == after[key]),
        sources=known != file.sources,
    )


async def apply(connection: AsyncConnection[Any], file: RuleFile) -> Difference:
    """Make the file's rules those that apply; the properties process then backfills them.

    Args:
        connection: in no transaction. Writers of events wait for the moment that it takes.
        file: all rules; those it does not have are removed.

    Returns:
        What was changed.

    Raises:
        psycopg.errors.LockNotAvailable: somebody writes events in a transaction that takes long.
    """
    async with connection.transaction():
        await connection.execute(_SQL["patience"])
        await connection.execute(_SQL["hold_writers"])
        difference = compare(await rules(connection), await sources(connection), file)
        put = [*difference.added, *(after for _, after in difference.changed)]
        await connection.execute(
            _SQL["delete_rules"], {"keys": [rule.key for rule in difference.removed]}
        )
        await connection.execute(
            _SQL["put_rules"],
            {
                "keys": [rule.key for rule in put],
                "definitions": [Jsonb(_definition(rule)) for rule in put],
            },
        )
        await connection.execute(_SQL["delete_sources"])
        await connection.execute(
            _SQL["put_sources"],
            {
                "names": list(file.sources),
                "definitions": [Jsonb(_definition(source)) for source in file.sources.values()],
            },
        )
        await connection.execute(_SQL["take_notes"])
    return difference


def _definition(model: Rule | Source) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def needed(stored: Sequence[Stored], days: int) -> dict[str, list[str]]:
    """The types of which rules count events older than so many days, with the keys of these rules.

    A rule with a window of N days looks at today in UTC and the N - 1 days before.
    """
    found: dict[str, list[str]] = {}
    for one in stored:
        events = one.rule.events
        if events and (events.window is None or events.window > days):
            for type_ in events.types:
                found.setdefault(type_, []).append(one.rule.key)
    return found
