"""Which errors of Postgres are retried, and how transactions are run again."""

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, errors, sql
from pydantic import SecretStr

from merganser.admin.database import open_connection
from merganser.runtime import postgres
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database, describe, is_retryable
from merganser.runtime.settings import Settings
from tests.support import database as test_database
from tests.support import proxy
from tests.support.waiting import eventually

RETRYABLE = [
    errors.UniqueViolation,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.ReadOnlySqlTransaction,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
    errors.ConnectionFailure,
    errors.SqlclientUnableToEstablishSqlconnection,
]
NOT_RETRYABLE = [
    errors.UndefinedTable,
    errors.SyntaxError,
    errors.CheckViolation,
    errors.NotNullViolation,
    errors.InsufficientPrivilege,
    errors.InvalidTextRepresentation,
    errors.UntranslatableCharacter,
    errors.ProgramLimitExceeded,
    errors.InvalidPassword,
    errors.DatabaseDropped,
]


@pytest.mark.parametrize("error", RETRYABLE, ids=lambda error: error.__name__)
def test_an_error_is_retryable(error: type[psycopg.Error]) -> None:
    assert is_retryable(error())


@pytest.mark.parametrize("error", NOT_RETRYABLE, ids=lambda error: error.__name__)
def test_an_error_is_not_retryable(error: type[psycopg.Error]) -> None:
    assert not is_retryable(error())


def test_without_a_sqlstate_only_a_lost_connection_is_retryable() -> None:
    assert is_retryable(psycopg.OperationalError("connection refused"))
    assert not is_retryable(psycopg.ProgrammingError("a mistake in our code"))
    assert not is_retryable(psycopg.InterfaceError("a mistake in our code"))


async def test_the_description_of_an_error_omits_quoted_values(database_url: str) -> None:
    async with test_database.opened(database_url) as opened:
        with pytest.raises(psycopg.Error) as caught:
            await opened.execute("SELECT 'secret'::int")
    assert "secret" in str(caught.value)
    assert "secret" not in describe(caught.value)
    assert "22P02" in describe(caught.value)


async def test_a_transaction_is_repeated_until_it_commits(database_url: str) -> None:
    database, tries = Database(database_url, "test"), []

    async def work(connection: AsyncConnection[Any]) -> int:
        tries.append(await (await connection.execute("SELECT pg_backend_pid()")).fetchone())
        await connection.execute("""INSERT INTO events (type, "userId") VALUES ('t', '1')""")
        if len(tries) < 3:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 7

    assert await database.transact(work, Stop()) == 7
    assert len(set(tries)) == 3  # each on a new connection
    assert database.failure is None
    await database.close()
    async with test_database.opened(database_url) as opened:
        assert await opened.count("events") == 1


async def test_another_error_is_raised_and_rolls_back(database_url: str) -> None:
    database = Database(database_url, "test")

    async def work(connection: AsyncConnection[Any]) -> None:
        await connection.execute("""INSERT INTO events (type, "userId") VALUES ('t', '1')""")
        await connection.execute("SELECT nonsense")

    with pytest.raises(errors.UndefinedColumn):
        await database.transact(work, Stop())
    await database.close()
    async with test_database.opened(database_url) as opened:
        assert await opened.count("events") == 0


@pytest.mark.parametrize("error", [ValueError("of the work"), errors.UndefinedColumn()])
async def test_an_error_of_the_work_is_not_a_failure_of_postgres(
    database_url: str, error: Exception
) -> None:
    """It also clears an earlier failure, because the next work may come much later."""
    database, tries = Database(database_url, "test"), []

    async def work(connection: AsyncConnection[Any]) -> None:
        tries.append(database.failure)
        if len(tries) == 1:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise error

    with pytest.raises(type(error)):
        await database.transact(work, Stop())
    assert tries[1]  # Postgres had failed
    assert database.failure is None
    await database.close()


async def test_a_transaction_waits_for_postgres_until_the_process_stops(
    database_url: str,
) -> None:
    stop = Stop()

    async def work(connection: AsyncConnection[Any]) -> None:
        await connection.execute("SELECT 1")

    async with proxy.run(database_url) as (network, url):
        database = Database(url, "test")
        await database.transact(work, stop)
        await network.stop()
        waiting = asyncio.create_task(database.transact(work, stop))
        await eventually(lambda: database.failure)
        assert not waiting.done()
        stop.set()
        with pytest.raises(StoppedWhileWaiting):
            await waiting
        await database.close()


async def test_transactions_use_utc(database_url: str) -> None:
    time = "SELECT '2026-01-01 00:00Z'::timestamptz::text"
    async with test_database.opened(database_url) as opened:
        name = opened.connection.info.dbname
        alter = sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'")
        await opened.connection.execute(alter.format(sql.Identifier(name)))
    async with await postgres.connect(database_url, "test") as connection:
        assert await (await connection.execute(time)).fetchone() == ("2026-01-01 09:00:00+09",)
        async with connection.transaction():
            assert await (await connection.execute(time)).fetchone() == ("2026-01-01 00:00:00+00",)
    settings = Settings(_env_file=None, database_url=SecretStr(database_url))
    async with open_connection(settings, "test") as connection:
        assert await (await connection.execute(time)).fetchone() == ("2026-01-01 00:00:00+00",)


SETTINGS = """SELECT current_setting('enable_seqscan'), current_setting('merganser.test', true),
    current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone')"""


async def test_settings_apply_only_to_the_transaction(database_url: str) -> None:
    settings = {"enable_seqscan": "off", "merganser.test": "on"}
    async with await postgres.connect(database_url, "test", settings) as connection:

        async def read_settings() -> tuple[Any, ...] | None:
            return await (await connection.execute(SETTINGS)).fetchone()

        _, _, _, before = await read_settings() or ()
        for _ in range(2):
            async with connection.transaction():
                assert await read_settings() == ("off", "on", "15s", "UTC")
                async with connection.transaction():
                    assert await read_settings() == ("off", "on", "15s", "UTC")
        assert await read_settings() == ("on", "", "0", before)


async def test_a_failed_savepoint_keeps_the_earlier_statements(database_url: str) -> None:
    async with await postgres.connect(database_url, "test") as connection:

        async def fail() -> None:
            async with connection.transaction():
                await connection.execute("SELECT nonsense")

        async with connection.transaction():
            await connection.execute("CREATE TABLE kept ()")
            with pytest.raises(errors.UndefinedColumn):
                await fail()
        left = await connection.execute("SELECT to_regclass('kept')::text")
        assert await left.fetchone() == ("kept",)


async def test_a_transaction_with_force_rollback_is_rolled_back(database_url: str) -> None:
    async with await postgres.connect(database_url, "test") as connection:
        async with connection.transaction(force_rollback=True):
            await connection.execute("CREATE TABLE gone ()")
        left = await connection.execute("SELECT to_regclass('gone')")
        assert await left.fetchone() == (None,)


async def test_a_commit_after_a_suppressed_error_raises(database_url: str) -> None:
    """Postgres answers such a COMMIT with ROLLBACK instead of an error."""
    async with await postgres.connect(database_url, "test") as connection:

        async def suppress_error() -> None:
            async with connection.transaction():
                with suppress(errors.UndefinedColumn):
                    await connection.execute("SELECT nonsense")

        with pytest.raises(errors.InFailedSqlTransaction):
            await suppress_error()
        async with connection.transaction(mode="READ ONLY"):
            await connection.execute("SELECT 1")


async def test_cancelled_work_leaves_no_open_transaction(database_url: str) -> None:
    async with await postgres.connect(database_url, "test") as connection:

        async def sleep() -> None:
            async with connection.transaction():
                await connection.execute("SELECT pg_sleep(60)")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep(), 0.3)
        async with connection.transaction():
            assert (await connection.execute("SELECT 1")).rowcount == 1


async def test_a_process_prepares_its_statements(database_url: str) -> None:
    """But not behind a pooler: see tests/deploy/test_pooler.py."""
    database = Database(database_url, "test")

    async def count_prepared(connection: AsyncConnection[Any]) -> int:
        await connection.execute("SELECT %s::text", ["a"])
        cursor = await connection.execute("SELECT name FROM pg_prepared_statements")
        return len(await cursor.fetchall())

    counts = [await database.transact(count_prepared, Stop()) for _ in range(9)]
    await database.close()
    assert counts[0] == 0
    assert counts[-1] > 0


async def test_a_connection_for_commands_prepares_no_statements(database_url: str) -> None:
    """Behind a pooler, another session may have other statements of the same names."""
    async with await postgres.connect(database_url, "test") as connection:
        for _ in range(20):
            await connection.execute("SELECT %s::text", ["a"])
        left = await connection.execute("SELECT name FROM pg_prepared_statements")
        assert await left.fetchall() == []
