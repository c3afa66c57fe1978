"""Dead letters and set-aside items are seen, edited, resent, retried and dropped in the console."""

import html
import json
import re
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from console import dead_letters
from merganser.http.authentication import Permission
from merganser.runtime.settings import ResolverSettings
from schemas.event import VERSION_HEADER, encode
from tests.cli.test_dead_set_aside_items import ITEMS
from tests.console.test_hostile import MARKUP, TEXTS
from tests.console.viewer import Viewer, text_of, viewing
from tests.support.actions import read_actions
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import Record
from tests.support.waiting import equals, eventually

VERSION = dict([VERSION_HEADER])
SECRET = "a secret of ann"
STATES = 'SELECT state, count(*) FROM "setAside" GROUP BY 1 ORDER BY 1'


def broken(user: str = "ann", **fields: Any) -> Record:
    """Return a record whose event has a number as its type."""
    value = json.loads(encode(event(user, text=SECRET))) | {"type": 5} | fields
    return Record(json.dumps(value).encode(), b"a key", VERSION, partition=0)


async def publish(system: System, *records: Record) -> None:
    """Publish records that become dead letters, and wait for these."""
    before = await system.dead.size()
    if not system.services:
        await system.resolver()
    await system.events.publish(*records)
    await eventually(system.dead.size, equals(before + len(records)))


def typed(page: str) -> str:
    """Return what is in the text area of a page, as a browser does."""
    area = page.split("<textarea")[1].split("</textarea>", maxsplit=1)[0]
    return html.unescape(area.split(">\n", 1)[1])


def group_of(page: str, text: str) -> dict[str, str]:
    """Return the fields of the form of a group, which is named by a text in its link."""
    (row,) = [row for row in page.split("<tr") if text in text_of(f"<tr{row}")]
    found = re.search(r"group=([0-9a-f]+)", row)
    assert found
    return {"group": found[1]}


async def test_without_letters_the_page_says_what_appears(system_viewer: Viewer) -> None:
    assert "Nothing is set aside" in await system_viewer.text("/dead-letters")
    assert "Nothing was retried or dropped" in await system_viewer.text("/dead-letters?handled")


async def test_letters_are_grouped_by_reason_and_error(
    system: System, system_viewer: Viewer
) -> None:
    await publish(system, broken(), broken(), Record(None, b"k", VERSION), broken(type="t", data=5))
    await system.database.execute(ITEMS)
    text = await system_viewer.text("/dead-letters")
    assert "unreadable type: Input should be a valid string 2 " in text
    assert "tombstone the record has no value 1 " in text
    assert "value a reason 2 " in text
    page = await system_viewer.page("/dead-letters")
    group = group_of(page, "should be a valid string")
    text = await system_viewer.text("/dead-letters", **group)
    assert "Retry all 2 sends the records to the topic of events again" in text
    assert "Drop all 2 closes them without processing" in text
    assert f"{system.events.name}/0/1" in text
    group = group_of(page, "value a reason")
    assert '"/dead-letters/value%3Apro_1"' in await system_viewer.page("/dead-letters", **group)


async def test_an_event_is_edited_and_resent_once(system: System, system_viewer: Viewer) -> None:
    await publish(system, record := broken())
    guid = json.loads(record.value or b"")["guid"]
    page = await system_viewer.page("/dead-letters/0:0")
    assert "unreadable type: Input should be a valid string" in text_of(page)
    assert f'"/events/{guid}"' in page
    text = typed(page)
    assert json.loads(text) == json.loads(record.value or b"")

    # Errors keep what was typed, and nothing is sent.
    wrong = text.replace('"type": 5', '"type": ""')
    response = await resend(system_viewer, wrong)
    assert response.status_code == 422
    assert "type String should have at least 1 character" in text_of(response.text)
    assert typed(response.text) == wrong
    assert await system.events.size() == 1

    edited = text.replace('"type": 5', '"type": "purchase"')
    response = await resend(system_viewer, edited)
    assert response.status_code == 303
    after = await system_viewer.text(response.headers["location"])
    assert "Dead letter 0:0 retried" in after
    assert "The edited event was sent." in after
    assert "Edit and resend" not in after
    await eventually(lambda: system.database.count("events"), equals(1))
    assert await system.database.rows("SELECT guid, type FROM events") == [(guid, "purchase")]
    data = await system.database.column('SELECT value FROM "eventData"')
    assert data == [SECRET]
    await system.consumed()
    assert await system.dead.size() == 1

    # A second resend of the same letter sends nothing.
    response = await resend(system_viewer, edited)
    assert "nothing of it is open any more" in await system_viewer.text(
        response.headers["location"]
    )
    assert await system.events.size() == 2
    (action,) = await read_actions(system.database)
    assert action[0] == "console"
    assert action[2:4] == ("dead letter edited and resent", "0:0")
    assert await system.database.rows(STATES) == [("retried", 1)]


async def resend(viewer: Viewer, text: str) -> httpx.Response:
    """Send the form of the first letter, with the line ends of a browser."""
    fields = {"do": "resend", "event": text.replace("\n", "\r\n")}
    return await viewer.post("/dead-letters/0:0", fields)


async def test_an_edited_event_that_fails_again_is_the_next_attempt(
    system: System, system_viewer: Viewer
) -> None:
    await system.database.execute("ALTER TABLE events ADD CHECK (type <> 'forbidden')")
    await publish(system, Record(b'{"type": "view"}', b"k", {"trace": b"t"}, partition=0))
    text = '{"type": "forbidden", "userId": "ann"}'
    assert (await resend(system_viewer, text)).status_code == 303
    await eventually(system.dead.size, equals(2))
    page = await system_viewer.text("/dead-letters/0:1")
    assert "refused" in page
    assert "Attempt 2" in page
    assert "First failed as offset 0 of partition 0" in page
    assert "Header trace t" in page


async def test_one_letter_is_retried_and_another_one_dropped(
    system: System, system_viewer: Viewer
) -> None:
    await publish(system, broken(), broken())
    response = await system_viewer.post("/dead-letters/0:0", {"do": "retry"})
    assert "Sent again: 1." in await system_viewer.text(response.headers["location"])
    await eventually(system.dead.size, equals(3))
    response = await system_viewer.post("/dead-letters/0:1", {"do": "drop"})
    after = await system_viewer.text(response.headers["location"])
    assert "Dropped: 1." in after
    assert "Dead letter 0:1 dropped" in after
    assert "Input should be a valid string 1 " in await system_viewer.text("/dead-letters")
    handled = await system_viewer.page("/dead-letters?handled")
    assert "Input should be a valid string 1 " in text_of(handled)
    response = await system_viewer.post("/dead-letters/0:9", {"do": "drop"})
    assert response.status_code == 409
    assert (await system_viewer.post("/dead-letters/0:2", {"do": "explode"})).status_code == 400


async def test_a_group_is_retried_as_far_as_it_was_shown(
    system: System, system_viewer: Viewer
) -> None:
    await publish(system, broken(), broken(), Record(None, b"k", VERSION, partition=0))
    listed = await system_viewer.page("/dead-letters")
    page = await system_viewer.page("/dead-letters", **group_of(listed, "valid string"))
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    await publish(system, broken())
    response = await system_viewer.post("/dead-letters", {**fields, "do": "retry"})
    assert response.headers["location"] == "/dead-letters?sent=2"
    await eventually(system.dead.size, equals(6))
    drop = {**fields, "do": "drop", "until": "2100-01-01T00:00:00+00:00"}
    response = await system_viewer.post("/dead-letters", drop)
    text = await system_viewer.text(response.headers["location"])
    assert "Dropped: 3." in text
    assert "valid string" not in text
    assert "tombstone" in text
    response = await system_viewer.post("/dead-letters", {"group": "gone", **fields, "do": "x"})
    assert response.status_code == 400


async def test_set_aside_items_are_shown_retried_and_dropped(
    system: System, system_viewer: Viewer
) -> None:
    await system.database.execute(ITEMS)
    page = await system_viewer.page("/dead-letters/value:pro_1")
    assert "A value that a company database returned for this profile." in text_of(page)
    assert '"/profiles/pro_1"' in page
    assert "email" in text_of(page)
    response = await system_viewer.post("/dead-letters/row:evt_1", {"do": "retry"})
    after = await system_viewer.text(response.headers["location"])
    assert "Items that go back to their processes: 1." in after
    group = group_of(await system_viewer.page("/dead-letters"), "move a reason")
    fields = {**group, "until": "2100-01-01T00:00:00+00:00", "do": "drop"}
    response = await system_viewer.post("/dead-letters", fields)
    assert response.headers["location"].startswith("/dead-letters?dropped=1")
    assert await system.database.rows(STATES) == [("dropped", 1), ("open", 4), ("retried", 1)]
    assert (await system_viewer.get("/dead-letters/row:evt_2")).status_code == 404
    assert (await system_viewer.get("/dead-letters/cow:evt_2")).status_code == 404
    assert (await system_viewer.get("/dead-letters/0:0")).status_code == 404


async def test_a_reader_sees_letters_without_values_and_cannot_act(
    system: System, system_viewer: Viewer
) -> None:
    await publish(system, broken())
    await system_viewer.log_in(Permission.READ_CONSOLE)
    page = await system_viewer.page("/dead-letters/0:0")
    assert "unreadable" in page
    assert "<form class" not in page.split("<main")[1]
    assert SECRET not in page
    assert "a key" not in text_of(page).replace("with a key that", "")
    group = group_of(await system_viewer.page("/dead-letters"), "valid string")
    assert "Retry all" not in await system_viewer.text("/dead-letters", **group)
    for path in ("/dead-letters/0:0", "/dead-letters"):
        for action in ("retry", "drop", "resend"):
            fields = {"do": action, "until": "2100-01-01", "event": "{}", **group}
            response = await system_viewer.post(path, fields)
            assert response.status_code == 403
            assert "no permission console:write: nothing has changed" in text_of(response.text)
    assert await system.database.rows(STATES) == [("open", 1)]


async def test_editing_needs_the_permission_to_read_events(
    system: System, system_viewer: Viewer
) -> None:
    await publish(system, broken())
    await system_viewer.log_in(Permission.READ_CONSOLE, Permission.WRITE_CONSOLE)
    page = await system_viewer.page("/dead-letters/0:0")
    assert SECRET not in page
    assert "<textarea" not in page
    response = await resend(system_viewer, '{"type": "t", "userId": "ann"}')
    assert response.status_code == 403
    assert "events:read" in text_of(response.text)
    response = await system_viewer.post("/dead-letters/0:0", {"do": "drop"})
    assert response.status_code == 303


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/row:evt_1"])
async def test_a_form_of_another_site_is_refused(
    system: System, system_viewer: Viewer, path: str
) -> None:
    await system.database.execute(ITEMS)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        fields = {"do": "drop", "until": "2100-01-01"}
        response = await system_viewer.client.post(path, data=fields, headers=headers)
        assert response.status_code == 403
    assert await system.database.rows(STATES) == [("open", 6)]


async def test_a_malformed_name_or_time_changes_nothing(system_viewer: Viewer) -> None:
    assert (await system_viewer.get("/dead-letters/row:a%00b")).status_code == 404
    for until in ("2026-01-01T00:00:00", "never", "0001-01-01"):
        fields = {"do": "drop", "group": "none", "until": until}
        response = await system_viewer.post("/dead-letters", fields)
        assert response.status_code in (303, 400)


@pytest.mark.parametrize("name", TEXTS)
async def test_hostile_records_are_text(system: System, system_viewer: Viewer, name: str) -> None:
    text = TEXTS[name]
    value = {"type": 5, "userId": text, "data": {text: text}}
    for record in (  # letters of one batch are written in any order
        Record(json.dumps(value).encode(), text.encode(), {"trace": text.encode()}, partition=0),
        Record(f"<textarea></textarea>{text}".encode(), None, VERSION, partition=0),
        Record(b"\xff\x00", None, VERSION, partition=0),
        broken(type="t", data={text: 1}),
    ):
        await publish(system, record)
    for path in (*(f"/dead-letters/0:{number}" for number in range(4)), "/dead-letters"):
        page = await system_viewer.page(path)
        assert MARKUP not in page
        assert 'onmouseover="' not in page
        assert page.count("</textarea>") <= 1
    assert "\u202e" not in await system_viewer.page("/dead-letters/0:0")
    page = await system_viewer.page("/dead-letters/0:0")
    assert json.loads(typed(page)) == value
    response = await resend(system_viewer, f'{{"{MARKUP}": 1}} {text}')
    assert response.status_code == 422
    assert MARKUP not in response.text


async def test_a_letter_of_an_erased_person_is_not_shown(
    system: System, system_viewer: Viewer
) -> None:
    await publish(system, broken("bob"))
    await system.database.execute(
        """INSERT INTO profiles (guid, "userId") VALUES ('pro_1', 'bob')"""
    )
    await system.cli("forget", "bob", "--yes")
    page = await system_viewer.page("/dead-letters/0:0")
    assert "It is of a person who was erased" in text_of(page)
    assert SECRET not in page
    response = await resend(system_viewer, '{"type": "t", "userId": "bob"}')
    assert "erased people: 1" in await system_viewer.text(response.headers["location"])
    assert await system.events.size() == 1
    response = await system_viewer.post("/dead-letters/0:0", {"do": "drop"})
    assert response.headers["location"].endswith("?dropped=1&others=0")


async def test_many_letters_are_bounded(
    system: System, system_viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_READ", 4)
    await publish(system, *(broken(str(number)) for number in range(6)))
    page = await system_viewer.page("/dead-letters")
    assert "A page reads 4 records of the topic. The 2 older ones" in text_of(page)
    assert "Input should be a valid string 4 " in text_of(page)
    older = await system_viewer.page("/dead-letters", before="0:2")
    assert 'href="/dead-letters?before=0%3A2"' in page
    assert "newer ones are not on this page. The newest ones" in text_of(older)
    assert "Input should be a valid string 2 " in text_of(older)
    assert (await drop_group(system_viewer, page)).startswith("/dead-letters?dropped=4")
    assert await system.database.rows(STATES) == [("dropped", 4), ("open", 2)]

    # Letters that are open are found behind those that are not.
    page = await system_viewer.page("/dead-letters")
    assert "Input should be a valid string 2 " in text_of(page)
    assert (await drop_group(system_viewer, page)).startswith("/dead-letters?dropped=2")
    assert "Nothing is set aside" in await system_viewer.text("/dead-letters")
    assert (await system_viewer.get("/dead-letters", before="x")).status_code == 400


async def drop_group(viewer: Viewer, page: str) -> str:
    """Drop the only group of a page; return where that leads."""
    page = await viewer.page("/dead-letters", **group_of(page, "valid string"))
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    response = await viewer.post("/dead-letters", {**fields, "do": "drop"})
    return response.headers["location"]


async def test_without_kafka_the_page_shows_the_items(system: System) -> None:
    await system.database.execute(ITEMS)
    settings = ResolverSettings(
        kafka_bootstrap="127.0.0.1:9", database_url=SecretStr(system.database.url)
    )
    async with viewing(system.database, settings=settings) as other:
        await other.log_in(*Permission)
        text = await other.text("/dead-letters")
        assert "Kafka does not answer (KafkaConnectionError), so only set-aside items" in text
        assert "value a reason 2 " in text
        response = await other.client.get("/dead-letters/0:0")
        assert response.status_code == 503
        assert "Kafka does not answer" in text_of(response.text)
