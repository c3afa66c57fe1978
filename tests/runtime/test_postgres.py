"""Which failures of Postgres are worth another try, and that the try is made."""

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

WORTH_IT = [
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
NOT_WORTH_IT = [
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


@pytest.mark.parametrize("error", WORTH_IT, ids=lambda error: error.__name__)
def test_worth_another_try(error: type[psycopg.Error]) -> None:
    assert is_retryable(error())


@pytest.mark.parametrize("error", NOT_WORTH_IT, ids=lambda error: error.__name__)
def test_not_worth_it(error: type[psycopg.Error]) -> None:
    assert not is_retryable(error())


def test_without_a_sqlstate_only_a_lost_connection_is() -> None:
    assert is_retryable(psycopg.OperationalError("connection refused"))
    assert not is_retryable(psycopg.ProgrammingError("our own mistake"))
    assert not is_retryable(psycopg.InterfaceError("our own mistake"))


async def test_what_the_server_quotes_is_not_described(database_url: str) -> None:
    async with test_database.opened(database_url) as opened:
        with pytest.raises(psycopg.Error) as caught:
            await opened.execute("SELECT 'secret'::int")
    assert "secret" in str(caught.value)
    assert "secret" not in describe(caught.value)
    assert "22P02" in describe(caught.value)


async def test_a_transaction_is_tried_until_it_commits(database_url: str) -> None:
    database, tries = Database(database_url, "test"), []

    async def work(connection: AsyncConnection[Any]) -> int:
        tries.append(await (await connection.execute("SELECT pg_backend_pid()")).fetchone())
        await connection.execute("""INSERT INTO events (type, "userId") VALUES ('t', '1')""")
        if len(tries) < 3:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 7

    assert await database.transact(work, Stop()) == 7
    assert len(set(tries)) == 3  # each on a connection of its own
    assert database.failure is None
    await database.close()
    async with test_database.opened(database_url) as opened:
        assert await opened.count("events") == 1


async def test_another_error_is_raised_and_nothing_is_left(database_url: str) -> None:
    database = Database(database_url, "test")

    async def work(connection: AsyncConnection[Any]) -> None:
        await connection.execute("""INSERT INTO events (type, "userId") VALUES ('t', '1')""")
        await connection.execute("SELECT nonsense")

    with pytest.raises(errors.UndefinedColumn):
        await database.transact(work, Stop())
    await database.close()
    async with test_database.opened(database_url) as opened:
        assert await opened.count("events") == 0


@pytest.mark.parametrize("found", [ValueError("of the work"), errors.UndefinedColumn()])
async def test_postgres_is_not_blamed_for_what_the_work_finds(
    database_url: str, found: Exception
) -> None:
    """Also not after it was away: there may be no other work for long."""
    database, tries = Database(database_url, "test"), []

    async def work(connection: AsyncConnection[Any]) -> None:
        tries.append(database.failure)
        if len(tries) == 1:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise found

    with pytest.raises(type(found)):
        await database.transact(work, Stop())
    assert tries[1]  # it was away
    assert database.failure is None
    await database.close()


async def test_while_postgres_is_away_it_waits_until_the_process_is_to_stop(
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


async def test_times_are_read_and_written_in_utc(database_url: str) -> None:
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


SHOWN = """SELECT current_setting('enable_seqscan'), current_setting('merganser.test', true),
    current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone')"""


async def test_settings_last_as_long_as_the_transaction(database_url: str) -> None:
    settings = {"enable_seqscan": "off", "merganser.test": "on"}
    async with await postgres.connect(database_url, "test", settings) as connection:

        async def shown() -> tuple[Any, ...] | None:
            return await (await connection.execute(SHOWN)).fetchone()

        _, _, _, before = await shown() or ()
        for _ in range(2):
            async with connection.transaction():
                assert await shown() == ("off", "on", "15s", "UTC")
                async with connection.transaction():
                    assert await shown() == ("off", "on", "15s", "UTC")
        assert await shown() == ("on", "", "0", before)


async def test_a_savepoint_that_fails_leaves_the_transaction_as_it_was(database_url: str) -> None:
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


async def test_a_transaction_that_is_to_leave_nothing_leaves_nothing(database_url: str) -> None:
    async with await postgres.connect(database_url, "test") as connection:
        async with connection.transaction(force_rollback=True):
            await connection.execute("CREATE TABLE gone ()")
        left = await connection.execute("SELECT to_regclass('gone')")
        assert await left.fetchone() == (None,)


async def test_a_commit_after_a_swallowed_error_is_no_success(database_url: str) -> None:
    """Postgres answers ROLLBACK, and no error."""
    async with await postgres.connect(database_url, "test") as connection:

        async def swallow() -> None:
            async with connection.transaction():
                with suppress(errors.UndefinedColumn):
                    await connection.execute("SELECT nonsense")

        with pytest.raises(errors.InFailedSqlTransaction):
            await swallow()
        async with connection.transaction(mode="READ ONLY"):
            await connection.execute("SELECT 1")


async def test_work_that_is_cancelled_leaves_no_transaction_open(database_url: str) -> None:
    async with await postgres.connect(database_url, "test") as connection:

        async def sleep() -> None:
            async with connection.transaction():
                await connection.execute("SELECT pg_sleep(60)")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep(), 0.3)
        async with connection.transaction():
            assert (await connection.execute("SELECT 1")).rowcount == 1


async def test_a_process_has_its_statements_prepared_by_postgres_itself(database_url: str) -> None:
    """Behind a pooler it does not: see tests/deploy/test_pooler.py."""
    database = Database(database_url, "test")

    async def prepared(connection: AsyncConnection[Any]) -> int:
        await connection.execute("SELECT %s::text", ["a"])
        found = await connection.execute("SELECT name FROM pg_prepared_statements")
        return len(await found.fetchall())

    counts = [await database.transact(prepared, Stop()) for _ in range(9)]
    await database.close()
    assert counts[0] == 0
    assert counts[-1] > 0


async def test_no_other_statement_is_prepared(database_url: str) -> None:
    """A pooler may give the next transaction to a session that knows others by the same names."""
    async with await postgres.connect(database_url, "test") as connection:
        for _ in range(20):
            await connection.execute("SELECT %s::text", ["a"])
        left = await connection.execute("SELECT name FROM pg_prepared_statements")
        assert await left.fetchall() == []
