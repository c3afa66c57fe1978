"""The status of each source, which decoration processes share and `merganser rules list` shows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from decoration import schedule
from decoration.breaker import Breaker
from decoration.errors import replace_unstorable
from merganser.rulebook import rule_store
from merganser.rulebook.language import Source
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind

_SQL = sql.load(__package__, "source_status.sql")

MISSING_SOURCE = 'there is no such source in "propertySources": apply the rules again'
"""Why a source that a rule names cannot be queried."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The status of one source."""

    revisions: tuple[int, ...]
    """The rules for which all profiles are scheduled or are being scheduled."""
    scheduled: bool
    """Whether all profiles are scheduled."""
    breaker: Breaker
    failing_since: datetime | None
    error: str | None
    """Why it fails, without secrets and data."""
    rule_errors: Mapping[str, str]
    """Why rules get no values, or not for all users, by key."""
    succeeded_at: datetime | None
    """When it answered last."""
    due: int
    """Profiles that are due, at most `schedule.MAX_DUE_COUNT`."""


async def read_statuses(connection: AsyncConnection[Any], now: datetime) -> dict[str, SourceStatus]:
    """Return the status of all sources that a decoration process has used, by name."""
    cursor = await connection.execute(_SQL["read_statuses"])
    return {
        source: SourceStatus(
            tuple(revisions),
            scheduled,
            Breaker(failures, retry_at),
            failing_since,
            error,
            rule_errors,
            succeeded_at,
            await schedule.count_due(connection, source, now),
        )
        for (
            source,
            revisions,
            scheduled,
            failures,
            failing_since,
            retry_at,
            error,
            rule_errors,
            succeeded_at,
        ) in await cursor.fetchall()
    }


async def read_definitions(connection: AsyncConnection[Any]) -> dict[str, Source | str]:
    """Return each source by name, or a message that says what is wrong with its definition."""
    sources, broken = await rule_store.read_all_sources(connection)
    return {**sources, **{source.key: _describe(source.problem) for source in broken}}


async def write_revisions(
    connection: AsyncConnection[Any], source: str, revisions: Sequence[int]
) -> None:
    """Record which rules query a source, and delete items set aside for rules without a query."""
    await _delete_set_aside(connection)
    await connection.execute(
        _SQL["write_revisions"], {"source": source, "revisions": list(revisions)}
    )


async def delete_statuses(connection: AsyncConnection[Any], sources: Collection[str]) -> None:
    """Delete sources that no rule queries, and items set aside for rules without a query."""
    await _delete_set_aside(connection)
    await connection.execute(_SQL["delete_statuses"], {"sources": list(sources)})


async def start_half_open_query(
    connection: AsyncConnection[Any],
    source: str,
    breaker: Breaker,
    now: datetime,
    query_time: timedelta,
) -> bool:
    """Reserve the query of a half-open breaker; return False if another process has done so.

    Args:
        connection: in a transaction.
        source: name of the source.
        breaker: its breaker, as it was read.
        now: the current time.
        query_time: how long the query may take.
    """
    cursor = await connection.execute(
        _SQL["start_half_open_query"],
        {
            "source": source,
            "retry_at": breaker.retry_at,
            "until": breaker.after_half_open_query(now, query_time).retry_at,
        },
    )
    return cursor.rowcount == 1


async def record_failure(
    connection: AsyncConnection[Any], source: str, now: datetime, error: str
) -> Breaker:
    """Record that a query has failed, and return the new state of the breaker."""
    cursor = await connection.execute(_SQL["lock_breaker"], {"source": source})
    before = Breaker(*(await cursor.fetchone() or ()))
    after = before.after_failure(now, schedule.hash_fraction(f"{source} {before.failures}"))
    await connection.execute(
        _SQL["record_failure"],
        {
            "source": source,
            "failures": after.failures,
            "retry_at": after.retry_at,
            "now": now,
            "error": replace_unstorable(error),
        },
    )
    return after


async def record_success(
    connection: AsyncConnection[Any], source: str, now: datetime, rule_errors: Mapping[str, str]
) -> None:
    """Record that a source has answered, and close its breaker."""
    errors = {key: replace_unstorable(error) for key, error in rule_errors.items()}
    await connection.execute(
        _SQL["record_success"], {"source": source, "now": now, "rule_errors": Jsonb(errors)}
    )


async def _delete_set_aside(connection: AsyncConnection[Any]) -> None:
    """Delete values set aside for rules that no longer exist or have no query."""
    keys = await rule_store.read_query_sources(connection)
    await set_aside.delete_other_places(connection, Kind.VALUE, keys)


def _describe(problem: str) -> str:
    problem = problem.removeprefix("definition: ")
    return f'the definition in "propertySources" is broken: {problem}; apply the rules again'
