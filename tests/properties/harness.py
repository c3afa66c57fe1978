"""The harness of properties tests: a database, rules, events on profiles, and steps."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime import postgres
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import connect
from properties import store
from properties.audit import PropertyDisagreement, audit
from properties.loop import PropertyUpdater, StepResult
from tests.support.database import Database

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)

MOST_STEPS = 300

USER_ID = {"key": "userId", "type": "string", "unique": True, "identifying": True}
COUNT = {
    "key": "visits",
    "type": "integer",
    "events": {"type": "view", "aggregation": "count"},
}
PATHS = {
    "key": "paths",
    "type": "string",
    "array": True,
    "events": {"type": "view", "aggregation": "all values", "column": "data.path"},
}


class PropertyHarness:
    """Writes events and runs steps until no work is left."""

    def __init__(self, database: Database, batch: int = 1000) -> None:
        self.database = database
        self.now = NOW
        self.properties = PropertyUpdater(batch)
        self._numbers = iter(range(1_000_000))

    async def apply(self, *rules: Mapping[str, Any]) -> None:
        """Apply these rules and the identifying rule."""
        file = RuleFile.model_validate({"rules": [USER_ID, *rules]})
        await rule_store.apply_file(self.database.connection, file)

    async def profile(self, guid: str, user_id: str | None = None) -> str:
        """Create a profile."""
        await self.database.execute(
            'INSERT INTO profiles (guid, "userId") VALUES (%s, %s)', guid, user_id
        )
        return guid

    async def views(self, profile: str, seconds: Sequence[int], **data: str) -> list[str]:
        """Put events on a profile, at so many seconds after NOW, in one statement each table."""
        guids = [f"evt_{next(self._numbers):06}" for _ in seconds]
        await self.database.execute(
            """
            INSERT INTO events (guid, type, "profileGuid", "occurredAt")
            SELECT guid, 'view', %s, at
            FROM unnest(%s::text[], %s::timestamptz[]) AS made(guid, at)
            """,
            profile,
            guids,
            [NOW + timedelta(seconds=second) for second in seconds],
        )
        for key, value in data.items():
            await self.database.execute(
                'INSERT INTO "eventData" ("eventGuid", key, value) '
                "SELECT guid, %s, %s FROM unnest(%s::text[]) AS made(guid)",
                key,
                value,
                guids,
            )
        return guids

    async def step(self, connection: AsyncConnection[Any] | None = None) -> StepResult:
        """Run one step in its own transaction."""
        own = connection or self.database.connection
        async with own.transaction():
            return await self.properties.run_step(own, self.now)

    async def settle(self) -> list[StepResult]:
        """Run steps until no work is left."""
        steps = [await self.step()]
        while steps[-1].more:
            steps.append(await self.step())
        return steps

    async def serve(self) -> list[StepResult]:
        """Run steps as the process does, which isolates failures, until no work is left."""
        database = postgres.Database(self.database.url, "test")
        steps: list[StepResult] = []
        try:
            while not steps or steps[-1].more:
                steps.append(await self.properties.commit_step(database, self.now, Stop()))
                assert len(steps) < MOST_STEPS, "the loop does not finish"
        finally:
            await database.close()
        return steps

    async def set_aside(self) -> dict[str, str]:
        """Why profiles are set aside, by guid."""
        return dict(
            await self.database.rows(
                "SELECT subject, reason FROM \"setAside\" WHERE kind = 'profile' AND state = 'open'"
            )
        )

    async def retry(self) -> None:
        """Retry all profiles, as `merganser dead retry` does."""
        async with self.database.connection.transaction():
            guids = await self.database.column(
                "UPDATE \"setAside\" SET state = 'retried' WHERE kind = 'profile' RETURNING subject"
            )
            await store.start_rebuilds(self.database.connection, guids)

    async def value(self, profile: str, key: str) -> list[str]:
        """Return the values of a property, in order."""
        return await self.database.column(
            'SELECT value FROM "profileProperties" WHERE "profileGuid" = %s AND key = %s '
            "ORDER BY position",
            profile,
            key,
        )

    async def disagreements(self) -> list[PropertyDisagreement]:
        """Run an audit and return its disagreements."""
        async with await connect(self.database.url, "audit") as connection:
            report = await audit(connection, self.now, lambda _: None)
        return report.disagreements
