"""Run a decoration worker in a test: apply rules, add users, set the clock."""

import asyncio
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from decoration.source_status import SourceStatus, read_statuses
from decoration.worker import DecorationWorker
from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime import metrics, postgres
from merganser.runtime.lifecycle import Stop
from tests.support.database import Database

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SQL = "SELECT id, email, plan FROM users WHERE id = ANY(:userIds)"
BLOCKED_SQL = f"{SQL} AND pg_advisory_xact_lock_shared(1) IS NOT NULL"
"""A query that waits while a test holds the advisory lock 1."""
USER_ID = {"key": "userId", "type": "string", "unique": True, "identifying": True}


def query(column: str = "plan", key: str | None = None, **options: Any) -> dict[str, Any]:
    """Return a rule. Options are `sql`, `source` and any field of a rule."""
    source, sql = options.pop("source", "crm"), options.pop("sql", SQL)
    return {
        "key": key or column,
        "type": "string",
        "query": {"source": source, "sql": sql, "column": column},
        **options,
    }


def url_of(conninfo: str) -> str:
    """Return the SQLAlchemy URL of a Postgres database, as a company configures it."""
    parts = conninfo_to_dict(conninfo)
    return URL.create(
        "postgresql",
        username=_text(parts.get("user")),
        password=_text(parts.get("password")),
        host=_text(parts.get("host")),
        port=int(parts["port"] or 5432),
        database=_text(parts.get("dbname")),
    ).render_as_string(hide_password=False)


class DecorationHarness:
    """A database with rules and profiles, a decoration worker and its clock."""

    def __init__(self, database: Database, environment: Mapping[str, str]) -> None:
        self.database = database
        self.environment = dict(environment)
        self.now = NOW
        self.worker = self.create_worker()

    def create_worker(self) -> DecorationWorker:
        """Create another worker on the same database and clock."""
        return DecorationWorker(
            postgres.Database(self.database.url, "decoration"),
            Stop(),
            self.environment,
            lambda: self.now,
        )

    async def apply(self, *rules: Mapping[str, Any], **source: Any) -> None:
        """Apply these rules, with the source `crm`."""
        await self.apply_to({"crm": {"url": "CRM_URL", **source}}, *rules)

    async def apply_to(self, sources: Mapping[str, Any], *rules: Mapping[str, Any]) -> None:
        """Apply these sources and rules, and the identifying rule."""
        file = RuleFile.model_validate({"sources": sources, "rules": [USER_ID, *rules]})
        await rule_store.apply_file(self.database.connection, file)

    async def add_users(self, *user_ids: str) -> None:
        """Create profiles of users. The profile of user 1 is pro_1."""
        for user_id in user_ids:
            await self.database.execute(
                'INSERT INTO profiles (guid, "userId") VALUES (%s, %s)', f"pro_{user_id}", user_id
            )

    async def run_worker(self) -> None:
        """Run the worker until no work is left."""
        while await self.worker.poll() or self.worker.busy:
            await self.worker.join()

    async def start_queries(self) -> None:
        """Poll until the worker runs queries."""
        while not self.worker.busy:
            await self.worker.poll()
            await asyncio.sleep(0.01)

    async def read_values(self, key: str = "plan") -> dict[str, list[str]]:
        """Return the values of a property by userId."""
        rows = await self.database.rows(
            'SELECT substr("profileGuid", 5), array_agg(value ORDER BY position) '
            'FROM "profileProperties" WHERE key = %s GROUP BY 1',
            key,
        )
        return dict(rows)

    async def read_status(self, source: str = "crm") -> SourceStatus:
        """Return the status of a source."""
        return (await read_statuses(self.database.connection, self.now))[source]

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += timedelta(seconds=seconds)


def read_counter(name: str, **labels: str) -> float:
    """Return the value of a counter of this process; 0 if it has not counted yet."""
    return metrics.DECORATION.get_sample_value(name, labels) or 0


def count_query_threads() -> int:
    """Return the number of threads that query sources."""
    return sum(thread.name == "decoration" for thread in threading.enumerate())


def _text(value: object) -> str | None:
    return None if value is None else str(value)
