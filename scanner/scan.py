"""One transaction of the scanner: claim unresolved rows, plan, write their profiles."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.identity import store
from merganser.identity.plan import Plan, Sighting
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind
from schemas import ids
from schemas.ids import somebody

_SQL = sql.load(__package__, "rows.sql")

Row = tuple[Any, ...]
"""(guid, createdAt, occurredAt, userId, anonymousId)."""


class Place(NamedTuple):
    """Where a pass over the unresolved rows stands, in their order."""

    created_at: datetime
    guid: str


START = Place(datetime(1, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a transaction did."""

    claimed: int
    resolved: int
    suppressed: int
    """Rows that were deleted, as they are of somebody who was forgotten."""
    place: Place
    plan: Plan


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that are not resolved."""

    resolvable: int
    unresolvable: int
    oldest_seconds: float
    moves: int
    set_aside: Mapping[Kind, int]
    """Items of all processes that no operator has dealt with, by kind."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Resolves rows that other systems wrote, by the same rules as the resolver."""

    nobody: frozenset[str]
    limit: int
    """Rows of a transaction."""
    move: int
    """Older events that one transaction may bring to another profile."""

    async def resolve(self, connection: AsyncConnection[Any], after: Place) -> Scanned:
        """Claim the next rows after a place and resolve them, in the caller's transaction.

        Raises:
            store.Contended: try again.
        """
        return await self._resolve(connection, await self._claim(connection, after), after)

    async def next_rows(
        self, connection: AsyncConnection[Any], after: Place
    ) -> tuple[list[str], Place]:
        """The guids of the rows that `resolve` would claim, and the place of the last one."""
        rows = await self._claim(connection, after)
        return [row[0] for row in rows], _place(rows, after)

    async def resolve_these(
        self, connection: AsyncConnection[Any], guids: Sequence[str]
    ) -> Scanned:
        """Claim rows by their guids and resolve them; raises as `resolve`."""
        cursor = await connection.execute(_SQL["claim_these"], {"guids": sql.texts(guids)})
        return await self._resolve(connection, await cursor.fetchall(), START)

    async def _claim(self, connection: AsyncConnection[Any], after: Place) -> list[Row]:
        cursor = await connection.execute(
            _SQL["claim"],
            {
                **self._nobody(),
                "after_time": after.created_at,
                "after_guid": after.guid,
                "limit": self.limit,
            },
        )
        return await cursor.fetchall()

    async def _resolve(
        self, connection: AsyncConnection[Any], rows: Sequence[Row], after: Place
    ) -> Scanned:
        sightings = self._sightings(rows)
        plan = await store.resolve(connection, sightings, self.move)
        placed = list(zip(sightings, plan.assignments, strict=True))
        resolved = [(event, profile) for event, profile in placed if profile is not None]
        await self._assign(connection, resolved, plan.unlinked)
        # Who is somebody and has no profile now is not to have one.
        suppressed = [
            event.guid for event, profile in placed if profile is None and event.names_somebody
        ]
        if suppressed:
            await connection.execute(_SQL["drop"], {"guids": suppressed})
        await set_aside.clear(connection, Kind.ROW, [row[0] for row in rows])
        return Scanned(len(rows), len(resolved), len(suppressed), _place(rows, after), plan)

    async def waiting(self, connection: AsyncConnection[Any]) -> Waiting:
        """Count what is not resolved."""
        cursor = await connection.execute(_SQL["unresolved"], self._nobody())
        resolvable, unresolvable, oldest = await cursor.fetchone() or (0, 0, 0)
        cursor = await connection.execute(_SQL["moves"])
        (moves,) = await cursor.fetchone() or (0,)
        aside = await set_aside.open_items(connection)
        return Waiting(resolvable, unresolvable, float(oldest), moves, aside)

    async def _assign(
        self,
        connection: AsyncConnection[Any],
        resolved: Sequence[tuple[Sighting, str]],
        unlinked: Collection[str],
    ) -> None:
        """Write each row once: a second time would be a change of its profile's events."""
        if unlinked:
            stripped = [(event, profile) for event, profile in resolved if event.guid in unlinked]
            resolved = [
                (event, profile) for event, profile in resolved if event.guid not in unlinked
            ]
            await connection.execute(
                _SQL["assign_unlinked"],
                {
                    **_columns(stripped),
                    "anonymous_ids": sql.texts(event.anonymous_id for event, _ in stripped),
                },
            )
        if resolved:
            await connection.execute(_SQL["assign"], _columns(resolved))

    def _nobody(self) -> dict[str, Any]:
        return {"nobody": list(self.nobody), "space": ids.WHITE_SPACE}

    def _sightings(self, rows: Sequence[Row]) -> list[Sighting]:
        return [
            Sighting(
                guid,
                occurred_at,
                somebody(user_id, self.nobody),
                somebody(anonymous_id, self.nobody),
            )
            for guid, _, occurred_at, user_id, anonymous_id in rows
        ]


def _place(rows: Sequence[Row], after: Place) -> Place:
    return Place(rows[-1][1], rows[-1][0]) if rows else after


def _columns(resolved: Sequence[tuple[Sighting, str]]) -> dict[str, str]:
    return {
        "guids": sql.texts(event.guid for event, _ in resolved),
        "profiles": sql.texts(profile for _, profile in resolved),
    }
