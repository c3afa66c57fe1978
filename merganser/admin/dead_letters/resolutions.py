"""What operators did about dead letters: one row for each record that failed."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection

from merganser.runtime import sql
from schemas.dead_letter import DeadLetter, RecordAddress

Outcome = Literal["retried", "dropped"]

_SQL = sql.load(__package__, "resolutions.sql")


@dataclass(frozen=True, slots=True)
class Resolution:
    """The last thing that an operator did about a record."""

    attempt: int
    """Letters up to this attempt are resolved."""
    outcome: Outcome
    resolved_at: datetime


@dataclass(frozen=True, slots=True)
class Resolutions:
    """The stored resolutions of one cluster: an offset of another cluster is another record."""

    connection: AsyncConnection[Any]
    cluster: str

    async def lock(self) -> None:
        """Make other operators wait until the transaction ends."""
        await self.connection.execute(_SQL["lock"])

    async def read(self, letters: Collection[DeadLetter]) -> dict[RecordAddress, Resolution]:
        """Return the resolutions of these letters' records, by origin."""
        cursor = await self.connection.execute(_SQL["read"], self._scope(letters))
        return {
            RecordAddress.parse(origin): Resolution(attempt, outcome, resolved_at)
            for origin, attempt, outcome, resolved_at in await cursor.fetchall()
        }

    async def write(self, letters: Collection[DeadLetter], outcome: Outcome) -> None:
        """Store a resolution of letters, of which no two have the same origin."""
        values = {
            **self._scope(letters),
            "reasons": sql.texts(letter.reason for letter in letters),
            "attempts": [letter.attempt for letter in letters],
            "outcome": outcome,
        }
        await self.connection.execute(_SQL["write"], values)

    def _scope(self, letters: Collection[DeadLetter]) -> dict[str, Any]:
        origins = sql.texts(str(letter.origin) for letter in letters)
        return {"cluster": self.cluster, "subjects": origins}
