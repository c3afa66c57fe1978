"""Connections to Postgres that reconnect, and the errors that are worth another try."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
import structlog
from aiokafka.errors import KafkaError
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.retry import backoff

log = structlog.get_logger(__name__)

UNIQUE_VIOLATION = "23505"

CONTENTION = {
    UNIQUE_VIOLATION: "unique violation: another worker wrote the same row first",
    "40001": "serialization failure",
    "40P01": "deadlock",
}
"""SQLSTATEs of conflicts between workers: the next try is likely to succeed."""

CONTENDED = frozenset({"anonymousIds_pkey", "events_pkey", "profiles_pkey", "profiles_userId_key"})
"""Unique constraints that workers violate when they insert the same row at once. The next try reads
that row. A violation of any other constraint repeats with every try."""

MAX_CONTENTION_TRIES = 20
"""Tries after which a conflict is not temporary but caused by the rows."""

OUTAGE = {
    "25006": "read-only transaction: a failover is in progress",
    "25P03": "idle in transaction for too long: this process was frozen",
    "25P04": "transaction timeout",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "lock not available",
    "57014": "query canceled",
    "57P01": "administrator shut the server down",
    "57P02": "server crashed",
    "57P03": "server is starting up",
    "57P05": "idle session ended",
}
"""SQLSTATEs of a temporary outage. Other errors are a bug or caused by the data."""

RETRYABLE = CONTENTION | OUTAGE

STRAIN = frozenset({"25P04", "53200", "57014"})
"""SQLSTATEs of `OUTAGE` that a too large batch may cause too: it takes too long or too much
memory."""

MAX_STRAIN_TRIES = 3
"""Tries of divisible work, before the caller divides it."""

PREPARE_AT = 5
"""After how many executions of a statement a connection prepares it."""

_VERSION = version("merganser")

Result = TypeVar("Result")


def is_contention(error: psycopg.Error) -> bool:
    """Return whether the error is a conflict between workers that another try solves."""
    if error.sqlstate == UNIQUE_VIOLATION:
        return error.diag.constraint_name in CONTENDED or error.diag.constraint_name is None
    return error.sqlstate in CONTENTION


def is_retryable(error: psycopg.Error) -> bool:
    """Return whether the same work may succeed later; a lost connection has no SQLSTATE."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return is_contention(error) or error.sqlstate in OUTAGE or error.sqlstate.startswith("08")


SAFE_MESSAGES = (psycopg.OperationalError, KafkaError, OSError, RuntimeError)
"""Errors whose messages describe servers, files and this program, not events."""


def describe(error: BaseException) -> str:
    """Describe an error for logs and /readyz, without a message that may quote rows."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return f"{type(error).__name__} {state}: {RETRYABLE.get(state, 'see the SQLSTATE')}"
    if isinstance(error, SAFE_MESSAGES):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


SAFE = {"timezone": "UTC", "idle_in_transaction_session_timeout": "15s"}
"""Settings of every transaction. The second frees the locks of a suspended process; but not during
a COPY, which only another session can end: see resolver/sql/positions.sql."""

BY_KEY = dict.fromkeys(
    (f"enable_{method}" for method in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")), "off"
) | {"max_parallel_workers_per_gather": "0"}
"""Planner settings. Each statement reads few rows by key from large tables. With old statistics, as
after a bulk load, the planner would read a whole table instead. To start parallel workers takes
longer than the reading."""

DATA_WITH_EVENTS = {"merganser.data_with_events": "on"}
"""Tells the tables' triggers that this transaction writes an event's data together with the event,
so that one row in `eventChanges` is enough (schemas/migrations/0003_properties.sql)."""


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection that sets the same settings at the start of each transaction.

    BEGIN sends them in the same round trip, and they last as long as the transaction. A pooler such
    as PgBouncer refuses `options` in the startup packet and may change the session with each
    transaction.
    """

    local: Mapping[str, str] = SAFE
    """The settings of each transaction."""

    @asynccontextmanager
    async def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 - as psycopg has it
        mode: str = "",
    ) -> AsyncIterator[Any]:
        """Run the `async with` block in a transaction and commit it; inside of one, in a savepoint.

        Args:
            savepoint_name: psycopg's, for a savepoint.
            force_rollback: roll back at the end of the block.
            mode: text after BEGIN, such as `READ ONLY`; ignored for a savepoint.

        Raises:
            psycopg.errors.InFailedSqlTransaction: the block ignored an error of Postgres.
        """
        if self.info.transaction_status is not TransactionStatus.IDLE:
            async with super().transaction(savepoint_name, force_rollback) as savepoint:
                yield savepoint
            return
        local = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in self.local.items())
        try:
            await self.execute(f"BEGIN {mode}{local}".encode(), prepare=False)
            yield None
            if force_rollback:
                await self._roll_back()
            else:
                await self._commit()
        except BaseException:
            await self._roll_back()
            raise

    async def _commit(self) -> None:
        result = await self.execute(b"COMMIT", prepare=False)
        if result.statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("rolled back after an earlier error")

    async def _roll_back(self) -> None:
        """Roll back, or close the connection: the next user must not continue this transaction."""
        if self.closed or self.info.transaction_status is TransactionStatus.IDLE:
            return
        try:
            await self.execute(b"ROLLBACK", prepare=False)
        except psycopg.Error as error:
            log.warning("closed a connection that could not roll back", error=describe(error))
            await self.close()


def connection_options(name: str) -> dict[str, Any]:
    """Return psycopg's arguments for a connection in autocommit mode that detects a dead server.

    Args:
        name: Postgres shows it as the application's name, between "merganser" and the version.
    """
    return {
        "autocommit": True,
        "application_name": f"merganser {name} {_VERSION}",
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "prepare_threshold": None,  # see `prepare`
    }


async def connect(
    url: str, name: str, settings: Mapping[str, str] = MappingProxyType({})
) -> Connection:
    """Return a connection in autocommit mode that detects a dead server.

    Args:
        url: of the database.
        name: Postgres shows it as the application's name, after "merganser".
        settings: of each transaction, in addition to `SAFE`.
    """
    connection = await Connection.connect(url, **connection_options(name))
    connection.local = {**SAFE, **settings}
    return connection


async def prepare(connection: Connection) -> None:
    """Let the connection prepare repeated statements, if it leads directly to Postgres.

    That saves Postgres about 1 ms of CPU per transaction. Behind a pooler, the next transaction may
    run in a session with other prepared statements of the same names. The pooler's process id
    differs from that of the session.
    """
    cursor = await connection.execute("SELECT pg_backend_pid()")
    if await cursor.fetchone() == (connection.info.backend_pid,):
        connection.prepare_threshold = PREPARE_AT


class Database:
    """A process's connection; it opens when needed, and again when lost."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Connection | None = None
        self.failure: str | None = "not connected yet"
        """Why the last attempt failed; None if it succeeded."""

    async def transact(
        self,
        work: Callable[[AsyncConnection[tuple[Any, ...]]], Awaitable[Result]],
        stop: Stop,
        tries: int | None = None,
    ) -> Result:
        """Run the work in a transaction until it commits.

        The work may run again even after a commit, if the connection was lost before the answer:
        it must be idempotent.

        Args:
            work: the statements of the transaction; it must not ignore errors.
            stop: ends the wait between tries.
            tries: for work that the caller can divide (`isolation.py`): the most tries after
                conflicts; `MAX_STRAIN_TRIES` is the most after strain. By default, conflicts
                allow `MAX_CONTENTION_TRIES`, and strain any number.

        Raises:
            psycopg.Error: another try cannot fix it, or all tries failed.
            StoppedWhileWaiting: the process should stop.
        """
        contended = strained = 0
        for delay in backoff():
            try:
                result = await self._once(work)
            except psycopg.Error as error:
                contention = is_contention(error)
                contended += contention
                strained += error.sqlstate in STRAIN
                answered = contention or not is_retryable(error)
                self.failure = None if answered else describe(error)
                if (
                    not is_retryable(error)
                    or contended >= (tries or MAX_CONTENTION_TRIES)
                    or (tries and strained >= MAX_STRAIN_TRIES)
                ):
                    raise
                log.warning("transaction failed, trying again", error=describe(error))
            except Exception:
                self.failure = None  # raised by the work itself: Postgres answers
                raise
            else:
                self.failure = None
                return result
            if await stop.wait(delay):
                raise StoppedWhileWaiting
        raise AssertionError("backoff never ends")

    async def close(self) -> None:
        """Close the connection."""
        if self._connection:
            await self._connection.close()
            self._connection = None

    async def _once(
        self, work: Callable[[AsyncConnection[tuple[Any, ...]]], Awaitable[Result]]
    ) -> Result:
        if self._connection is None or self._connection.closed:
            self._connection = await connect(self._url, self._name, BY_KEY | DATA_WITH_EVENTS)
            await prepare(self._connection)
        connection = self._connection
        async with connection.transaction():
            return await work(connection)
