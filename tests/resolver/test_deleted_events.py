"""A deleted event stays deleted when it is delivered again."""

from typing import Any

import httpx

from tests.resolver.test_replay import replay
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

DELETED = "merganser_resolver_events_already_deleted_total"
REPEATED = "merganser_resolver_events_repeated_total"


async def types(system: System) -> list[Any]:
    return sorted(await system.database.column("SELECT type FROM events"))


async def test_an_event_deleted_over_the_api_stays_deleted(system: System) -> None:
    gateway, resolver = await system.ingest(), await system.resolver()
    _, api = await system.api()
    goes = {"type": "goes", "userId": "ann", "messageId": "m-1", "data": {"card": "her card"}}
    guid = await gateway.tracked(**goes)
    await gateway.tracked(type="stays", userId="ann", messageId="m-2")
    await eventually(lambda: types(system), equals(["goes", "stays"]))
    key = await system.key("eraser", "events:delete")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
        answer = await client.delete(f"{api}/event/{guid}")
    assert answer.status_code == 200, answer.text

    result = await replay(system, "--from", "start", "--yes")
    assert result.exit_code == 0, result.output
    await eventually(lambda: resolver.metric(DELETED), equals(1))
    assert await gateway.tracked(**goes) == guid  # the client gets a success
    await eventually(lambda: resolver.metric(DELETED), equals(2))
    await gateway.tracked(type="new", userId="ann")
    await eventually(lambda: types(system), equals(["new", "stays"]))
    assert await resolver.metric(REPEATED) == 1
    assert guid not in resolver.log
    assert "her card" not in resolver.log
    assert sum(line.get("deleted", 0) for line in resolver.log_lines) == 2


async def test_a_deleted_row_that_another_system_inserts_again_is_stored(system: System) -> None:
    await system.resolver()
    deleted = event("ann", kind="deleted")
    await system.events.publish_events([deleted])
    await eventually(lambda: types(system), equals(["deleted"]))
    await system.database.execute("DELETE FROM events")
    await system.database.execute(
        "INSERT INTO events (guid, type, \"userId\") VALUES (%s, 'corrected', 'ann')",
        deleted["guid"],
    )
    scanner = await system.scanner()
    await eventually(lambda: scanner.metric("merganser_scanner_rows_resolved_total"), equals(1))
    await system.events.publish_events([deleted, event("ann", kind="later", at=1)])
    await eventually(lambda: types(system), equals(["corrected", "later"]))
    assert await system.database.unresolved() == 0


async def test_a_role_that_may_delete_events_needs_no_right_to_deleted_events(
    system: System,
) -> None:
    await system.database.execute(
        "INSERT INTO events (guid, type, \"userId\") VALUES ('evt_1', 'row', 'ann')"
    )
    role = f"other_{system.topics.suffix}"
    await system.database.connection.execute(f'CREATE ROLE "{role}"'.encode())
    try:
        await system.database.connection.execute(f'GRANT DELETE ON events TO "{role}"'.encode())
        async with system.database.connection.transaction():
            await system.database.connection.execute(f'SET LOCAL ROLE "{role}"'.encode())
            await system.database.execute("DELETE FROM events")
    finally:
        await system.database.connection.execute(f'DROP OWNED BY "{role}"'.encode())
        await system.database.connection.execute(f'DROP ROLE "{role}"'.encode())
    assert await system.database.column(
        """SELECT hash = "suppressionHash"('event', 'evt_1') FROM "deletedEvents" """
    ) == [True]
