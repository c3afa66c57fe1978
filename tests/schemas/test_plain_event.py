"""Both paths of `schemas.event.decode` read the same events and refuse the same records."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.event import Event, InvalidEvent, decode, decode_exactly, encode
from tests.support import examples
from tests.support.events import event

SAMPLE = encode(event(user="1", anonymous="a", path="/é\n\\u00", price="19.990"))


def read(decoder: Any, value: bytes) -> Event | str:
    """Return the event, or the message of its refusal."""
    try:
        return decoder(value)  # type: ignore[no-any-return]
    except InvalidEvent as error:
        return str(error)


def check(value: bytes) -> None:
    fast, exact = read(decode, value), read(decode_exactly, value)
    assert fast == exact
    if not isinstance(fast, str) and not isinstance(exact, str):
        for field in ("createdAt", "occurredAt"):
            assert fast[field].isoformat() == exact[field].isoformat()


digits = st.text("0123456789", max_size=12)
times = st.one_of(
    st.builds(
        "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
        st.integers(0, 10_000),
        st.integers(0, 13),
        st.integers(0, 32),
        st.sampled_from(["T", "t", " ", "_", ""]),
        st.integers(0, 24),
        st.integers(0, 60),
        st.integers(0, 60),
        st.builds("{}{}".format, st.sampled_from([".", ",", ""]), digits),
        st.sampled_from(["Z", "z", "", "+00:00", "-00:00", "+02:00", "-23:59", "+0200", "+24:00"]),
    ),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.text(max_size=30),
    st.integers(-(2**60), 2**60),
    st.floats(),
)
texts = st.one_of(
    st.text(),
    st.none(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.sampled_from(["", "x" * 64, "x" * 65, "x" * 512, "x" * 513, "é" * 512, "🦆" * 513]),
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "guid": texts
    | st.builds("evt_{}".format, st.text("a/\né", max_size=3) | st.just("x" * 60))
    | st.just("evt_" + "x" * 61),
    "producerGuid": texts,
    "ipAddress": texts,
    "createdAt": times,
    "occurredAt": times,
    "type": texts,
    "userId": texts,
    "anonymousId": texts,
    "data": texts | st.dictionaries(st.text(), texts) | st.lists(texts),
    "extra": texts,
}


@settings(
    max_examples=examples.count(fast=300, full=5000),
    suppress_health_check=[HealthCheck.too_slow],  # other processes may use the processor
)
@given(
    st.dictionaries(st.sampled_from(sorted(fields)), st.just(None), min_size=0, max_size=3).flatmap(
        lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen})
    ),
    st.sets(st.sampled_from(sorted(fields)), max_size=1),
    st.sampled_from(["ascii", "utf-8"]),
)
def test_any_fields(changed: dict[str, Any], missing: set[str], encoding: str) -> None:
    record = json.loads(SAMPLE) | changed
    for name in missing:
        record.pop(name, None)
    try:
        value = json.dumps(record, ensure_ascii=encoding == "ascii").encode(errors="surrogatepass")
    except UnicodeEncodeError:
        return
    check(value)


@settings(max_examples=examples.count(fast=300, full=5000))
@given(st.integers(0, len(SAMPLE)), st.integers(0, 4), st.binary(max_size=4))
def test_any_bytes(at: int, removed: int, added: bytes) -> None:
    check(SAMPLE[:at] + added + SAMPLE[at + removed :])


def with_text(old: bytes, new: bytes) -> bytes:
    assert old in SAMPLE
    return SAMPLE.replace(old, new, 1)


def with_field(name: str, value: Any) -> bytes:
    return json.dumps(json.loads(SAMPLE) | {name: value}).encode()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(SAMPLE, id="sample"),
        pytest.param(with_field("guid", "evt_a/b"), id="guid with a slash"),
        pytest.param(with_field("guid", "pro_a"), id="guid of another kind"),
        pytest.param(with_field("guid", "evt_" + "x" * 61), id="guid too long"),
        pytest.param(with_field("type", "x" * 513), id="type too long"),
        pytest.param(with_field("userId", ""), id="empty userId"),
        pytest.param(with_field("extra", None), id="unknown field"),
        pytest.param(with_field("createdAt", "2026-01-01T00:00:00+02:00"), id="offset"),
        pytest.param(with_field("occurredAt", "2026-01-01T00:00:00-02:00"), id="other offset"),
        pytest.param(with_field("occurredAt", "2026-01-01T00:00:00"), id="no zone"),
        pytest.param(with_text(b'"guid":', b'"guid":"evt_0","guid":'), id="repeated field"),
        pytest.param(with_text(b'"guid":', b'"guid":1,"guid":'), id="repeated field, one invalid"),
        pytest.param(with_text(b'"data":{', b'"data":{"price":"1",'), id="repeated key"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\x01",'), id="bare control character"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\x00",'), id="bare NUL"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\\u0000",'), id="NUL"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\\ud83e\\udd86",'), id="pair"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\\udd86\\ud83e",'), id="reversed pair"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\xed\xa0\x80",'), id="surrogate bytes"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"\xff",'), id="not UTF-8"),
        pytest.param(with_text(b'"data":{', b'"data":{"a":"52.52000661",'), id="many digits"),
        pytest.param(with_text(b'Z"', b'.1234567Z"'), id="nanoseconds"),
        pytest.param(with_text(b'Z"', b'.9999999Z"'), id="nanoseconds that round up"),
        pytest.param(b"\xef\xbb\xbf" + SAMPLE, id="byte order mark"),
        pytest.param(b" \n" + SAMPLE + b"\t ", id="white space around"),
        pytest.param(SAMPLE + b"\x00", id="NUL after the record"),
        pytest.param(SAMPLE + SAMPLE, id="two records"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(
            with_text(b'"data":{', b'"x":' + b"[" * 9000 + b"]" * 9000 + b',"data":{'),
            id="deep unknown field",
        ),
    ],
)
def test_odd_records(value: bytes) -> None:
    check(value)
