"""A database of the company's: asked in threads of its own, and given up on when it is slow.

A thread cannot be stopped. One whose query takes too long is left behind: it keeps its connection,
and its place among the few that the source allows, until the driver lets go of it. So a source that
hangs costs a bounded number of threads and connections, whatever its driver does. They are daemons,
for which the end of the process does not wait.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from decoration import bounds, dialects, statements
from decoration.errors import Outage, Refused, TooLarge, fault
from decoration.values import Table
from merganser.rulebook.language import Query, Source

Result = TypeVar("Result")

GRACE = 0.25
"""Seconds in which the database itself may report that the time is over."""


class Company:
    """One source, ready to be asked."""

    def __init__(self, source: Source, environment: Mapping[str, str]) -> None:
        """Take the source's URL from the environment; nothing is connected to yet."""
        self._source = source
        self._environment = environment
        self._engine: Engine | None = None
        self.timeout = source.timeout
        """Seconds after which a query has failed."""
        self.free = source.pool
        """How many more may ask at the same time; beyond that they wait for each other."""

    async def ask(self, query: Query, user_ids: Sequence[str]) -> Table:
        """Run the query for these users.

        Raises:
            Outage: no answer, or none in time.
            Refused: the query cannot be run; a `RefusedData` where that may be one user's fault.
        """
        engine = self._engine = self._engine or self._connectable()
        given_up = threading.Event()

        def work() -> Table:
            return _ask(engine, query, user_ids, self.timeout, given_up)

        self.free -= 1
        try:
            return await _in_thread(work, self._freed, self.timeout + GRACE)
        except TimeoutError:
            raise _late(self.timeout) from None
        finally:
            given_up.set()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        if self._engine:
            self._engine.dispose()

    def _freed(self) -> None:
        self.free += 1

    def _connectable(self) -> Engine:
        name = self._source.url
        if not (text := self._environment.get(name)):
            raise Outage(f"no environment variable {name}")
        try:
            url = make_url(text)
        except (SQLAlchemyError, ValueError):  # whose message may quote a part of it
            raise Outage(f"what {name} holds is no SQLAlchemy URL") from None
        try:
            return dialects.engine(url, self._source)
        except ModuleNotFoundError as error:
            raise Outage(f"the driver that {name} names is not installed: {error}") from None
        except (SQLAlchemyError, TypeError) as error:
            raise Outage(f"{name}: {fault(error, url)}") from None


def _ask(
    engine: Engine,
    query: Query,
    user_ids: Sequence[str],
    seconds: float,
    given_up: threading.Event,
) -> Table:
    end = time.monotonic() + seconds

    def check_time() -> None:
        if given_up.is_set() or time.monotonic() > end:
            raise _late(seconds)

    try:
        with engine.connect() as connection:
            try:
                dialects.restrain(connection, seconds)
                columns, chunks = statements.ask(connection, query, user_ids)
                with contextlib.closing(chunks):
                    return bounds.read(columns, chunks, check_time)
            except TooLarge:
                connection.invalidate()  # some drivers read what is left before they go on
                raise
            finally:
                if given_up.is_set():
                    connection.invalidate()
    except (Outage, Refused):
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise what they like
        raise fault(error, engine.url) from None


def _late(seconds: float) -> Outage:
    return Outage(f"no answer within {seconds:g} s")


async def _in_thread(
    work: Callable[[], Result], ended: Callable[[], None], seconds: float
) -> Result:
    """The work's result.

    Args:
        work: runs in a thread of its own.
        ended: called in this thread when the work has ended, however late.
        seconds: to wait for it.

    Raises:
        TimeoutError: it goes on.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        ended()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # it is the work's

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - all is for who waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="decoration", daemon=True).start()
    return await asyncio.wait_for(future, seconds)
