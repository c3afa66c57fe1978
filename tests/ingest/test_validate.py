"""What is accepted, how it is stored, and what is refused and why: no I/O."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ingest.validate import validate
from merganser.http.errors import ErrorKind, HttpError
from schemas.event import Event, decode
from schemas.exact_json import loads
from schemas.ids import NOBODY
from schemas.validation import EventLimits, ServerFields, ValidEvent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAMP = ServerFields("evt_1", 7, "key_1", "192.0.2.1", NOW)
LIMITS = EventLimits(id_characters=20, data_keys=5, depth=3, event_bytes=2000, nobody=NOBODY)


def accepted(text: str) -> ValidEvent:
    return validate(loads(text), LIMITS, STAMP)


def stored(text: str) -> Event:
    return decode(accepted(text).value)


def refused(text: str) -> HttpError:
    with pytest.raises(HttpError) as caught:
        accepted(text)
    return caught.value


def with_data(data: str) -> str:
    return '{"type": "t", "userId": "1", "data": ' + data + "}"


def test_a_whole_event() -> None:
    text = """{"type": "purchase", "userId": 123, "anonymousId": "person_1",
        "occurredAt": "2026-02-28T10:00:00Z",
        "data": {"total": 19.990, "vip": true, "none": null}}"""
    assert stored(text) == {
        "guid": "evt_1",
        "producerGuid": "key_1",
        "ipAddress": "192.0.2.1",
        "createdAt": NOW,
        "occurredAt": datetime(2026, 2, 28, 10, tzinfo=UTC),
        "type": "purchase",
        "userId": "123",
        "anonymousId": "person_1",
        "data": {"total": "19.990", "vip": "true"},
    }
    assert accepted(text).guid == "evt_1"
    assert accepted(text).key == b"person_1"


def test_without_a_time_it_occurred_when_it_came() -> None:
    assert stored('{"type": "t", "userId": "1"}')["occurredAt"] == NOW


def test_what_the_server_sets_a_client_cannot() -> None:
    mine = '"guid": "evt_mine", "createdAt": "2020-01-01T00:00:00Z", "ipAddress": "203.0.113.9"'
    event = stored('{"type": "t", "userId": "1", "profileGuid": "pro_mine", ' + mine + "}")
    assert (event["guid"], event["createdAt"], event["ipAddress"]) == ("evt_1", NOW, "192.0.2.1")


def test_the_session_is_kept_as_data_unless_data_has_one() -> None:
    said = '{"type": "t", "userId": "1", "sessionId": "s-1"'
    assert stored(said + "}")["data"] == {"sessionId": "s-1"}
    assert stored(said + ', "data": {"sessionId": "other"}}')["data"] == {"sessionId": "other"}


@pytest.mark.parametrize("nobody", ['""', "null", "0", '"undefined"', '"[object Object]"'])
def test_an_id_of_nobody_is_left_out(nobody: str) -> None:
    event = stored('{"type": "t", "anonymousId": "a", "userId": ' + nobody + "}")
    assert (event["userId"], event["anonymousId"]) == (None, "a")


@pytest.mark.parametrize("ids", ["", ', "userId": null', ', "userId": "0", "anonymousId": "None"'])
def test_an_event_of_nobody_is_refused(ids: str) -> None:
    refusal = refused('{"type": "t"' + ids + "}")
    assert refusal.kind is ErrorKind.INVALID
    assert set(refusal.fields) == {"userId", "anonymousId"}
    assert "required" in refusal.message


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param('{"userId": "1"}', {"type"}, id="no type"),
        pytest.param('{"type": "t", "userId": true}', {"userId"}, id="boolean id"),
        pytest.param(
            '{"type": 1, "userId": {}, "anonymousId": []}',
            {"type", "userId", "anonymousId"},
            id="all faults at once",
        ),
        pytest.param('{"type": "t", "userId": "1", "ocurredAt": "x"}', {"ocurredAt"}, id="time"),
        pytest.param('"text"', {"event"}, id="no object"),
        pytest.param("null", {"event"}, id="null"),
        pytest.param('{"type": "t", "userId": "%s"}' % ("x" * 21), {"userId"}, id="long id"),
        pytest.param('{"type": "%s", "userId": "1"}' % ("x" * 21), {"type"}, id="long type"),
        pytest.param('{"type": "t\\u0000", "userId": "1"}', {"type"}, id="NUL"),
        pytest.param('{"type": "t", "userId": "\\ud800"}', {"userId"}, id="lone surrogate"),
        pytest.param(with_data('{"a": "\\u0000"}'), {"data.a"}, id="NUL in a value"),
        pytest.param(with_data('{"a": ["\\ud800"]}'), {"data.a"}, id="lone surrogate nested"),
        pytest.param(with_data('{"a": NaN}'), {"data.a"}, id="NaN"),
        pytest.param(with_data('{"a": 1, "b": {"c": -Infinity}}'), {"data.b"}, id="infinity"),
        pytest.param(with_data('{"a": [[[[1]]]]}'), {"data.a"}, id="deep"),
        pytest.param(
            with_data(json.dumps({str(n): n for n in range(6)})), {"data"}, id="many keys"
        ),
    ],
)
def test_a_refusal_names_the_fields(text: str, fields: set[str]) -> None:
    refusal = refused(text)
    assert refusal.kind is ErrorKind.INVALID
    assert set(refusal.fields) == fields
    assert all(refusal.fields.values())
    assert all(field in refusal.message for field in fields)


@pytest.mark.parametrize("key", ["\\u0000", "\\ud800"])
@pytest.mark.parametrize("value", ['"x"', "NaN", "[[[[1]]]]"])
def test_a_bad_key_is_refused_whatever_its_value(key: str, value: str) -> None:
    """And the refusal can be written as JSON, which a lone surrogate cannot."""
    refusal = refused(with_data(f'{{"{key}": {value}}}'))
    assert refusal.kind is ErrorKind.INVALID
    json.dumps(refusal.body(), ensure_ascii=False).encode()


def test_nul_nested_is_kept_as_json_writes_it() -> None:
    assert stored(with_data('{"a": ["\\u0000"]}'))["data"] == {"a": '["\\u0000"]'}


def test_an_event_of_as_many_bytes_as_allowed() -> None:
    room = LIMITS.event_bytes - len(accepted(with_data('{"a": ""}')).value)
    most = accepted(with_data('{"a": "%s"}' % ("x" * room)))
    assert len(most.value) == LIMITS.event_bytes
    refusal = refused(with_data('{"a": "%s"}' % ("x" * (room + 1))))
    assert refusal.kind is ErrorKind.TOO_LARGE
    assert f"takes {LIMITS.event_bytes + 1} bytes, {LIMITS.event_bytes} are" in refusal.message


def test_as_many_characters_and_keys_as_allowed() -> None:
    longest = "🦆" * 20
    assert stored(f'{{"type": "t", "userId": "{longest}"}}')["userId"] == longest
    assert len(stored(with_data(json.dumps({str(n): n for n in range(5)})))["data"]) == 5


def test_an_event_that_comes_again_is_the_same_event() -> None:
    said = '{"type": "t", "userId": "1", "messageId": "m-1", "occurredAt": "2026-02-28T10:00:00Z"'
    first, again = accepted(said + "}"), accepted(said + ', "sentAt": "2026-03-01T13:00:00Z"}')
    assert first.guid == again.guid != "evt_1"
    assert first.guid == stored(said + "}")["guid"]
    assert accepted(said.replace("m-1", "m-2") + "}").guid != first.guid
    other = validate(loads(said + "}"), LIMITS, STAMP._replace(producer_guid="key_2"))
    assert other.guid != first.guid


@pytest.mark.parametrize("time", ["", ', "occurredAt": "2026-02-28T10:00:00Z"'])
@pytest.mark.parametrize("days", [1, 2, 4000])
def test_there_is_no_end_to_how_late_an_event_may_come_again(time: str, days: int) -> None:
    said = loads('{"type": "t", "userId": "1", "messageId": "m-1"' + time + "}")
    later = STAMP._replace(guid="evt_2", ip_address="192.0.2.2", now=NOW + timedelta(days=days))
    assert validate(said, LIMITS, later).guid == validate(said, LIMITS, STAMP).guid


def test_a_message_id_at_another_time_is_another_event() -> None:
    said = '{"type": "t", "userId": "1", "messageId": "m-1", "occurredAt": "2026-02-28T10:00:0'
    assert accepted(said + '0Z"}').guid != accepted(said + '1Z"}').guid


def test_a_guid_made_of_a_message_id_has_the_time_of_its_event() -> None:
    """So that it lands in the index beside those of its time."""
    said = '{"type": "t", "userId": "1", "messageId": "m-1", "occurredAt": "2026-02-28T10:00:00Z"}'
    milliseconds = int(datetime(2026, 2, 28, 10, tzinfo=UTC).timestamp() * 1000)
    assert accepted(said).guid.startswith("evt_" + f"{milliseconds:012x}"[:8])
    version4 = validate(loads(said), LIMITS, STAMP._replace(guid_version=4)).guid
    assert version4[len("evt_") + 14] == "4"


@pytest.mark.parametrize("message_id", ["null", '""'])
def test_no_message_id(message_id: str) -> None:
    said = '{"type": "t", "userId": "1", "messageId": ' + message_id + "}"
    assert accepted(said).guid == "evt_1"


def test_a_message_id_without_a_time() -> None:
    said = '{"type": "t", "userId": "1", "messageId": 7}'
    assert accepted(said).guid == accepted(said).guid != "evt_1"


def test_a_clock_that_is_wrong_is_corrected_by_what_it_says_now() -> None:
    """An hour fast: the event was ten minutes before it was sent, which is now."""
    said = '{"type": "t", "userId": "1", "occurredAt": "2026-03-01T12:50:00Z"'
    event = stored(said + ', "sentAt": "2026-03-01T13:00:00Z"}')
    assert event["occurredAt"] == datetime(2026, 3, 1, 11, 50, tzinfo=UTC)


@pytest.mark.parametrize("sent_at", ["null", '"soon"', "{}", '"9999-12-31T23:59:59Z"'])
def test_what_is_no_time_to_have_been_sent_corrects_nothing(sent_at: str) -> None:
    said = '{"type": "t", "userId": "1", "occurredAt": "0001-01-01T00:00:00Z", "sentAt": '
    event = stored(said + sent_at + "}")
    assert event["occurredAt"] == datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sent_at", "corrected"),
    [
        pytest.param(NOW - timedelta(days=30), True, id="30 days behind"),
        pytest.param(NOW + timedelta(days=30), True, id="30 days ahead"),
        pytest.param(NOW - timedelta(days=30, seconds=1), False, id="more than 30 days behind"),
        pytest.param(NOW + timedelta(days=30, seconds=1), False, id="more than 30 days ahead"),
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), False, id="year 1"),
        pytest.param(datetime(9999, 12, 31, tzinfo=UTC), False, id="year 9999"),
    ],
)
def test_a_clock_is_corrected_by_30_days_at_most(sent_at: datetime, corrected: bool) -> None:  # noqa: FBT001
    occurred = datetime(2026, 2, 28, 10, tzinfo=UTC)
    said = {"type": "t", "userId": "1", "occurredAt": occurred.isoformat()}
    text = json.dumps(said | {"sentAt": sent_at.isoformat()})
    late = NOW - sent_at
    assert stored(text)["occurredAt"] == (occurred + late if corrected else occurred)
    assert accepted(text).sent_at_ignored is not corrected
