"""An edited event is checked as ingest and the resolver check it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from merganser.admin.dead_letters import edit
from schemas.dead_letter import DeadLetter, Reason, RecordAddress
from schemas.event import VERSION_HEADER, InvalidEvent, decode, encode
from schemas.ids import NOBODY
from tests.support.events import NOON, event

ORIGIN = RecordAddress("events", 0, 7)
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def letter_of(value: bytes | None, **fields: Any) -> DeadLetter:
    headers = (("schema-version", b"99"), ("trace", b"t"))
    letter = DeadLetter(Reason.UNREADABLE, "type", ORIGIN, ORIGIN, 1, b"key", value, headers)
    return DeadLetter(**{name: getattr(letter, name) for name in letter.__slots__} | fields)


def check(text: str) -> edit.EditedRecord:
    return edit.check_text(text, NOBODY, NOW)


def test_an_unchanged_event_is_the_same_record() -> None:
    stored = event("ann", "phone", text="Zoë \u202e", number="1")
    text = edit.read_text(letter_of(encode(stored)))
    assert text is not None
    record = check(text)
    assert decode(record.value) == stored
    assert (record.guid, record.key) == (stored["guid"], b"phone")


def test_fields_of_a_client_are_read_as_ingest_reads_them() -> None:
    given = {"type": "buy", "userId": 12, "data": {"price": 1, "gone": None, "list": [1, "a"]}}
    found = decode(check(json.dumps(given)).value)
    assert (found["userId"], found["anonymousId"]) == ("12", None)
    assert found["data"] == {"price": "1", "list": '[1,"a"]'}
    assert found["createdAt"] == found["occurredAt"] == NOW
    assert found["guid"].startswith("evt_")
    assert found["producerGuid"] is None


def test_the_fields_of_the_server_stay() -> None:
    stored = event("ann")
    changed = json.loads(encode(stored)) | {"userId": "bob", "occurredAt": None}
    found = decode(check(json.dumps(changed)).value)
    assert found == {**stored, "userId": "bob", "occurredAt": NOON}


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        ("{", "event", "is not JSON"),
        ("[1]", "event", "must be a JSON object"),
        ("NaN", "event", "must be a JSON object"),
        ("[" * 100_000, "event", "is not JSON"),
        ('{"type": 1, "userId": "ann"}', "type", "valid string"),
        ('{"type": "t", "usrId": "ann"}', "usrId", "not a field of an event"),
        ('{"type": "t", "userId": "null"}', "userId", "must name somebody"),
        ('{"type": "t", "userId": "ann", "data": []}', "data", "valid dictionary"),
        ('{"type": "t", "userId": "ann", "data": {"a": NaN}}', "data.a", "not a JSON number"),
        ('{"type": "t", "userId": "ann", "data": {"a": "\\u0000"}}', "data.a", "NUL"),
        ('{"type": "t", "userId": "\\ud800"}', "userId", "surrogate"),
        ('{"type": "t", "userId": "ann", "guid": "pro_1"}', "guid", "pattern"),
        ('{"type": "t", "userId": "ann", "guid": NaN}', "event", "cannot have"),
        ('{"type": "t", "userId": "ann", "guid": "evt_\\ud800"}', "event", "cannot have"),
        ('{"type": "t", "userId": "ann", "ipAddress": 4}', "ipAddress", "valid string"),
        ('{"type": "t", "userId": "ann", "createdAt": "now"}', "occurredAt", "valid datetime"),
    ],
)
def test_an_invalid_event_is_refused_with_field_and_reason(text: str, field: str, why: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        check(text)
    assert why in caught.value.fields[field]


def test_an_event_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="are allowed"):
        check(json.dumps({"type": "t", "userId": "a", "data": {"a": "x" * edit.MAX_BYTES}}))


def test_the_record_keeps_other_headers_and_gets_the_version() -> None:
    record = check('{"type": "t", "userId": "ann"}')
    replaced = record.replace_record(letter_of(b"{}"))
    assert replaced.headers == (VERSION_HEADER, ("trace", b"t"))
    assert (replaced.key, replaced.value) == (b"ann", record.value)
    assert (replaced.origin, replaced.attempt) == (ORIGIN, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"a":1}', '{\n  "a": 1\n}'),
        (b'{"a":1.00000000000000000001}', '{"a":1.00000000000000000001}'),
        (b'{"a":"\\ud800"}', '{"a":"\\ud800"}'),
        (b"half {", "half {"),
        (b"", ""),
        (None, ""),
        (b"\xff", None),
        (b"x" * (edit.MAX_BYTES + 1), None),
    ],
    ids=["JSON", "digits", "surrogate", "no JSON", "empty", "tombstone", "bytes", "large"],
)
def test_the_text_to_edit_loses_nothing(value: bytes | None, text: str | None) -> None:
    assert edit.read_text(letter_of(value)) == text


def test_a_record_that_its_letter_omits_cannot_be_edited() -> None:
    assert edit.read_text(letter_of(b"", omitted_bytes=9)) is None
