"""Records of the topic: encoded events decode to the same events, other records are invalid."""

import json
import traceback
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import event as wire
from schemas.event import InvalidEvent, decode, encode, partition_key
from tests.support.events import event

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


def encode_with(**fields: Any) -> bytes:
    """Return the bytes of a record with these fields; `...` removes a field."""
    record = json.loads(encode(event(user="1")))
    record.update(fields)
    return json.dumps({k: v for k, v in record.items() if v is not ...}).encode()


@given(storable, storable, st.dictionaries(storable, storable))
def test_an_encoded_event_decodes_to_the_same_event(
    kind: str, user: str, data: dict[str, str]
) -> None:
    sent = event(user="u" + user[:500], kind="k" + kind[:500])
    sent["data"] = data
    assert decode(encode(sent)) == sent


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 1, UTC),
    ],
    ids=str,
)
def test_times_are_exact(moment: datetime) -> None:
    sent = event(user="1")
    sent["occurredAt"] = moment
    assert decode(encode(sent))["occurredAt"] == moment


BAD = {"NUL": "a\x00b", "lone surrogate": "a\ud800b", "reversed pair": "\udc00\ud800"}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("field", ["type", "userId", "anonymousId", "producerGuid", "ipAddress"])
def test_a_field_that_postgres_cannot_store_is_not_encoded(bad: str, field: str) -> None:
    sent: Any = {**event(user="1", anonymous="2"), field: bad}
    with pytest.raises(InvalidEvent) as caught:
        encode(sent)
    assert set(caught.value.fields) == {field}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("place", ["key", "value"])
def test_data_that_postgres_cannot_store_is_not_encoded(bad: str, place: str) -> None:
    sent = event(user="1")
    sent["data"] = {bad: "v"} if place == "key" else {"k": bad}
    with pytest.raises(InvalidEvent) as caught:
        encode(sent)
    assert all(field.startswith("data") for field in caught.value.fields)
    assert bad not in str(caught.value)


def test_nul_in_a_record_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="NUL"):
        decode(encode_with(data={"k": "a\x00b"}))


def test_an_escaped_nul_as_text_is_kept() -> None:
    sent = event(user="1", path="C:\\u0000", other="\\\\u0000")
    assert decode(encode(sent)) == sent


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param(b"", "record", id="empty"),
        pytest.param(b"garbage", "record", id="garbage"),
        pytest.param(b"\xff\xfe", "record", id="not UTF-8"),
        pytest.param(b"[]", "record", id="not an object"),
        pytest.param(encode_with(extra="x"), "extra", id="unknown field"),
        pytest.param(encode_with(type=...), "type", id="missing field"),
        pytest.param(encode_with(type=1), "type", id="wrong type"),
        pytest.param(encode_with(type=""), "type", id="empty type"),
        pytest.param(encode_with(type="x" * 513), "type", id="longer than the column"),
        pytest.param(encode_with(userId=123), "userId", id="numeric id"),
        pytest.param(encode_with(userId=""), "userId", id="empty id"),
        pytest.param(encode_with(guid="pro_1"), "guid", id="guid of another kind"),
        pytest.param(encode_with(guid="evt_" + "x" * 61), "guid", id="guid too long"),
        pytest.param(encode_with(guid="evt_a/b"), "guid", id="guid with a slash"),
        pytest.param(
            encode_with(occurredAt="0001-01-01T00:00:00+01:00"), "occurredAt", id="year 0"
        ),
        pytest.param(
            encode_with(createdAt="9999-12-31T23:59:59-01:00"), "createdAt", id="year 10000"
        ),
        pytest.param(encode_with(occurredAt="2026-01-01T00:00:00"), "occurredAt", id="no zone"),
        pytest.param(encode_with(occurredAt=None), "occurredAt", id="no time"),
        pytest.param(encode_with(data={"a": 1}), "data.a", id="data not strings"),
        pytest.param(encode_with(data=None), "data", id="no data"),
        pytest.param(b'{"guid": "evt_1", "type": "\\ud800"}', "record", id="lone surrogate"),
    ],
)
def test_an_invalid_record_names_the_field(value: bytes, field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(value)
    assert set(caught.value.fields) == {field}


def test_errors_do_not_quote_the_record() -> None:
    secret = uuid.uuid4().hex
    with pytest.raises(InvalidEvent) as caught:
        decode(encode_with(data={"k": [secret]}))
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_events_of_one_device_share_a_key() -> None:
    before, after = event(anonymous="device"), event(user="1", anonymous="device")
    assert partition_key(before) == partition_key(after) == b"device"
    assert partition_key(event(user="ü")) == "ü".encode()


def test_the_version_is_in_a_header() -> None:
    assert wire.VERSION_HEADER == ("schema-version", b"1")


def test_a_time_with_a_zone_becomes_the_same_time_in_utc() -> None:
    plus_two = datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    decoded = decode(encode_with(occurredAt=plus_two.isoformat()))["occurredAt"]
    assert (decoded, decoded.utcoffset()) == (plus_two, timedelta(0))
