"""One transaction of the scanner: lock unresolved rows, plan, and write their profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.identity import store
from merganser.identity.plan import EventIds, Plan
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind
from schemas import ids
from schemas.ids import somebody

_SQL = sql.load(__package__, "rows.sql")

Row = tuple[Any, ...]
"""(guid, createdAt, occurredAt, userId, anonymousId, receivedAt)."""


class ScanCursor(NamedTuple):
    """The last row that a pass over the unresolved rows has read, in their order."""

    created_at: datetime
    guid: str


SCAN_START = ScanCursor(datetime(1, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class ScannedRows:
    """What a transaction did."""

    locked: int
    """Number of rows that the transaction locked."""
    resolved: int
    """Rows that got a profile."""
    suppressed: int
    """Rows that were deleted, as their only ids are suppressed."""
    cursor: ScanCursor
    """The last locked row."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is left to do."""

    resolvable: int
    """Rows that the scanner will resolve."""
    unresolvable: int
    """Rows without an id that names somebody."""
    oldest_seconds: float
    """Age of the oldest resolvable row."""
    moves: int
    """Pending moves."""
    set_aside: Mapping[Kind, int]
    """Items of all processes that no operator has handled, by kind."""


@dataclass(frozen=True, slots=True)
class RowScanner:
    """Resolves rows that other systems inserted, by the same rules as the resolver."""

    nobody_ids: frozenset[str]
    """Ids that mean nobody, as `schemas.ids.folded` returns them."""
    batch_size: int
    """Rows of one transaction."""
    move_limit: int
    """Older events that one transaction may move to another profile."""

    async def resolve_next(
        self, connection: AsyncConnection[Any], after: ScanCursor
    ) -> ScannedRows:
        """Lock the next rows and resolve them.

        Args:
            connection: in a transaction.
            after: the row before them.

        Raises:
            store.Contended: roll back and retry.
        """
        return await self._resolve(connection, await self._lock_next(connection, after), after)

    async def list_next(
        self, connection: AsyncConnection[Any], after: ScanCursor
    ) -> tuple[list[str], ScanCursor]:
        """Return the guids of the rows that `resolve_next` would resolve, and the last of them."""
        rows = await self._lock_next(connection, after)
        return [row[0] for row in rows], _last_of(rows, after)

    async def resolve_rows(
        self, connection: AsyncConnection[Any], guids: Sequence[str]
    ) -> ScannedRows:
        """Lock the rows with these guids and resolve them, like `resolve_next`."""
        cursor = await connection.execute(_SQL["lock_rows"], {"guids": sql.texts(guids)})
        return await self._resolve(connection, await cursor.fetchall(), SCAN_START)

    async def measure_backlog(
        self, connection: AsyncConnection[Any], max_rows: int | None = None
    ) -> Backlog:
        """Count what is left to do, among the oldest `max_rows` unresolved rows if that is set."""
        values = {**self._nobody_parameters(), "max_rows": max_rows}
        cursor = await connection.execute(_SQL["count_unresolved"], values)
        resolvable, unresolvable, oldest = await cursor.fetchone() or (0, 0, 0)
        moves = await store.count_moves(connection)
        items = await set_aside.open_items(connection)
        return Backlog(resolvable, unresolvable, float(oldest), moves, items)

    async def _lock_next(self, connection: AsyncConnection[Any], after: ScanCursor) -> list[Row]:
        cursor = await connection.execute(
            _SQL["lock_next_rows"],
            {
                **self._nobody_parameters(),
                "after_time": after.created_at,
                "after_guid": after.guid,
                "batch_size": self.batch_size,
            },
        )
        return await cursor.fetchall()

    async def _resolve(
        self, connection: AsyncConnection[Any], rows: Sequence[Row], after: ScanCursor
    ) -> ScannedRows:
        batch = [self._ids_of(row) for row in rows]
        plan = await store.resolve(connection, batch, self.move_limit)
        planned = list(zip(batch, plan.event_profiles, strict=True))
        resolved = [(event, profile) for event, profile in planned if profile is not None]
        await self._write_profiles(connection, resolved, plan)
        # These rows have an id, but the plan has no profile for them: the id is suppressed.
        suppressed = [event.guid for event, profile in planned if profile is None and event.has_id]
        if suppressed:
            await connection.execute(_SQL["delete_rows"], {"guids": suppressed})
        await set_aside.clear(connection, Kind.ROW, [row[0] for row in rows])
        return ScannedRows(len(rows), len(resolved), len(suppressed), _last_of(rows, after), plan)

    async def _write_profiles(
        self,
        connection: AsyncConnection[Any],
        resolved: Sequence[tuple[EventIds, str]],
        plan: Plan,
    ) -> None:
        """Update each row once: a second update would count as a change of its profile."""
        if detached := plan.detached_events:
            unlinked = [(e, profile) for e, profile in resolved if e.guid in detached]
            resolved = [(e, profile) for e, profile in resolved if e.guid not in detached]
            await connection.execute(
                _SQL["set_profiles_and_detach"],
                {
                    **_columns(unlinked),
                    "anonymous_ids": sql.texts(event.anonymous_id for event, _ in unlinked),
                },
            )
        if resolved:
            without_user = [event.guid in plan.events_without_user for event, _ in resolved]
            await connection.execute(
                _SQL["set_profiles"], {**_columns(resolved), "without_user": without_user}
            )

    def _nobody_parameters(self) -> dict[str, Any]:
        return {"nobody_ids": list(self.nobody_ids), "white_space": ids.WHITE_SPACE}

    def _ids_of(self, row: Row) -> EventIds:
        event_guid, _, occurred_at, user_id, anonymous_id, received_at = row
        return EventIds(
            event_guid,
            occurred_at,
            somebody(user_id, self.nobody_ids),
            somebody(anonymous_id, self.nobody_ids),
            received_at,
        )


def _last_of(rows: Sequence[Row], after: ScanCursor) -> ScanCursor:
    return ScanCursor(rows[-1][1], rows[-1][0]) if rows else after


def _columns(resolved: Sequence[tuple[EventIds, str]]) -> dict[str, str]:
    return {
        "guids": sql.texts(event.guid for event, _ in resolved),
        "profiles": sql.texts(profile for _, profile in resolved),
    }
