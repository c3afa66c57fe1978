"""Run the properties process in a test: apply rules, add profiles and events, run steps."""

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

MAX_STEPS = 300

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
PRICE: dict[str, Any] = {
    "key": "spent",
    "type": "float",
    "events": {"type": "view", "aggregation": "sum", "column": "data.price"},
}
LAST: dict[str, Any] = {
    "key": "last",
    "type": "string",
    "events": {"type": "view", "aggregation": "most recent", "column": "data.path"},
}


class PropertyHarness:
    """A database with rules, and the updater that computes its properties."""

    def __init__(self, database: Database, batch: int = 1000) -> None:
        self.database = database
        self.now = NOW
        self.updater = PropertyUpdater(batch)
        self._numbers = iter(range(1_000_000))

    async def apply(self, *rules: Mapping[str, Any]) -> None:
        """Apply these rules and the identifying rule."""
        file = RuleFile.model_validate({"rules": [USER_ID, *rules]})
        await rule_store.apply_file(self.database.connection, file)

    async def add_profile(self, guid: str, user_id: str | None = None) -> str:
        """Create a profile and return its guid."""
        await self.database.execute(
            'INSERT INTO profiles (guid, "userId") VALUES (%s, %s)', guid, user_id
        )
        return guid

    async def add_views(self, profile: str, seconds: Sequence[int], **data: str) -> list[str]:
        """Add `view` events to a profile with one statement for each table; return their guids.

        Args:
            profile: its guid.
            seconds: the time of each event, in seconds after NOW.
            data: the data of each event.
        """
        guids = [f"evt_{next(self._numbers):06}" for _ in seconds]
        await self.database.execute(
            """
            INSERT INTO events (guid, type, "profileGuid", "occurredAt")
            SELECT guid, 'view', %s, at
            FROM unnest(%s::text[], %s::timestamptz[]) AS new(guid, at)
            """,
            profile,
            guids,
            [NOW + timedelta(seconds=second) for second in seconds],
        )
        for key, value in data.items():
            await self.database.execute(
                'INSERT INTO "eventData" ("eventGuid", key, value) '
                "SELECT guid, %s, %s FROM unnest(%s::text[]) AS new(guid)",
                key,
                value,
                guids,
            )
        return guids

    async def run_step(self, connection: AsyncConnection[Any] | None = None) -> StepResult:
        """Run one step in its own transaction."""
        own = connection or self.database.connection
        async with own.transaction():
            return await self.updater.run_step(own, self.now)

    async def run_steps(self) -> list[StepResult]:
        """Run steps until no work is left."""
        steps = [await self.run_step()]
        while steps[-1].more:
            steps.append(await self.run_step())
        return steps

    async def run_process(self, at_most: int | None = None) -> list[StepResult]:
        """Run steps as the process does, which isolates failures, until no work is left.

        Args:
            at_most: stop after so many steps.
        """
        database = postgres.Database(self.database.url, "test")
        steps: list[StepResult] = []
        try:
            while len(steps) != at_most and (not steps or steps[-1].more):
                steps.append(await self.updater.commit_step(database, self.now, Stop()))
                assert len(steps) < MAX_STEPS, "the loop does not finish"
        finally:
            await database.close()
        return steps

    async def read_set_aside(self) -> dict[str, str]:
        """Return why profiles are set aside, by guid."""
        return dict(
            await self.database.rows(
                "SELECT subject, reason FROM \"setAside\" WHERE kind = 'profile' AND state = 'open'"
            )
        )

    async def retry_set_aside(self) -> None:
        """Retry all profiles that are set aside, as `merganser dead retry` does."""
        async with self.database.connection.transaction():
            guids = await self.database.column(
                "UPDATE \"setAside\" SET state = 'retried' WHERE kind = 'profile' RETURNING subject"
            )
            await store.start_rebuilds(self.database.connection, guids)

    async def read_values(self, profile: str, key: str) -> list[str]:
        """Return the values of a property, in order."""
        return await self.database.column(
            'SELECT value FROM "profileProperties" WHERE "profileGuid" = %s AND key = %s '
            "ORDER BY position",
            profile,
            key,
        )

    async def check_other_profiles(self, visits: str) -> None:
        """Check this value of pro_1 and pro_3, and that an audit finds no disagreement."""
        for profile in ("pro_1", "pro_3"):
            assert await self.read_values(profile, "visits") == [visits]
        assert await self.find_disagreements() == []

    async def find_disagreements(self) -> list[PropertyDisagreement]:
        """Run an audit and return its disagreements."""
        async with await connect(self.database.url, "audit") as connection:
            report = await audit(connection, self.now, lambda _: None)
        return report.disagreements
