"""Which events are valid, how they are stored, and which are refused and why: without I/O."""

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
SERVER_FIELDS = ServerFields(lambda: "evt_1", 7, "key_1", "192.0.2.1", NOW)
LIMITS = EventLimits(id_characters=20, data_keys=5, depth=3, event_bytes=2000, nobody=NOBODY)


def accept(text: str) -> ValidEvent:
    return validate(loads(text), LIMITS, SERVER_FIELDS)


def store(text: str) -> Event:
    return decode(accept(text).value)


def refuse(text: str) -> HttpError:
    with pytest.raises(HttpError) as caught:
        accept(text)
    return caught.value


def with_data(data: str) -> str:
    return '{"type": "t", "userId": "1", "data": ' + data + "}"


def test_an_event_is_stored_with_all_fields() -> None:
    text = """{"type": "purchase", "userId": 123, "anonymousId": "person_1",
        "occurredAt": "2026-02-28T10:00:00Z",
        "data": {"total": 19.990, "vip": true, "none": null}}"""
    assert store(text) == {
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
    assert accept(text).guid == "evt_1"
    assert accept(text).key == b"person_1"


def test_an_event_without_a_time_occurred_on_arrival() -> None:
    assert store('{"type": "t", "userId": "1"}')["occurredAt"] == NOW


def test_a_client_cannot_set_fields_of_the_server() -> None:
    fields = '"guid": "evt_mine", "createdAt": "2020-01-01T00:00:00Z", "ipAddress": "203.0.113.9"'
    event = store('{"type": "t", "userId": "1", "profileGuid": "pro_mine", ' + fields + "}")
    assert (event["guid"], event["createdAt"], event["ipAddress"]) == ("evt_1", NOW, "192.0.2.1")


def test_the_session_is_stored_as_data_unless_data_has_one() -> None:
    sent = '{"type": "t", "userId": "1", "sessionId": "s-1"'
    assert store(sent + "}")["data"] == {"sessionId": "s-1"}
    assert store(sent + ', "data": {"sessionId": "other"}}')["data"] == {"sessionId": "other"}


@pytest.mark.parametrize("placeholder", ['""', "null", "0", '"undefined"', '"[object Object]"'])
def test_a_placeholder_id_is_ignored(placeholder: str) -> None:
    event = store('{"type": "t", "anonymousId": "a", "userId": ' + placeholder + "}")
    assert (event["userId"], event["anonymousId"]) == (None, "a")


@pytest.mark.parametrize("ids", ["", ', "userId": null', ', "userId": "0", "anonymousId": "None"'])
def test_an_event_without_an_id_is_refused(ids: str) -> None:
    refusal = refuse('{"type": "t"' + ids + "}")
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
            id="several invalid fields",
        ),
        pytest.param('{"type": "t", "userId": "1", "ocurredAt": "x"}', {"ocurredAt"}, id="time"),
        pytest.param('"text"', {"event"}, id="not an object"),
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
    refusal = refuse(text)
    assert refusal.kind is ErrorKind.INVALID
    assert set(refusal.fields) == fields
    assert all(refusal.fields.values())
    assert all(field in refusal.message for field in fields)


@pytest.mark.parametrize("key", ["\\u0000", "\\ud800"])
@pytest.mark.parametrize("value", ['"x"', "NaN", "[[[[1]]]]"])
def test_a_bad_key_is_refused_with_any_value(key: str, value: str) -> None:
    """JSON can represent the refusal, but not a lone surrogate."""
    refusal = refuse(with_data(f'{{"{key}": {value}}}'))
    assert refusal.kind is ErrorKind.INVALID
    json.dumps(refusal.body(), ensure_ascii=False).encode()


def test_a_nested_nul_is_stored_as_its_json_escape() -> None:
    assert store(with_data('{"a": ["\\u0000"]}'))["data"] == {"a": '["\\u0000"]'}


def test_an_event_can_have_the_maximum_number_of_bytes() -> None:
    room = LIMITS.event_bytes - len(accept(with_data('{"a": ""}')).value)
    most = accept(with_data('{"a": "%s"}' % ("x" * room)))
    assert len(most.value) == LIMITS.event_bytes
    refusal = refuse(with_data('{"a": "%s"}' % ("x" * (room + 1))))
    assert refusal.kind is ErrorKind.TOO_LARGE
    assert f"takes {LIMITS.event_bytes + 1} bytes, {LIMITS.event_bytes} are" in refusal.message


def test_an_event_can_have_the_maximum_number_of_characters_and_keys() -> None:
    longest = "🦆" * 20
    assert store(f'{{"type": "t", "userId": "{longest}"}}')["userId"] == longest
    assert len(store(with_data(json.dumps({str(n): n for n in range(5)})))["data"]) == 5


def test_a_repeated_event_has_the_same_guid() -> None:
    sent = '{"type": "t", "userId": "1", "messageId": "m-1", "occurredAt": "2026-02-28T10:00:00Z"'
    first, repeated = accept(sent + "}"), accept(sent + ', "sentAt": "2026-03-01T13:00:00Z"}')
    assert first.guid == repeated.guid != "evt_1"
    assert first.guid == store(sent + "}")["guid"]
    assert accept(sent.replace("m-1", "m-2") + "}").guid != first.guid
    other = validate(loads(sent + "}"), LIMITS, SERVER_FIELDS._replace(producer_guid="key_2"))
    assert other.guid != first.guid


@pytest.mark.parametrize("time", ["", ', "occurredAt": "2026-02-28T10:00:00Z"'])
@pytest.mark.parametrize("days", [1, 2, 4000])
def test_an_event_repeated_years_later_has_the_same_guid(time: str, days: int) -> None:
    sent = loads('{"type": "t", "userId": "1", "messageId": "m-1"' + time + "}")
    later = SERVER_FIELDS._replace(
        new_guid=lambda: "evt_2", ip_address="192.0.2.2", now=NOW + timedelta(days=days)
    )
    assert validate(sent, LIMITS, later).guid == validate(sent, LIMITS, SERVER_FIELDS).guid


def test_a_message_id_with_another_time_is_another_event() -> None:
    sent = '{"type": "t", "userId": "1", "messageId": "m-1", "occurredAt": "2026-02-28T10:00:0'
    assert accept(sent + '0Z"}').guid != accept(sent + '1Z"}').guid


def test_the_guid_of_a_message_id_has_the_time_of_its_event() -> None:
    """So that the index has it beside guids of the same time."""
    sent = '{"type": "t", "userId": "1", "messageId": "m-1", "occurredAt": "2026-02-28T10:00:00Z"}'
    milliseconds = int(datetime(2026, 2, 28, 10, tzinfo=UTC).timestamp() * 1000)
    assert accept(sent).guid.startswith("evt_" + f"{milliseconds:012x}"[:8])
    version4 = validate(loads(sent), LIMITS, SERVER_FIELDS._replace(guid_version=4)).guid
    assert version4[len("evt_") + 14] == "4"


@pytest.mark.parametrize("message_id", ["null", '""'])
def test_an_empty_message_id_is_ignored(message_id: str) -> None:
    sent = '{"type": "t", "userId": "1", "messageId": ' + message_id + "}"
    assert accept(sent).guid == "evt_1"


def test_a_message_id_without_a_time_gives_a_stable_guid() -> None:
    sent = '{"type": "t", "userId": "1", "messageId": 7}'
    assert accept(sent).guid == accept(sent).guid != "evt_1"


def test_a_wrong_clock_is_corrected_by_its_send_time() -> None:
    """The clock is an hour fast; the event occurred ten minutes before it was sent."""
    sent = '{"type": "t", "userId": "1", "occurredAt": "2026-03-01T12:50:00Z"'
    event = store(sent + ', "sentAt": "2026-03-01T13:00:00Z"}')
    assert event["occurredAt"] == datetime(2026, 3, 1, 11, 50, tzinfo=UTC)


@pytest.mark.parametrize("sent_at", ["null", '"soon"', "{}", '"9999-12-31T23:59:59Z"'])
def test_an_invalid_send_time_corrects_nothing(sent_at: str) -> None:
    sent = '{"type": "t", "userId": "1", "occurredAt": "0001-01-01T00:00:00Z", "sentAt": '
    event = store(sent + sent_at + "}")
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
def test_a_clock_is_corrected_by_at_most_30_days(sent_at: datetime, corrected: bool) -> None:  # noqa: FBT001
    occurred = datetime(2026, 2, 28, 10, tzinfo=UTC)
    sent = {"type": "t", "userId": "1", "occurredAt": occurred.isoformat()}
    text = json.dumps(sent | {"sentAt": sent_at.isoformat()})
    late = NOW - sent_at
    assert store(text)["occurredAt"] == (occurred + late if corrected else occurred)
    assert accept(text).sent_at_ignored is not corrected
