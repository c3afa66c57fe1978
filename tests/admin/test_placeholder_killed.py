"""`forget --placeholder` is killed after any transaction, and continues later."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from psycopg import AsyncConnection

from merganser.admin import forget
from merganser.admin.placeholder import run_steps
from merganser.identity import placeholder
from merganser.identity.audit import audit
from merganser.identity.forget import Request
from merganser.identity.placeholder import Placeholder
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from schemas.ids import NOBODY
from tests.admin.persons import find_traces, read_tables
from tests.admin.test_erasure_ledger import TRUNCATE, Killed
from tests.identity.test_trail import at, resolve
from tests.support.chunks import move_some
from tests.support.database import Database

Result = TypeVar("Result")

PLACEHOLDER, ANN = "tester-7", "ann-of-london"
REMOVE = Request(PLACEHOLDER, "an operator", "no person", "placeholder")
FORGET = Request(ANN, "an officer", "a request", "all")

EVENTS = (
    EventIds("evt_phone", at(0), None, "phone-1"),
    EventIds("evt_tablet", at(0), None, "tablet-1"),
    EventIds("evt_only", at(1), PLACEHOLDER, None),
    EventIds("evt_tested_phone", at(2), PLACEHOLDER, "phone-1"),
    EventIds("evt_tested_tablet", at(2), PLACEHOLDER, "tablet-1"),
    EventIds("evt_ann", at(3), ANN, "phone-1"),
)
"""Ann's phone and a tablet, which the placeholder has merged."""


async def fill(database: Database) -> Placeholder:
    await database.execute(TRUNCATE)
    for event in EVENTS:
        await resolve(database, event)
    found = await placeholder.find_placeholder(database.connection, PLACEHOLDER)
    assert found is not None
    return found


async def remove(database: Database, found: Placeholder, transactions: int) -> bool:
    """Run the command; return False if it is killed after that many transactions."""
    async with await connect(database.url, "test") as connection:

        async def transact(work: Callable[[AsyncConnection[Any]], Awaitable[Result]], /) -> Result:
            nonlocal transactions
            if transactions == 0:
                raise Killed
            transactions -= 1
            async with connection.transaction():
                return await work(connection)

        try:
            await run_steps(transact, found, REMOVE, NOBODY, 2, lambda _: None)
        except Killed:
            return False
    return True


async def forget_ann(database: Database) -> None:
    profile = await database.profile_of(ANN)
    async with await connect(database.url, "test") as connection:

        async def transact(work: Callable[[AsyncConnection[Any]], Awaitable[Result]], /) -> Result:
            async with connection.transaction():
                return await work(connection)

        await forget.erase_profile(transact, profile, FORGET, lambda _: None)


@pytest.mark.parametrize("scanner", [False, True], ids=["no scanner", "a scanner"])
async def test_a_person_is_forgotten_while_a_removal_is_unfinished(
    database: Database, *, scanner: bool
) -> None:
    """The person's device has been the placeholder's."""
    transactions, finished = 0, False
    while not finished:
        found = await fill(database)
        finished = await remove(database, found, transactions)
        owner = """SELECT "userId" FROM "anonymousIds" WHERE "anonymousId" = 'phone-1'"""
        is_of_ann = await database.value(owner) == ANN
        if scanner:
            async with await connect(database.url, "test") as connection:
                await move_some(connection, 1)
        await forget_ann(database)
        traces = {ANN, "phone-1", "evt_phone"} if is_of_ann else {ANN}
        assert find_traces(await read_tables(database), traces) == set()
        if transactions == 0 or await database.count("erasures"):
            assert await remove(database, found, 1000)
        assert find_traces(await read_tables(database), {*traces, PLACEHOLDER}) == set()
        of_tablet = ["evt_tablet", "evt_tested_tablet"]
        of_phone = [] if is_of_ann else ["evt_phone", "evt_tested_phone"]
        events = await database.column("SELECT guid FROM events ORDER BY guid")
        assert events == sorted(of_tablet + of_phone)
        assert (await audit(database.connection, NOBODY, lambda _: None)).disagreements == []
        assert await database.count("eventMoves") == await database.count("erasures") == 0
        transactions += 1
    assert transactions > 8
