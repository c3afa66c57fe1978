"""The tables of rules and sources: read them, compare them with a file, apply the file.

A rule or source whose definition somebody has damaged is left out and reported; the others still
work. A broken rule stays broken until `merganser rules apply` replaces it, as its values may lack
events that arrived in the meantime.
"""

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

MAX_DEFINITION_BYTES = 1 << 20
"""Bytes of a rule's or source's definition in the table; longer ones are not read."""
LOCK_TIMEOUT = "10s"
"""How long applying a file waits for writers of events, as Postgres writes it."""


class RulesChanged(Exception):
    """Other rules apply than those that were read."""


class SourcesChange(Exception):
    """The file has other sources than those that apply, and may not."""


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule that applies."""

    revision: int
    rule: Rule
    applied_at: datetime
    backfilled_to: str | None
    """The backfill has computed the profiles up to this guid; None when it has finished."""
    backfilled: int
    """Profiles that the backfill has computed."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule or source that is not used because its definition or its computation fails."""

    key: str
    """The key of the rule or the name of the source."""
    problem: str
    recorded: bool = False
    """Whether the table of rules records the problem."""


@dataclass(frozen=True, slots=True)
class StoredRules:
    """All rules, in the order of their keys."""

    rules: list[StoredRule]
    broken: list[Broken]

    @property
    def keys(self) -> list[str]:
        """The keys of all rules, with the broken ones."""
        return [stored.rule.key for stored in self.rules] + [broken.key for broken in self.broken]


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """What applying a file changes."""

    added: tuple[Rule, ...]
    changed: tuple[tuple[Rule, Rule], ...]
    """(before, after)."""
    removed: tuple[Rule, ...]
    unchanged: tuple[Rule, ...]
    sources: bool
    """Whether the sources differ."""
    repaired: tuple[Rule, ...] = ()
    """Rules of the file that are broken now."""
    removed_broken: tuple[str, ...] = ()
    """Keys of broken rules that the file does not have."""

    def __bool__(self) -> bool:
        return any(
            (
                self.added,
                self.changed,
                self.removed,
                self.repaired,
                self.removed_broken,
                self.sources,
            )
        )


async def read_all_rules(connection: AsyncConnection[Any]) -> StoredRules:
    """Return all rules, with the broken ones."""
    cursor = await connection.execute(_SQL["read_rules"], {"max_bytes": MAX_DEFINITION_BYTES})
    stored = StoredRules([], [])
    for key, revision, definition, failure, *progress in await cursor.fetchall():
        if failure is not None:
            stored.broken.append(Broken(key, failure, recorded=True))
            continue
        rule = _parse_definition(Rule, key, definition)
        if isinstance(rule, Broken):
            stored.broken.append(rule)
        elif rule.key != key:
            stored.broken.append(Broken(key, f"its definition has the key {rule.key}"))
        else:
            stored.rules.append(StoredRule(revision, rule, *progress))
    return stored


async def read_rules(connection: AsyncConnection[Any]) -> list[StoredRule]:
    """Return the rules that are not broken, in the order of their keys."""
    return (await read_all_rules(connection)).rules


async def record_broken(connection: AsyncConnection[Any], broken: Iterable[Broken]) -> None:
    """Suspend the broken rules that the table does not record as broken yet."""
    for rule in broken:
        if not rule.recorded:
            log.error("a rule is broken and not computed", rule=rule.key, problem=rule.problem)
            await suspend_rule(connection, rule.key, rule.problem)


async def suspend_rule(connection: AsyncConnection[Any], key: str, problem: str) -> None:
    """Stop computing a rule until it is applied again. Its values stay as they are."""
    await connection.execute(_SQL["suspend_rule"], {"key": key, "problem": problem})


async def count_broken_rules(connection: AsyncConnection[Any]) -> int:
    """Return the number of rules that are not computed."""
    cursor = await connection.execute(_SQL["count_broken_rules"])
    (count,) = await cursor.fetchone() or (0,)
    return int(count)


async def read_sources(connection: AsyncConnection[Any]) -> dict[str, Source]:
    """Return the sources by name, without those whose definitions are broken."""
    sources, _ = await read_all_sources(connection)
    return sources


async def read_all_sources(
    connection: AsyncConnection[Any],
) -> tuple[dict[str, Source], list[Broken]]:
    """Return the sources by name, and those whose definitions are broken."""
    cursor = await connection.execute(_SQL["read_sources"], {"max_bytes": MAX_DEFINITION_BYTES})
    sources: dict[str, Source] = {}
    broken: list[Broken] = []
    for name, definition in await cursor.fetchall():
        source = _parse_definition(Source, name, definition)
        if isinstance(source, Broken):
            broken.append(source)
        else:
            sources[name] = source
    return sources, broken


async def read_version(connection: AsyncConnection[Any]) -> str:
    """Return a text that is another one after each change of rules or sources."""
    (version,) = await (await connection.execute(_SQL["read_version"])).fetchone() or ("",)
    return str(version)


async def read_query_sources(connection: AsyncConnection[Any]) -> dict[str, str | None]:
    """Return the name of the source of each rule that has a query, by key, with broken rules."""
    cursor = await connection.execute(_SQL["read_query_sources"])
    return dict(await cursor.fetchall())


async def lock_revisions(connection: AsyncConnection[Any], revisions: Sequence[int]) -> set[int]:
    """Keep rules from changing until the transaction ends; return the revisions that apply."""
    cursor = await connection.execute(_SQL["lock_revisions"], {"revisions": list(revisions)})
    return {revision for (revision,) in await cursor.fetchall()}


async def read_backfill_progress(connection: AsyncConnection[Any]) -> tuple[int, int]:
    """Return how far the backfill of new rules is.

    Returns:
        The number of profiles that the backfill has computed (-1: no backfill is running), and the
        approximate number of all profiles.
    """
    cursor = await connection.execute(_SQL["read_backfill_progress"])
    done, profiles = await cursor.fetchone() or (-1, 0)
    return done, max(profiles, 0)


async def write_backfill_progress(
    connection: AsyncConnection[Any], revisions: Sequence[int], to: str | None, count: int
) -> None:
    """Write that a backfill has computed more profiles.

    Args:
        connection: in a transaction.
        revisions: of the rules that were computed.
        to: all profiles up to this guid are computed; None: all profiles are.
        count: how many more profiles are computed.
    """
    await connection.execute(
        _SQL["write_backfill_progress"], {"revisions": list(revisions), "to": to, "count": count}
    )


async def compare_with_file(connection: AsyncConnection[Any], file: RuleFile) -> RuleChanges:
    """Return what applying the file would change."""
    stored = await read_all_rules(connection)
    sources, broken_sources = await read_all_sources(connection)
    before = {rule.rule.key: rule.rule for rule in stored.rules}
    broken = {rule.key for rule in stored.broken}
    after = {rule.key: rule for rule in file.rules}
    common = [key for key in after if key in before]
    return RuleChanges(
        added=tuple(rule for key, rule in after.items() if key not in before.keys() | broken),
        changed=tuple((before[key], after[key]) for key in common if before[key] != after[key]),
        removed=tuple(rule for key, rule in before.items() if key not in after),
        unchanged=tuple(after[key] for key in common if before[key] == after[key]),
        sources=bool(broken_sources) or sources != file.sources,
        repaired=tuple(rule for key, rule in after.items() if key in broken),
        removed_broken=tuple(sorted(broken - after.keys())),
    )


async def apply_file(
    connection: AsyncConnection[Any],
    file: RuleFile,
    *,
    version: str | None = None,
    may_change_sources: bool = True,
) -> RuleChanges:
    """Replace all rules and sources with those of a file; the properties process backfills them.

    Args:
        connection: READ COMMITTED. Writers of events wait until its transaction ends.
        file: all rules. Stored rules that the file does not have are deleted.
        version: replace only these rules, as `read_version` returned it; None: any rules.
        may_change_sources: whether the file may have other sources.

    Returns:
        What was changed.

    Raises:
        RulesChanged: other rules apply than those of the version.
        SourcesChange: the file has other sources, and may not.
        psycopg.errors.LockNotAvailable: another transaction has been writing events for too long.
    """
    async with connection.transaction():
        await connection.execute(_SQL["set_lock_timeout"], {"timeout": LOCK_TIMEOUT})
        await connection.execute(_SQL["lock_event_tables"])
        if version is not None and await read_version(connection) != version:
            raise RulesChanged
        changes = await compare_with_file(connection, file)
        if changes.sources and not may_change_sources:
            raise SourcesChange
        written = [*changes.added, *(after for _, after in changes.changed), *changes.repaired]
        removed = [*(rule.key for rule in changes.removed), *changes.removed_broken]
        await connection.execute(_SQL["delete_rules"], {"keys": removed})
        await connection.execute(
            _SQL["write_rules"],
            {
                "keys": [rule.key for rule in written],
                "definitions": [Jsonb(_dump_definition(rule)) for rule in written],
            },
        )
        await connection.execute(_SQL["delete_sources"])
        await connection.execute(
            _SQL["write_sources"],
            {
                "names": list(file.sources),
                "definitions": [Jsonb(_dump_definition(item)) for item in file.sources.values()],
            },
        )
        await connection.execute(_SQL["record_event_changes"])
    return changes


def find_required_types(stored: Sequence[StoredRule], days: int) -> dict[str, list[str]]:
    """Return which event types must be kept for longer than this many days, and for which rules.

    A rule with a window of N days counts today in UTC and the N - 1 days before.

    Returns:
        The keys of the rules that need it, by event type.
    """
    required: dict[str, list[str]] = {}
    for rule in stored:
        events = rule.rule.events
        if events and (events.window is None or events.window > days):
            for event_type in events.types:
                required.setdefault(event_type, []).append(rule.rule.key)
    return required


Definition = TypeVar("Definition", bound=BaseModel)


def _parse_definition(model: type[Definition], key: str, text: str | None) -> Definition | Broken:
    """Return a definition, or what is wrong with it. The message does not quote the definition."""
    if text is None:
        return Broken(key, f"its definition has more than {MAX_DEFINITION_BYTES:,} bytes")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_context=False, include_input=False)[0]
        location = ".".join(map(str, mistake["loc"])) or "definition"
        return Broken(key, f"{location}: {mistake['msg'].removeprefix('Value error, ')}")
    except Exception as error:  # noqa: BLE001 - no damaged definition may stop the other rules
        return Broken(key, f"its definition cannot be read: {type(error).__name__}")


def _dump_definition(model: Rule | Source) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
