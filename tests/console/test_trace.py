"""An event is traced through the real topics."""

import time

from pydantic import SecretStr

from merganser.http.authentication import Permission
from merganser.runtime.settings import ResolverSettings
from schemas.guid import EVENT, uuid7
from tests.console.viewer import Viewer, text_of, viewing
from tests.support.system import System
from tests.support.topics import Record
from tests.support.waiting import equals, eventually


def new_guid() -> str:
    """Return the guid of an event that ingest would accept now."""
    return EVENT + uuid7(int(time.time() * 1000))


async def test_an_event_is_traced_to_its_record(system: System, system_viewer: Viewer) -> None:
    gateway = await system.ingest()
    guids = [await gateway.tracked(type="pageview", userId=f"user-{n}") for n in range(20)]
    path = f"/events/{guids[11]}"

    response = await system_viewer.get(path, record="")
    assert response.status_code == 404
    assert "It is on its way" in text_of(response.text)

    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(20))
    page = await system_viewer.page(path)
    assert f'hx-get="{path}?record"' in page
    text = await system_viewer.text(path, record="")
    (found,) = [
        record
        for record in await system.events.records()
        if guids[11].encode() in (record.value or b"")
    ]
    assert f"to partition {found.partition} of {system.events.name} at offset" in text
    assert f"at offset {found.offset:,}, which Kafka wrote" in text


async def test_a_dead_letter_is_found_by_the_guid_of_its_event(
    system: System, system_viewer: Viewer
) -> None:
    await system.resolver()
    guid = new_guid()
    await system.events.publish(Record(f'{{"guid": "{guid}", "type": 1}}'.encode()))
    await eventually(system.dead.size, equals(1))
    response = await system_viewer.get(f"/events/{guid}", record="")
    assert response.status_code == 404
    text = text_of(response.text)
    assert "It became a dead letter" in text
    assert 'href="/dead-letters/0:0"' in response.text


async def test_without_kafka_the_page_says_so(system: System) -> None:
    settings = ResolverSettings(
        kafka_bootstrap="127.0.0.1:9", database_url=SecretStr(system.database.url)
    )
    async with viewing(system.database, settings=settings) as other:
        await other.log_in(*Permission)
        response = await other.get(f"/events/{new_guid()}", record="")
        assert "Kafka does not answer" in text_of(response.text)
