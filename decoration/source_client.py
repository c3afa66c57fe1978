"""The client of one source: it runs queries in threads, within limits of time, rows and bytes.

A thread cannot be stopped. If a query takes too long, the client leaves its thread behind, which
keeps its connection and one of the few places of the source until the driver returns. So a source
that hangs costs a bounded number of threads and connections, whatever its driver does. The threads
are daemons: the process exits without waiting for them.
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from decoration import dialects
from decoration.errors import (
    AnswerTooLarge,
    AnswerUnreadable,
    QueryRefused,
    SourceTimedOut,
    SourceUnavailable,
    classify_error,
)
from decoration.values import RawArray, ResultTable
from merganser.rulebook.language import Query, Source
from merganser.runtime import isolation

Result = TypeVar("Result")

GRACE_SECONDS = 0.25
"""Time in which the database itself may report the timeout."""
MAX_ROWS = 100_000
"""Rows of the answer to one query for one batch of users."""
MAX_BYTES = dialects.MAX_BYTES
"""Approximate bytes of these rows in memory."""

TOO_LARGE_MESSAGE = (
    f"the answer has more than {MAX_ROWS:,} rows or {MAX_BYTES >> 20} MiB: "
    "add LIMIT, select fewer columns or lower the source's batch"
)
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
"""Most values have one of these types."""


class SourceClient:
    """Runs queries on one source."""

    def __init__(self, source: Source, environment: Mapping[str, str]) -> None:
        """Take the source's URL from the environment. It does not connect yet."""
        self._source = source
        self._environment = environment
        self._engine: Engine | None = None
        self.timeout = source.timeout
        """Seconds after which a query has failed."""
        self.free = source.pool
        """How many more queries may run now; others would wait for a connection."""

    async def run_query(self, query: Query, user_ids: Sequence[str]) -> ResultTable:
        """Run the query for these users.

        Raises:
            SourceUnavailable: no answer, or none in time.
            QueryRefused: the query cannot be run; a `DataRefused` if one user may be the cause.
        """
        engine = self._engine = self._engine or self._create_engine()
        abandoned = threading.Event()

        def work() -> ResultTable:
            return _run_query(engine, query, user_ids, self.timeout, abandoned)

        self.free -= 1
        try:
            return await _run_in_thread(work, self._release, self.timeout + GRACE_SECONDS)
        except TimeoutError:
            raise _timed_out(self.timeout) from None
        finally:
            abandoned.set()

    def close(self) -> None:
        """Close the idle connections."""
        if self._engine:
            self._engine.dispose()

    def _release(self) -> None:
        self.free += 1

    def _create_engine(self) -> Engine:
        name = self._source.url
        if not (text := self._environment.get(name)):
            raise SourceUnavailable(f"the environment variable {name} is not set")
        try:
            url = make_url(text)
        except (SQLAlchemyError, ValueError):  # its message may quote a part of the URL
            raise SourceUnavailable(
                f"the environment variable {name} is not a SQLAlchemy URL"
            ) from None
        try:
            return dialects.create_source_engine(url, self._source)
        except ModuleNotFoundError as error:
            raise SourceUnavailable(
                f"the driver that {name} names is not installed: {error}"
            ) from None
        except (SQLAlchemyError, TypeError) as error:
            raise SourceUnavailable(f"{name}: {classify_error(error, url)}") from None


def check_size(rows: int, size: int) -> None:
    """Raise AnswerTooLarge for an answer with too many rows or bytes."""
    if size > MAX_BYTES or rows > MAX_ROWS:
        raise AnswerTooLarge(TOO_LARGE_MESSAGE)


def read_answer(
    columns: tuple[str, ...],
    chunks: Iterable[Sequence[Sequence[Any]]],
    check_time: Callable[[], None],
) -> ResultTable:
    """Read an answer within the limits.

    Args:
        columns: names of the columns.
        chunks: the rows, some at a time.
        check_time: raises SourceUnavailable if the client no longer waits for the answer.

    Raises:
        AnswerTooLarge: it has too many rows or bytes.
        AnswerUnreadable: the driver cannot read the rows.
        SourceUnavailable: it takes too long.
        SQLAlchemyError: the source reports an error.
    """
    rows: list[Sequence[Any]] = []
    size = 0
    try:
        for chunk in chunks:
            for row in chunk:
                size += estimate_size(row, MAX_BYTES)
                rows.append(row)
                check_size(len(rows), size)
            check_time()
    except (QueryRefused, SourceUnavailable, SQLAlchemyError):
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise anything
        raise AnswerUnreadable(isolation.reason(error)) from None
    return ResultTable(columns, rows, size)


def estimate_size(row: Sequence[Any], max_bytes: int) -> int:
    """Return the approximate bytes of a row in memory, and stop counting beyond `max_bytes`."""
    total = sys.getsizeof(row)
    pending = list(row)
    seen: set[int] = set()
    while pending and total <= max_bytes:
        value = pending.pop()
        if type(value) in _SCALARS:
            total += sys.getsizeof(value)
            continue
        total += _shallow_size(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))  # a value may contain itself
            pending += value
            if isinstance(value, Mapping):
                pending += value.values()
    return total


def _shallow_size(value: Any) -> int:
    match value:
        case memoryview():
            return value.nbytes
        case RawArray():
            return sys.getsizeof(value.data)
    return sys.getsizeof(value)


def _run_query(
    engine: Engine,
    query: Query,
    user_ids: Sequence[str],
    seconds: float,
    abandoned: threading.Event,
) -> ResultTable:
    end = time.monotonic() + seconds

    def check_time() -> None:
        if abandoned.is_set() or time.monotonic() > end:
            raise _timed_out(seconds)

    try:
        with engine.connect() as connection:
            try:
                dialects.begin_read_only(connection, seconds)
                columns, chunks = dialects.execute_query(connection, query, user_ids)
                with contextlib.closing(chunks):
                    return read_answer(columns, chunks, check_time)
            except AnswerTooLarge:
                connection.invalidate()  # some drivers would read the remaining rows first
                raise
            finally:
                if abandoned.is_set():
                    connection.invalidate()
    except (SourceUnavailable, QueryRefused):
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise anything
        raise classify_error(error, engine.url) from None


def _timed_out(seconds: float) -> SourceTimedOut:
    return SourceTimedOut(f"no answer within {seconds:g} s")


async def _run_in_thread(
    work: Callable[[], Result], on_end: Callable[[], None], seconds: float
) -> Result:
    """Return the result of work in its own thread.

    Args:
        work: runs in the thread.
        on_end: called in the event loop when the work has ended, however late.
        seconds: how long to wait for it.

    Raises:
        TimeoutError: the work is still running.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        on_end()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # without an error it is a Result

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - the awaiting task handles it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed, as the process exits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="decoration", daemon=True).start()
    return await asyncio.wait_for(future, seconds)
