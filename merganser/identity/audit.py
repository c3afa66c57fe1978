"""Recomputes the grouping of everything stored, from the events alone, and compares.

Safe on a live system: it reads one snapshot, takes no lock, and what it compares was committed
together. It is written in SQL, from the definition, and shares no code with the plan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from merganser.runtime import sql
from schemas import ids

_SQL = sql.load(__package__, "audit.sql")

CHUNK_PAGES = 4096
"""Pages of the events table that one step compares: 32 MiB."""

MOST = 100
"""Disagreements of one kind that a step reports: one is enough to act on."""

OTHER_CHECKS = {
    "wrong_owners": "the earliest link of this anonymousId is another event",
    "wrong_visitors": "this anonymousId points at a wrong profile",
    "shared_profiles": "this anonymous profile has not just one anonymousId",
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that is stored otherwise than the events say."""

    what: str
    subject: str
    stored: str | None
    expected: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found."""

    events: int
    unresolved: int
    moves_in_progress: int
    erasures_in_progress: int
    """Forgotten people whose events still go; these are not compared."""
    pruned_before: datetime | None
    """Links from before it are believed, not recomputed."""
    disagreements: list[Disagreement]


async def audit(
    connection: psycopg.AsyncConnection[Any],
    nobody: frozenset[str],
    progress: Callable[[float], None],
) -> Report:
    """Compare everything.

    Args:
        connection: in autocommit mode.
        nobody: ids that mean nobody, as the processes have them.
        progress: told how much is done, from 0 to 1.
    """
    values: dict[str, Any] = {"nobody": list(nobody), "space": ids.WHITE_SPACE, "most": MOST}
    found: list[Disagreement] = []
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for statement in ("owners", "index_owners", "analyze_owners"):
            await cursor.execute(_SQL[statement], values)
        await cursor.execute(_SQL["pages"])
        (pages,) = await cursor.fetchone() or (0,)
        for page in range(0, pages, CHUNK_PAGES):
            chunk = {"first": f"({page},0)", "last": f"({page + CHUNK_PAGES},0)"}
            await cursor.execute(_SQL["wrong_events"], values | chunk)
            found += [
                Disagreement("this event lies on a wrong profile", *row)
                for row in await cursor.fetchall()
            ]
            progress(min(page + CHUNK_PAGES, pages) / pages)
        for statement, what in OTHER_CHECKS.items():
            await cursor.execute(_SQL[statement], values)
            found += [Disagreement(what, *row) for row in await cursor.fetchall()]
        await cursor.execute(_SQL["in_progress"])
        moves, erasures, pruned, unresolved, events = await cursor.fetchone() or (0, 0, None, 0, 0)
    progress(1)
    return Report(events, unresolved, moves, erasures, pruned, found)
