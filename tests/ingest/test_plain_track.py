"""The fast path of an event gives what the exact path gives, for any bytes."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.dialects import ParsedRequest, RequestParser, native
from ingest.request import Request, parse
from ingest.validate import validate
from merganser.http.errors import ErrorKind, HttpError
from schemas.ids import NOBODY
from schemas.plain_track import PlainTrack, convert
from schemas.validation import EventLimits, ServerFields, ValidEvent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVER_FIELDS = ServerFields(lambda: "evt_1", 7, "key_1", "192.0.2.1", NOW)
LIMITS = EventLimits(id_characters=20, data_keys=5, depth=3, event_bytes=2000, nobody=NOBODY)

TO_CONVERT = b'"another":-0,'
"""A member after which `exact_json` reads the body. It means nothing."""

TO_TRACK = b'"timestamp":null,'
"""A member after which `Track` reads the event. It means nothing beside occurredAt or without it.
"""


def nested(levels: int, brackets: bytes = b"[]") -> bytes:
    return brackets[:1] * levels + brackets[1:] * levels


STRINGS = [
    rb'""',
    rb'"a"',
    rb'"null"',
    b'"\xc3\xbc"',
    rb'"\u00fc\/\"\\\b\f\n\r\t"',
    rb'"\u0000"',
    rb'"C:\\u0000"',
    rb'"\ud83e\udd86"',
    rb'"\ud83e"',
    rb'"\udd86\ud83e"',
    rb'"\ud8"',
    b'"\x7f"',
    b'"\x01"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"-0,"',
    b'"' + b"x" * 21 + b'"',
    b'"' + b"x" * 2000 + b'"',
]
NUMBERS = [
    b"0 -0 -0.0 -0e1 1 -1 19.990 1.0 1E5 1.23e2 1e-7 1e400 9007199254740993 01 1. .5 +1 - NaN",
    b"Infinity -Infinity 1772368215 1772368215.25 1772368215123 18446744073709551616",
    b"1" * 30 + b" " + b"9" * 5000,
]
OTHERS = [
    *b"null true false nul {} [] [1,-0] [0] {".split(),
    rb'{"a":1,"a":{"b":null}}',
    rb'{"":[true,"\u0000",1.50]}',
    *map(nested, (3, 4, 40, 150, 1500)),
    b'{"a":' * 300 + b"1" + b"}" * 300,
    b"[" * 1500,
]
WRITTEN = [*STRINGS, *b" ".join(NUMBERS).split(), *OTHERS]


@st.composite
def json_values(draw: st.DrawFn) -> bytes:
    """Return JSON of any kind, valid or not."""
    if draw(st.booleans()):
        return draw(st.sampled_from(WRITTEN))
    value = draw(st.text() | st.integers() | st.floats())
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


TIMES = [
    "2026-02-28T10:00:00Z",
    "2026-02-28T10:00:00.5+00:00",
    "2026-02-28 10:00:00.123456789Z",
    "2026-02-28T10:00:00.9999999z",
    "2026-02-28T10:00:00,5Z",
    "2026-02-28T10:00:00+02:00",
    "2026-02-28T10:00:00-00:00",
    "2026-02-28T10:00:00",
    "2026-02-28T10:00Z",
    "2026-02-28T24:00:00Z",
    "2026-02-28T23:59:60Z",
    "2026-02-30T10:00:00Z",
    "2026-02-28",
    "2026-W09-6T10:00:00Z",
    "20260228T100000Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T23:59:59-00:01",
    "1772368215",
    "1772368215123Z",
    "-0",
    "soon",
    "",
]
MOMENTS = (
    st.sampled_from(TIMES)
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
).map(lambda time: json.dumps(time).encode())


USUAL_IDS = st.sampled_from([b'"visitor-1"', b'"%b"' % (b"x" * 20), b'"0"', b'""', b"null"])
USUAL_VALUES = st.sampled_from([b'"a"', b'""', b"19.990", b"1e400", b"-1", b"0", b"true", b"null"])


def object_of(content: bytes) -> bytes:
    return b"{" + content.removesuffix(b",") + b"}"


@st.composite
def data(draw: st.DrawFn) -> bytes:
    """Return event data, in most cases valid."""
    usual = draw(st.integers(0, 9)) > 0
    keys = st.sampled_from([b'"a"', b'"b"', b'"c"'] if usual else STRINGS)
    values = USUAL_VALUES if usual else json_values()
    some = draw(st.lists(st.tuples(keys, values), max_size=6))
    return object_of(b"".join(b"%b:%b," % member for member in some))


FIELDS = {
    "type": st.sampled_from([b'"t"', b'"pageview"', b'""']),
    "userId": USUAL_IDS,
    "anonymousId": USUAL_IDS,
    "occurredAt": MOMENTS,
    "sentAt": MOMENTS,
    "messageId": st.sampled_from([b'"m-1"', b'""', b"7"]),
    "data": data(),
    "sessionId": USUAL_IDS,
    "apiKey": st.just(b'"k"'),
    "another": json_values(),
    "ocurredAt": MOMENTS,
    "timestamp": MOMENTS,
}


@st.composite
def members(draw: st.DrawFn, names: Sequence[str]) -> bytes:
    """Return members of these names, in any order, missing and repeated ones too.

    Most have a usual value.
    """
    content = b""
    for name in draw(st.lists(st.sampled_from(names), max_size=7)):
        usual = draw(st.integers(0, 19)) > 0
        content += b'"%b":%b,' % (name.encode(), draw(FIELDS[name] if usual else json_values()))
    return content


IDS = b'"type":"t","userId":"u",'
OTHER_TIMES = ["ocurredAt", "timestamp"]
SENT = [name for name in FIELDS if name not in OTHER_TIMES]


@st.composite
def damaged(draw: st.DrawFn, content_strategy: st.SearchStrategy[bytes]) -> bytes:
    """Return members of an event; in a few, one byte is another."""
    content = draw(content_strategy)
    if draw(st.integers(0, 9)):
        return content
    position = draw(st.integers(0, len(content)))
    return content[:position] + draw(st.binary(min_size=1, max_size=1)) + content[position + 1 :]


NOTHING = (b"", b"")
AROUND = st.just(NOTHING) | st.tuples(
    st.sampled_from([b"", b" \n", b"\xef\xbb\xbf", b"\x00", b"["]),
    st.sampled_from([b"", b" \n", b",", b"{}", b"\x00", b"]"]),
)
"""Bytes before and after a body."""


def outcome(parser: RequestParser, body: bytes) -> Any:
    """Return the API key and what becomes of each event, or the error of the whole request."""
    try:
        parsed = parser(Request(body))
        assert isinstance(parsed, ParsedRequest)
        return parsed.api_key, [event_outcome(raw) for raw in parsed.events]
    except HttpError as error:
        # Its message has a position, which another member in front of it changes.
        return "malformed" if error.kind is ErrorKind.MALFORMED else error.body()


def event_outcome(raw: Any) -> ValidEvent | dict[str, Any]:
    try:
        return validate(raw, LIMITS, SERVER_FIELDS)
    except HttpError as error:
        return error.body()


# A body with `ocurredAt` is its own messageId, so another member makes it another event.
@given(damaged(members([*SENT * 2, "timestamp"])), AROUND)
@example(b'"type":"",', NOTHING)
@example(b'"data":{"a":-0 },', NOTHING)
@example(b'"data":{"a":[-0]},', NOTHING)
@example(b'"data":{"a":1.10,"b":1e400},', NOTHING)
@example(b'"timestamp":"2026-02-28T10:00:00Z",', NOTHING)
@example(b'"occurredAt":"2026-02-28T10:00:00\\u002e1234567Z",', NOTHING)
@example(b'"occurredAt":"2026-02-28T10:00:00",', NOTHING)
@example(b'"occurredAt":"2026-02-28T10:00:00+02:00",', NOTHING)
@example(b'"occurredAt":"0001-01-01T00:00:00+00:01",', NOTHING)
@example(b'"\xff":1,', NOTHING)
@example(b'"type":"\xff",', NOTHING)
@example(b'"type":"\\ud83e",', NOTHING)
def test_all_paths_agree_on_an_event(content: bytes, around: tuple[bytes, bytes]) -> None:
    before, after = around
    plain, converted, exact = (
        outcome(native.track, before + object_of(more + IDS + content) + after)
        for more in (b"", TO_CONVERT, TO_TRACK)
    )
    assert plain == converted == exact


@given(
    st.lists(damaged(members([*SENT * 2, *OTHER_TIMES])), max_size=3),
    members(["sentAt", "apiKey", "another"]),
    AROUND,
)
def test_all_paths_agree_on_a_batch(
    events: list[bytes], shared: bytes, around: tuple[bytes, bytes]
) -> None:
    before, after = around
    outcomes = []
    for of_body, of_event in ((b"", b""), (TO_CONVERT, b""), (TO_CONVERT, TO_TRACK)):
        sent = b",".join(object_of(of_event + IDS + content) for content in events)
        body = object_of(of_body + b'"events":[%b],' % sent + shared)
        outcomes.append(outcome(native.batch, before + body + after))
    plain, converted, exact = outcomes
    assert plain == converted == exact


USUAL = [
    b'"type":"t"',
    b'"userId":"u"',
    b'"userId":null,"anonymousId":"v"',
    b'"occurredAt":"2026-02-28T10:00:00.123Z","sentAt":"2026-02-28T12:00:00+02:00"',
    b'"messageId":"m","sessionId":"s","another":1.0',
    b'"data":{"price":19.990,"count":0,"tags":["a",{"b":null}],"none":null}',
]


@pytest.mark.parametrize("content", USUAL)
@pytest.mark.parametrize("batch", ["", '"sentAt":"2026-02-28T10:00:00Z",'])
def test_a_usual_event_takes_the_fast_path(content: bytes, batch: str) -> None:
    event = b'{"type":"t",%b}' % content
    body = b'{"apiKey":"k",%b"events":[%b,%b]}' % (batch.encode(), event, event)
    parsed = [native.track(Request(event)), native.batch(Request(body))]
    assert all(isinstance(raw, PlainTrack) for request in parsed for raw in request.events)
    assert convert(parse(event)) is not None


@pytest.mark.parametrize("member", [TO_TRACK, b'"ocurredAt":null,', b'"userId":17,'])
def test_an_unusual_event_takes_the_exact_path(member: bytes) -> None:
    event = object_of(member + b'"type":"t"')
    (raw,) = native.track(Request(event)).events
    assert not isinstance(raw, PlainTrack)
    assert convert(raw) is None
