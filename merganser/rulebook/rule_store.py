"""The rules as Postgres keeps them: read, compared with a file, and replaced by it.

A rule or a source whose definition somebody has broken costs itself alone: it is left out and
reported. A rule that is broken stays so until `merganser rules apply` replaces it, as its
values may lack events that came meanwhile.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ValidationError

from merganser.rulebook.language import Rule, RuleFile, Source
from merganser.runtime import sql

log = structlog.get_logger(__name__)

_SQL = sql.load(__package__, "rule_store.sql")

LONGEST_DEFINITION = 1 << 20
"""Bytes that the definition of a rule or a source may have in the table."""


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
class Broken:
    """A rule or a source that does not apply, as its definition or computing it fails."""

    key: str
    """Of the rule, or the name of the source."""
    problem: str
    noted: bool = False
    """Whether the table says so."""


@dataclass(frozen=True, slots=True)
class Applied:
    """All rules, by key."""

    rules: list[Stored]
    broken: list[Broken]

    @property
    def keys(self) -> list[str]:
        """Of all."""
        return [one.rule.key for one in self.rules] + [one.key for one in self.broken]


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
    replaced: tuple[Rule, ...] = ()
    """Rules that are broken now."""
    dropped: tuple[str, ...] = ()
    """Keys of broken rules that the file does not have."""

    def __bool__(self) -> bool:
        return any((self.added, self.changed, self.removed, self.replaced, self.dropped)) or (
            self.sources
        )


async def read(connection: AsyncConnection[Any]) -> Applied:
    """All rules."""
    cursor = await connection.execute(_SQL["rules"], {"longest": LONGEST_DEFINITION})
    applied = Applied([], [])
    for key, revision, definition, failure, *rest in await cursor.fetchall():
        if failure is not None:
            applied.broken.append(Broken(key, failure, noted=True))
            continue
        rule = _parsed(Rule, key, definition)
        if isinstance(rule, Broken):
            applied.broken.append(rule)
        elif rule.key != key:
            applied.broken.append(Broken(key, f"its definition is of {rule.key}"))
        else:
            applied.rules.append(Stored(revision, rule, *rest))
    return applied


async def rules(connection: AsyncConnection[Any]) -> list[Stored]:
    """The rules that are not broken, by key."""
    return (await read(connection)).rules


async def note_broken(connection: AsyncConnection[Any], broken: Iterable[Broken]) -> None:
    """Have rules that are found broken stay so until they are applied again."""
    for one in broken:
        if not one.noted:
            log.error("a rule is broken and not computed", rule=one.key, problem=one.problem)
            await suspend(connection, one.key, one.problem)


async def suspend(connection: AsyncConnection[Any], key: str, problem: str) -> None:
    """Compute a rule no more until it is applied again; its values stay as they are."""
    await connection.execute(_SQL["suspend"], {"key": key, "problem": problem})


async def broken(connection: AsyncConnection[Any]) -> int:
    """How many rules are not computed."""
    cursor = await connection.execute(_SQL["broken"])
    (count,) = await cursor.fetchone() or (0,)
    return int(count)


async def sources(connection: AsyncConnection[Any]) -> dict[str, Source]:
    """The company's databases, by name, without those whose definitions are broken."""
    found, _ = await read_sources(connection)
    return found


async def read_sources(
    connection: AsyncConnection[Any],
) -> tuple[dict[str, Source], list[Broken]]:
    """The company's databases by name, and those whose definitions are broken."""
    cursor = await connection.execute(_SQL["sources"], {"longest": LONGEST_DEFINITION})
    found: dict[str, Source] = {}
    broken_ones: list[Broken] = []
    for name, definition in await cursor.fetchall():
        source = _parsed(Source, name, definition)
        if isinstance(source, Broken):
            broken_ones.append(source)
        else:
            found[name] = source
    return found, broken_ones


Definition = TypeVar("Definition", bound=BaseModel)


def _parsed(model: type[Definition], key: str, text: str | None) -> Definition | Broken:
    """A definition, or what is wrong with it: never what it says."""
    if text is None:
        return Broken(key, f"its definition has more than {LONGEST_DEFINITION:,} bytes")
    try:
        return model.model_validate(json.loads(text))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        return Broken(key, f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    except Exception as error:  # noqa: BLE001 - whatever it is, other rules go on
        return Broken(key, f"its definition cannot be read: {type(error).__name__}")


async def backfill(connection: AsyncConnection[Any]) -> tuple[int, int, int]:
    """How many profiles the backfill of new rules has done (-1: there is none), of about how many.

    And how many profiles wait to be counted again, whatever for.
    """
    cursor = await connection.execute(_SQL["backfill"])
    done, profiles, pending = await cursor.fetchone() or (-1, 0, 0)
    return done, max(profiles, 0), pending


async def difference(connection: AsyncConnection[Any], file: RuleFile) -> Difference:
    """What applying the file would change."""
    applied = await read(connection)
    known, broken_ones = await read_sources(connection)
    before = {one.rule.key: one.rule for one in applied.rules}
    broken_keys = {one.key for one in applied.broken}
    after = {rule.key: rule for rule in file.rules}
    both = [key for key in after if key in before]
    return Difference(
        added=tuple(rule for key, rule in after.items() if key not in before.keys() | broken_keys),
        changed=tuple((before[key], after[key]) for key in both if before[key] != after[key]),
        removed=tuple(rule for key, rule in before.items() if key not in after),
        unchanged=tuple(after[key] for key in both if before[key] == after[key]),
        sources=bool(broken_ones) or known != file.sources,
        replaced=tuple(rule for key, rule in after.items() if key in broken_keys),
        dropped=tuple(sorted(broken_keys - after.keys())),
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
        found = await difference(connection, file)
        put = [*found.added, *(after for _, after in found.changed), *found.replaced]
        gone = [*(rule.key for rule in found.removed), *found.dropped]
        await connection.execute(_SQL["delete_rules"], {"keys": gone})
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
    return found


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
