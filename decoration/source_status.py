"""How each source is doing, as all decoration processes and `merganser rules list` see it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from decoration import schedule
from decoration.breaker import Breaker
from decoration.errors import storable
from merganser.runtime import sql

_SQL = sql.load(__package__, "source_status.sql")


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source."""

    revisions: tuple[int, ...]
    """The rules for which all known profiles are, or are being, scheduled."""
    scheduled: bool
    """Whether all are."""
    breaker: Breaker
    failing_since: datetime | None
    error: str | None
    """Why it is failing, without secrets and without data."""
    rule_errors: Mapping[str, str]
    """Why single rules get no values, or not for everyone, by key."""
    succeeded_at: datetime | None
    """The last answer."""
    due: int
    """Profiles that it is to be asked for now, at most `schedule.COUNTED`."""


async def states(connection: AsyncConnection[Any], now: datetime) -> dict[str, SourceState]:
    """All sources that a decoration process has seen, by name."""
    cursor = await connection.execute(_SQL["states"])
    return {
        source: SourceState(
            tuple(revisions),
            scheduled,
            Breaker(failures, retry_at),
            failing_since,
            error,
            rule_errors,
            succeeded_at,
            await schedule.due(connection, source, now),
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


async def put_revisions(
    connection: AsyncConnection[Any], source: str, revisions: Sequence[int]
) -> None:
    """Note which rules ask a source, and forget what was set aside for those that went."""
    await connection.execute(_SQL["forget_values"])
    await connection.execute(
        _SQL["put_revisions"], {"source": source, "revisions": list(revisions)}
    )


async def forget(connection: AsyncConnection[Any], sources: Collection[str]) -> None:
    """Forget sources that no rule asks any more, and what was set aside for their rules."""
    await connection.execute(_SQL["forget_values"])
    await connection.execute(_SQL["forget"], {"sources": list(sources)})


async def try_again(
    connection: AsyncConnection[Any],
    source: str,
    breaker: Breaker,
    now: datetime,
    patience: timedelta,
) -> bool:
    """Be the one who tries whether a source has recovered; False if somebody else is."""
    cursor = await connection.execute(
        _SQL["try"],
        {
            "source": source,
            "retry_at": breaker.retry_at,
            "until": breaker.tried(now, patience).retry_at,
        },
    )
    return cursor.rowcount == 1


async def failed(
    connection: AsyncConnection[Any], source: str, now: datetime, error: str
) -> Breaker:
    """Note a failure."""
    cursor = await connection.execute(_SQL["hold"], {"source": source})
    breaker = Breaker(*(await cursor.fetchone() or ()))
    after = breaker.failed(now, schedule.chance(f"{source} {breaker.failures}"))
    await connection.execute(
        _SQL["failed"],
        {
            "source": source,
            "failures": after.failures,
            "retry_at": after.retry_at,
            "now": now,
            "error": storable(error),
        },
    )
    return after


async def succeeded(
    connection: AsyncConnection[Any], source: str, now: datetime, rule_errors: Mapping[str, str]
) -> None:
    """Note an answer."""
    errors = {key: storable(error) for key, error in rule_errors.items()}
    await connection.execute(
        _SQL["succeeded"], {"source": source, "now": now, "rule_errors": Jsonb(errors)}
    )
