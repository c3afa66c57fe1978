"""Recompute the profile of each stored event from the events alone, and compare.

An audit is safe on a live system: it reads one snapshot and takes no lock. It follows the
definition in `merganser/identity/plan.py`, in SQL, and shares no code with the plan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from merganser.runtime import sql
from schemas import ids

_SQL = sql.load(__package__, "audit.sql")

CHUNK_PAGES = 4096
"""Pages of the events table that one query compares: 32 MiB."""

MAX_DISAGREEMENTS = 100
"""Disagreements that one query returns."""

MAX_KEPT = 1000
"""Disagreements that a report has. It counts the others."""

_EVENT_PROBLEM = "this event is on the wrong profile"

_OTHER_PROBLEMS = {
    "wrong_owners": "the earliest link of this anonymousId is another event",
    "wrong_profiles": "this anonymousId has the wrong profile",
    "shared_profiles": "this anonymous profile must have exactly one anonymousId",
}
"""Problems by the statement that finds them."""

_ANONYMOUS_ID_PROBLEMS = {_OTHER_PROBLEMS["wrong_owners"], _OTHER_PROBLEMS["wrong_profiles"]}


@dataclass(frozen=True, slots=True)
class IdentityDisagreement:
    """A stored value that is not what the events say."""

    problem: str
    subject: str
    """Guid of the event or profile, or the anonymousId."""
    stored: str | None
    expected: str | None

    @property
    def guid(self) -> str | None:
        """The subject, unless it is an anonymousId."""
        return None if self.problem in _ANONYMOUS_ID_PROBLEMS else self.subject


@dataclass(frozen=True, slots=True)
class IdentityAuditReport:
    """The result of an audit."""

    events: int
    """Number of compared events."""
    unresolved: int
    """Number of events without a profile."""
    moves_in_progress: int
    erasures_in_progress: int
    """Number of forgotten people with events that are not erased yet; the audit ignores them."""
    pruned_before: datetime | None
    """Links from before this time are not recomputed, as their events may be pruned."""
    found: int
    """Number of disagreements, at most `MAX_DISAGREEMENTS` of each query."""
    disagreements: list[IdentityDisagreement]
    """The first `MAX_KEPT` of them."""


async def audit(
    connection: AsyncConnection[Any], nobody: frozenset[str], progress: Callable[[float], None]
) -> IdentityAuditReport:
    """Compare all events, anonymousIds and anonymous profiles with what the events say.

    Args:
        connection: in autocommit mode.
        nobody: ids that mean nobody, the same as in the settings of the processes.
        progress: called with the completed fraction, from 0 to 1.
    """
    values: dict[str, Any] = {
        "nobody": list(nobody),
        "space": ids.WHITE_SPACE,
        "at_most": MAX_DISAGREEMENTS,
    }
    disagreements: list[IdentityDisagreement] = []
    found = 0
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for statement in ("create_owners", "index_owners", "analyze_owners"):
            await cursor.execute(_SQL[statement], values)
        await cursor.execute(_SQL["count_pages"])
        (pages,) = await cursor.fetchone() or (0,)
        for page in range(0, pages, CHUNK_PAGES):
            chunk = {"first": f"({page},0)", "last": f"({page + CHUNK_PAGES},0)"}
            await cursor.execute(_SQL["wrong_events"], values | chunk)
            rows = await cursor.fetchall()
            found += len(rows)
            disagreements += [IdentityDisagreement(_EVENT_PROBLEM, *row) for row in rows]
            del disagreements[MAX_KEPT:]
            progress(min(page + CHUNK_PAGES, pages) / pages)
        for statement, problem in _OTHER_PROBLEMS.items():
            await cursor.execute(_SQL[statement], values)
            rows = await cursor.fetchall()
            found += len(rows)
            disagreements += [IdentityDisagreement(problem, *row) for row in rows]
            del disagreements[MAX_KEPT:]
        await cursor.execute(_SQL["count_in_progress"])
        moves, erasures, pruned, unresolved, events = await cursor.fetchone() or (0, 0, None, 0, 0)
    progress(1)
    return IdentityAuditReport(events, unresolved, moves, erasures, pruned, found, disagreements)


async def set_pruned_before(connection: AsyncConnection[Any], before: datetime) -> None:
    """Make audits trust stored links from before a time, as their events will be deleted."""
    await connection.execute(_SQL["set_pruned_before"], {"before": before})
