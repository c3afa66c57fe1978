"""What operators did about dead letters: a row for each record that failed."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection

from merganser.runtime import sql
from schemas.dead_letter import Letter, Place

Outcome = Literal["retried", "dropped"]

_SQL = sql.load(__package__, "resolutions.sql")


@dataclass(frozen=True, slots=True)
class Handled:
    """The last thing that was done about a record."""

    attempt: int
    """Its letters up to this one are dealt with."""
    outcome: Outcome
    at: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was done about the letters of one cluster: offsets of another one mean nothing."""

    connection: AsyncConnection[Any]
    cluster: str

    async def lock(self) -> None:
        """Keep other operators out until the transaction ends."""
        await self.connection.execute(_SQL["lock"])

    async def read(self, letters: Collection[Letter]) -> dict[Place, Handled]:
        """What was done, by origin; one statement."""
        cursor = await self.connection.execute(_SQL["handled"], self._scope(letters))
        return {
            Place.read(origin): Handled(attempt, outcome, at)
            for origin, attempt, outcome, at in await cursor.fetchall()
        }

    async def write(self, letters: Collection[Letter], outcome: Outcome) -> None:
        """Note what was done, by one letter an origin; one statement."""
        values = {
            **self._scope(letters),
            "reasons": sql.texts(letter.reason for letter in letters),
            "attempts": [letter.attempt for letter in letters],
            "outcome": outcome,
        }
        await self.connection.execute(_SQL["handle"], values)

    def _scope(self, letters: Collection[Letter]) -> dict[str, Any]:
        origins = sql.texts(str(letter.origin) for letter in letters)
        return {"cluster": self.cluster, "subjects": origins}
