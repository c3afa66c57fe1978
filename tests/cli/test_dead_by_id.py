"""`merganser dead list --id` and the dead letters and set-aside items of `merganser export`."""

import json
from typing import Any

import pytest

from schemas.event import VERSION_HEADER, encode
from tests.support.command import command
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import Record, record_of
from tests.support.waiting import equals, eventually

ANN, PHONE, LAPTOP = "ann@example.test", "phone", "laptop"
VERSION = dict([VERSION_HEADER])
RECORD = ("--kind", "record")
REQUEST = ("--reason", "asked for it")
RECORDS = {
    "refused, of Ann": Record(encode(event(ANN, kind="forbidden", card="4111")), b"k", VERSION),
    "refused, of the phone": Record(encode(event(None, PHONE, "forbidden")), b"k", VERSION),
    "refused, of Bob on the laptop": Record(
        encode(event("bob", LAPTOP, "forbidden", price="7")), b"k", VERSION
    ),
    "refused, of Bob": Record(encode(event("bob", kind="forbidden")), b"k", VERSION),
    "not an event": Record(b'{"userId": "ann@example.test"}', b"k", VERSION),
    "no JSON": Record(b'\xff "laptop"', b"k", VERSION),
    "no JSON, of nobody": Record(b'\xff "laptops"', b"k", VERSION),
    "a tombstone": Record(None, PHONE.encode(), VERSION),
}
OF_ANN = {
    *("refused, of Ann", "refused, of the phone", "refused, of Bob on the laptop"),
    *("not an event", "no JSON", "a tombstone"),
}


@pytest.fixture
async def filled(system: System) -> System:
    """Ann has two devices; the laptop is Bob's too. Letters and items are of all kinds."""
    await system.database.execute(
        "ALTER TABLE events ADD CONSTRAINT mine CHECK (type <> 'forbidden')"
    )
    await system.resolver()
    await system.events.publish_events([event(None, device) for device in (PHONE, LAPTOP)])
    await system.consumed()
    await system.events.publish_events([event(ANN, device) for device in (PHONE, LAPTOP)])
    await system.events.publish(record_of(event("bob", LAPTOP, at=1)), *RECORDS.values())
    await eventually(system.dead.size, equals(len(RECORDS)))
    await system.consumed()
    await system.database.execute(
        """
        INSERT INTO events (guid, type, "userId", "anonymousId") VALUES
            ('evt_ann', 'row', %s, 'x'), ('evt_phone', 'row', NULL, %s),
            ('evt_bob', 'row', 'bob', 'x')
        """,
        ANN,
        PHONE,
    )
    await system.database.execute(
        """
        INSERT INTO "setAside" (kind, subject, place, reason)
        SELECT 'row', guid, '', 'r' FROM events WHERE type = 'row'
        UNION ALL
        SELECT kind, guid, 'plan', 'r'
        FROM profiles CROSS JOIN (VALUES ('profile'), ('value')) AS kinds (kind)
        UNION ALL
        VALUES ('move', 'pro_1', %s, 'r'), ('move', 'pro_2', 'bobs phone', 'r')
        """,
        PHONE,
    )
    return system


async def listed(system: System, *options: str) -> tuple[set[str], set[str]]:
    """Return the listed letters, by the names above, and the names of the items."""
    result = await command(system.env, "dead", "list", "--json", *options)
    assert result.status == 0, result.err
    names = {record.value: name for name, record in RECORDS.items()}
    stored = {f"{r.partition}:{r.offset}": names[r.value] for r in await system.dead.records()}
    lines = result.lines
    return (
        {stored[line["letter"]] for line in lines if "letter" in line},
        {line["item"] for line in lines if "item" in line},
    )


async def test_letters_and_items_are_listed_by_id(filled: System) -> None:
    ann, bob = [await filled.database.profile_of(user) for user in (ANN, "bob")]
    items = {"row:evt_ann", "row:evt_phone", f"profile:{ann}", f"value:{ann}", "move:pro_1"}
    assert await listed(filled, "--id", ANN) == (OF_ANN, items)
    assert await listed(filled, "--id", ann) == (OF_ANN, items)
    assert await listed(filled, "--id", PHONE) == (
        {"refused, of the phone", "a tombstone"},
        {"row:evt_phone", "move:pro_1"},
    )
    assert await listed(filled, "--id", bob) == (
        {"refused, of Bob", "refused, of Bob on the laptop"},
        {"row:evt_bob", f"profile:{bob}", f"value:{bob}"},
    )
    assert await listed(filled, "--id", "nobody of this name") == (set(), set())
    assert await listed(filled, "--id", ANN, "--kind", "move") == (set(), {"move:pro_1"})
    assert await listed(filled, "--id", PHONE, "--reason", "tombstone") == ({"a tombstone"}, set())


async def test_an_export_has_the_letters_and_items_of_the_person(filled: System) -> None:
    result = await command(filled.env, "export", ANN)
    assert result.status == 0, result.err
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in result.lines:
        lines.setdefault(line["kind"], []).append(line)
    values = [line["value"] for line in lines["deadLetter"]]
    texts = {value for value in values if isinstance(value, str)}
    assert [json.loads(text)["data"] for text in texts if "4111" in text] == [{"card": "4111"}]
    assert {"base64": "/yAibGFwdG9wIg=="} in values
    assert None in values
    # Bob's letter from the shared laptop is not Ann's.
    assert len(values) == len(OF_ANN) - 1
    assert "price" not in result.out
    ann = await filled.database.profile_of(ANN)
    assert {line["item"] for line in lines["setAside"]} == {
        *("row:evt_ann", "row:evt_phone", "move:pro_1"),
        *(f"profile:{ann}", f"value:{ann}"),
    }


@pytest.mark.parametrize("suppresses", [True, False])
async def test_letters_of_an_erased_person_are_neither_shown_nor_sent(
    filled: System, *, suppresses: bool
) -> None:
    suppression = "--suppress" if suppresses else "--no-suppress"
    of_bob = {"refused, of Bob", "refused, of Bob on the laptop"}
    erased = OF_ANN - of_bob
    forgotten = await command(filled.env, "forget", ANN, "--yes", *REQUEST, suppression)
    assert forgotten.status == 0, forgotten.err
    lines = (await command(filled.env, "dead", "list", "--json", *RECORD)).lines
    addresses = {line["letter"] for line in lines if line["erased"]}
    assert len(lines) == len(RECORDS)
    assert len(addresses) == len(erased)
    for address in addresses:
        for options in ([], ["--raw"]):
            shown = await command(filled.env, "dead", "show", address, *options)
            assert shown.status == 1
            assert shown.out == ""
            assert "erased" in shown.err

    await filled.database.execute("ALTER TABLE events DROP CONSTRAINT mine")
    before = await filled.events.size()
    retried = await command(filled.env, "dead", "retry", *RECORD)
    assert retried.status == 1
    assert f"{len(erased)} letters are of erased people" in retried.err
    assert await filled.events.size() == before + len(RECORDS) - len(erased)
    await filled.consumed()
    assert (await listed(filled, "--id", "bob", "--reason", "refused"))[0] == set()
    ids = await filled.database.column(
        """SELECT "anonymousId" FROM events WHERE type = 'forbidden'"""
    )
    assert sorted(map(str, ids)) == sorted(["None", "None" if suppresses else LAPTOP])
    # They are open until an operator drops them.
    dropped = await command(filled.env, "dead", "drop", *addresses, "--yes")
    assert dropped.status == 0, dropped.err
    assert erased.isdisjoint((await listed(filled))[0])


async def test_a_later_letter_of_a_readmitted_person_is_not_erased(filled: System) -> None:
    for arguments in (["forget", ANN, "--yes", *REQUEST], ["readmit", ANN]):
        result = await command(filled.env, *arguments)
        assert result.status == 0, result.err
    before = await filled.dead.size()
    await filled.events.publish(Record(encode(event(ANN, kind="forbidden")), b"k", VERSION))
    await filled.events.publish_events([event(ANN, at=9)])
    await eventually(filled.dead.size, equals(before + 1))
    await filled.consumed()
    lines = (await command(filled.env, "dead", "list", "--json", "--id", ANN, *RECORD)).lines
    assert [line["erased"] for line in lines] == [True, True, False]
    exported = (await command(filled.env, "export", ANN)).lines
    letters = [line["letter"] for line in exported if line["kind"] == "deadLetter"]
    assert letters == [lines[-1]["letter"]]
