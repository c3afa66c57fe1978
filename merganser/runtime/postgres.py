"""One connection to Postgres that comes back, and the failures that are worth another try."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
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
"""SQLSTATEs of workers in each other's way: the next try is likely to succeed."""

CONTENDED = frozenset({"anonymousIds_pkey", "events_pkey", "profiles_pkey", "profiles_userId_key"})
"""Unique constraints that workers meet by making the same row at once: the next try sees that row
and makes none. A conflict with any other comes back with the same rows, however often they are
tried."""

MOST_CONTENTION = 20
"""Tries after which contention is a defect of the rows, not of the moment."""

OUTAGE = {
    "25006": "read-only transaction: a failover is under way",
    "25P03": "idle in transaction for too long: this process was frozen",
    "25P04": "transaction timeout",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "lock not available",
    "57014": "query cancelled",
    "57P01": "administrator shut the server down",
    "57P02": "server crashed",
    "57P03": "server is starting up",
    "57P05": "idle session ended",
}
"""SQLSTATEs of a server that will be back. Anything else is a bug or a dead letter (§5)."""

RETRYABLE = CONTENTION | OUTAGE

STRAIN = frozenset({"25P04", "53200", "57014"})
"""Those of `OUTAGE` that too large a piece of work may cause as well: it takes too long or too
much memory."""

MOST_STRAIN = 3
"""Tries of work that can be divided, after which a smaller piece is worth more than another try."""

PREPARE_AT = 5
"""How often a connection runs a statement before it has it prepared."""

Result = TypeVar("Result")


def is_contention(error: psycopg.Error) -> bool:
    """Whether workers were in each other's way: which constraint conflicts tells."""
    if error.sqlstate == UNIQUE_VIOLATION:
        return error.diag.constraint_name in CONTENDED or error.diag.constraint_name is None
    return error.sqlstate in CONTENTION


def is_retryable(error: psycopg.Error) -> bool:
    """Whether the same work may succeed later; a lost connection has no SQLSTATE."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return is_contention(error) or error.sqlstate in OUTAGE or error.sqlstate.startswith("08")


SPEAK_FREELY = (psycopg.OperationalError, KafkaError, OSError, RuntimeError)
"""Errors whose messages are about servers, files and this program, not about events."""


def describe(error: BaseException) -> str:
    """An error for logs and /readyz: no message that may quote rows, but the code or the kind."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return f"{type(error).__name__} {state}: {RETRYABLE.get(state, 'see the SQLSTATE')}"
    if isinstance(error, SPEAK_FREELY):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


SAFE = {"timezone": "UTC", "idle_in_transaction_session_timeout": "15s"}
"""Settings of every transaction. The second frees the locks of a process that is suspended; but not
amid a COPY, which only another session can end: see resolver/sql/positions.sql."""

BY_KEY = dict.fromkeys(
    (f"enable_{way}" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")), "off"
)
"""Planner settings of the workers. Each of their statements finds few rows by key in large tables.
Where statistics are old, as after a bulk load, the planner would read a whole table instead."""

DATA_WITH_EVENTS = {"merganser.data_with_events": "on"}
"""Tells the tables' triggers that this transaction writes an event's data together with the event,
so that the one note of the event is enough (schemas/migrations/0003_properties.sql)."""


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection whose transactions each begin with the same settings.

    Settings go with BEGIN, in the same round trip, and end with the transaction: a pooler such as
    PgBouncer refuses `options` in the startup packet, and gives each transaction another session.
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
        """A transaction that commits at the end of the `async with` block, or a savepoint in one.

        Args:
            savepoint_name: psycopg's, for a savepoint.
            force_rollback: commit nothing, in any case.
            mode: what follows BEGIN, such as `READ ONLY`; not for a savepoint.

        Raises:
            psycopg.errors.InFailedSqlTransaction: the block has swallowed an error of Postgres.
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
        done = await self.execute(b"COMMIT", prepare=False)
        if done.statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("rolled back after an earlier error")

    async def _roll_back(self) -> None:
        """Leave the transaction, or close the connection: nobody may go on amid it."""
        if self.closed or self.info.transaction_status is TransactionStatus.IDLE:
            return
        try:
            await self.execute(b"ROLLBACK", prepare=False)
        except psycopg.Error as error:
            log.warning("connection closed, as it could not roll back", error=describe(error))
            await self.close()


def connection_options(name: str) -> dict[str, Any]:
    """Return psycopg's arguments for a connection in autocommit mode that notices a dead peer.

    Args:
        name: Postgres shows it as the application's name, after "merganser".
    """
    return {
        "autocommit": True,
        "application_name": f"merganser {name}",
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
    """A connection in autocommit mode that notices a dead peer.

    Args:
        url: of the database.
        name: that Postgres shows as the application's, after "merganser".
        settings: of each transaction, beside `SAFE`.
    """
    connection = await Connection.connect(url, **connection_options(name))
    connection.local = {**SAFE, **settings}
    return connection


async def prepare(connection: Connection) -> None:
    """Have statements that come again prepared, if it is Postgres itself that we are connected to.

    That saves Postgres about 1 ms of CPU a transaction. A pooler may give the next transaction a
    session that does not know our statements, or knows others by the same names. It shows itself
    by a process id that is not that of the session.
    """
    cursor = await connection.execute("SELECT pg_backend_pid()")
    if await cursor.fetchone() == (connection.info.backend_pid,):
        connection.prepare_threshold = PREPARE_AT


class Database:
    """A process's connection: opened when needed, opened anew when lost."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Connection | None = None
        self.failure: str | None = "not connected yet"
        """Why the last attempt failed, or None if it did not."""

    async def transact(
        self,
        work: Callable[[AsyncConnection[tuple[Any, ...]]], Awaitable[Result]],
        stop: Stop,
        tries: int | None = None,
    ) -> Result:
        """Run the work in a transaction until it commits.

        Work may run many times, and once more after a commit whose answer was lost: it must
        notice that by what it reads.

        Args:
            work: everything that belongs together; it must not swallow errors.
            stop: ends the waiting between tries.
            tries: given for work that the caller can divide (`isolation.py`): how often
                contention is tried, and strain `MOST_STRAIN` times. Otherwise contention is tried
                `MOST_CONTENTION` times, and strain until it ends.

        Raises:
            psycopg.Error: one that another try cannot fix, or that did not end within the tries.
            StoppedWhileWaiting: the process is to stop.
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
                    or contended >= (tries or MOST_CONTENTION)
                    or (tries and strained >= MOST_STRAIN)
                ):
                    raise
                log.warning("transaction failed, trying again", error=describe(error))
            except Exception:
                self.failure = None  # what the work found: Postgres answers again
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
