"""Kill a command between two of its transactions."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from psycopg import AsyncConnection

from merganser.admin.database import Transact

Result = TypeVar("Result")
Work = Callable[[AsyncConnection[Any]], Awaitable[Result]]


class Killed(Exception):
    """The command was killed between two transactions."""


def transact_on(connection: AsyncConnection[Any]) -> Transact:
    """Return a function that runs each transaction once, on this connection."""

    async def transact(work: Work[Result], /) -> Result:
        async with connection.transaction():
            return await work(connection)

    return transact


def kill_after(transactions: int, transact: Transact) -> Transact:
    """Return a function that runs that many transactions, then raises `Killed`."""
    remaining = transactions

    async def limited(work: Work[Result], /) -> Result:
        nonlocal remaining
        if remaining == 0:
            raise Killed
        remaining -= 1
        return await transact(work)

    return limited
