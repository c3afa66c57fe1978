"""Old processes run and start after a compatible migration, and refuse to start after another."""

import asyncio

import httpx
import pytest

from schemas import migrations
from schemas.migrations import Migration
from tests.support.gateway import Gateway
from tests.support.system import Kind, System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

MIGRATION = """
ALTER TABLE events ADD COLUMN "userAgent" text;
ALTER TABLE profiles ADD COLUMN notes integer NOT NULL DEFAULT 0;
CREATE INDEX ON events ("userAgent");
CREATE TABLE "profileNotes" ("profileGuid" text, note text)
"""


async def migrate(system: System, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Apply a migration of a future version, which the processes do not know."""
    known = migrations.available()
    future = Migration(len(known) + 1, f"{len(known) + 1:04}_{name}", MIGRATION)
    with monkeypatch.context() as later:
        later.setattr(migrations, "available", lambda: [*known, future])
        assert await migrations.migrate(system.database.url) == [future]


async def check_all_processes(system: System, gateway: Gateway, key: str, api: str) -> None:
    """Send single events, so that each process executes its prepared statements again."""
    before = await system.database.count("events")
    for number in range(before + 1, before + 8):
        await gateway.tracked(type="view", anonymousId="web", userId="1", data={"path": "/"})
        await eventually(lambda: system.database.count("events"), equals(number))
    await system.database.execute("""INSERT INTO events (type, "userId") VALUES ('row', '1')""")
    await eventually(system.database.unresolved, equals(0))
    await eventually(lambda: system.database.count("eventChanges"), equals(0))
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
        answer = await client.get(f"{api}/events", params={"userId": "1", "limit": 500})
    assert len(answer.json()["events"]) == before + 8


async def test_old_processes_run_and_start_after_a_compatible_migration(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await system.key("reader", "events:read")
    gateway = await system.ingest()
    *_, (_, api) = await asyncio.gather(
        system.resolver(), system.scanner(), system.properties(), system.api()
    )
    await check_all_processes(system, gateway, key, api)
    await migrate(system, monkeypatch, "future.compatible")
    await check_all_processes(system, gateway, key, api)
    for service in system.services:
        assert service.defects == []
        assert await service.stop() == 0
        service.start()
    for service in system.services:
        await service.ready()
    await check_all_processes(system, gateway, key, api)
    assert await migrations.migrate(system.database.url) == []


@pytest.mark.parametrize("kind", ["resolver", "scanner", "properties", "api"])
async def test_an_old_process_does_not_start_after_another_migration(
    system: System, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    await migrate(system, monkeypatch, "future")
    service = system.new(kind)
    service.start()
    assert await service.ended(within=30) not in (0, None)
    assert "upgrade merganser" in service.log
