"""Any event that is copied into Postgres in COPY's text format is read back unchanged."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merganser.runtime import sql
from resolver import copy_format
from schemas.event import Event
from tests.support import examples
from tests.support.database import Database
from tests.support.events import NOON, event

COPY = sql.load("resolver", "events.sql")
ODD = [
    *("", " ", "tab\t", "\tlead", "line\nbreak", "\n", "return\r\n", "back\\slash", "\\", "\\\\"),
    *("\\N", "\\.", "\\t", "\\x41", "NULL", "null", "'quoted'", '"double"', '{"a":"\\u0000"}'),
    *(
        ",",
        '",',
        ',"',
        '","',
        '"]',
        '["',
        '\\",',
        '\\\\",',
        '"\\',
        '\\"\\',
        '"],["',
        '"]\n["',
        "\\\x01u00",
    ),
    *("é", "🦆", "\ufeff", "\u2028", "\x01\x7f", "x" * 100_000),
]


async def copy_block(database: Database, statement: str, block: bytes) -> None:
    async with database.connection.cursor() as cursor, cursor.copy(COPY[statement]) as copy:
        await copy.write(block)


async def round_trip(database: Database, sent: list[Event]) -> list[dict[str, Any]]:
    """Copy events into the tables, read them back and return them."""
    async with database.connection.transaction(force_rollback=True):
        guids = iter(f"edt_{n:06}" for n in range(100_000))
        await copy_block(
            database, "copy_events", copy_format.encode_events([(each, "pro_1") for each in sent])
        )
        if block := copy_format.encode_event_data(sent, guids):
            await copy_block(database, "copy_event_data", block)
        data = await database.rows('SELECT "eventGuid", key, value FROM "eventData"')
        columns = (
            'guid, "producerGuid", "ipAddress", "createdAt", "occurredAt", type, "userId", '
            '"anonymousId"'
        )
        found = await database.connection.execute(
            f"SELECT {columns} FROM events ORDER BY guid".encode()
        )
        names = [column.name for column in found.description or []]
        return [
            {
                **dict(zip(names, row, strict=True)),
                "data": {key: value for guid, key, value in data if guid == row[0]},
            }
            for row in await found.fetchall()
        ]


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:12]))
async def test_odd_strings(database: Database, text: str) -> None:
    sent = event(user=f"u{text[:500]}", anonymous=f"a{text[:500]}", kind=f"k{text[:500]}")
    sent["data"] = {text: text, "other": "x", f"{text[:100]} ": ""}
    assert await round_trip(database, [sent]) == [sent]


@settings(
    max_examples=examples.count(fast=40, full=100),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
            st.text(
                st.sampled_from("\t\n\r\\Nt.x'\"é🦆 ")
                | st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
            ),
        ),
        max_size=5,
    )
)
async def test_any_strings(database: Database, datas: list[dict[str, str]]) -> None:
    sent = []
    for data in datas:
        sent.append(event(user="1"))
        sent[-1]["data"] = data
    assert await round_trip(database, sent) == sent


async def test_missing_fields_are_null(database: Database) -> None:
    sent = event(anonymous="a")
    sent["producerGuid"] = sent["ipAddress"] = None
    assert await round_trip(database, [sent]) == [sent]


async def test_times_from_year_1_to_9999_keep_their_microseconds(database: Database) -> None:
    sent = [event(user="1") for _ in range(3)]
    sent[0]["occurredAt"] = NOON.replace(year=1, month=1, day=1, microsecond=1)
    sent[1]["occurredAt"] = NOON.replace(year=9999, month=12, day=31, microsecond=999999)
    sent[2]["occurredAt"] = NOON.replace(microsecond=123456)
    assert await round_trip(database, sent) == sent


def test_no_rows_give_an_empty_block() -> None:
    assert copy_format.encode_events([]) == b""
    assert copy_format.encode_event_data([event(user="1")], iter([])) == b""
