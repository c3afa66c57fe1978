"""The log of actions: what is stored, and in which pages it is read."""

import pytest

from merganser.admin.actions import Actor, list_actions, record_action
from merganser.http.errors import HttpError
from tests.support.actions import OPERATOR, read_actions
from tests.support.database import Database

ANN = Actor("console", "ann (key_1)")


async def fill(database: Database, count: int) -> None:
    """Store actions; those of one transaction have the same time."""
    async with database.connection.transaction():
        for number in range(count):
            actor = ANN if number % 3 == 0 else OPERATOR
            await record_action(database.connection, actor, f"action {number % 2}")


async def test_an_action_says_who_what_why_and_how_much(database: Database) -> None:
    await record_action(
        database.connection, ANN, "key revoked", subject="key_2", reason="lost", counts={"keys": 1}
    )
    await record_action(database.connection, OPERATOR, "id readmitted")
    assert await read_actions(database) == [
        ("console", "ann (key_1)", "key revoked", "key_2", "lost", {"keys": 1}),
        ("cli", "an operator", "id readmitted", None, None, {}),
    ]
    newest, oldest = (await list_actions(database.connection)).actions
    assert (newest.action, newest.subject, newest.counts) == ("id readmitted", None, {})
    assert (oldest.source, oldest.actor, oldest.reason) == ("console", "ann (key_1)", "lost")
    assert oldest.counts == {"keys": 1}


async def test_an_action_of_a_transaction_that_is_rolled_back_is_not_stored(
    database: Database,
) -> None:
    async with database.connection.transaction(force_rollback=True):
        await record_action(database.connection, OPERATOR, "key created")
    assert await read_actions(database) == []


@pytest.mark.parametrize("limit", [1, 3, 9, 10])
async def test_pages_have_each_action_once(database: Database, limit: int) -> None:
    await fill(database, 5)
    await fill(database, 5)
    seen, cursor = [], None
    while True:
        page = await list_actions(database.connection, cursor=cursor, limit=limit)
        assert len(page.actions) <= limit
        seen += page.actions
        cursor = page.next_cursor
        if cursor is None:
            break
    order = [(action.created_at, action.guid) for action in seen]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == 10


async def test_actions_are_filtered_by_action_and_actor(database: Database) -> None:
    await fill(database, 9)
    by_ann = (await list_actions(database.connection, actor=ANN.name)).actions
    assert [action.action for action in by_ann].count("action 0") == 2
    both = await list_actions(database.connection, actor=ANN.name, action="action 1")
    assert len(both.actions) == 1
    assert (await list_actions(database.connection, action="Action 1")).actions == []


async def test_a_cursor_of_another_page_is_refused(database: Database) -> None:
    with pytest.raises(HttpError, match="not a cursor"):
        await list_actions(database.connection, cursor="WyJldmVudHMiXQ")
