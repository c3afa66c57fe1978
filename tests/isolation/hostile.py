"""Random records and rows that try to break the resolver and the scanner."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.event import VERSION_HEADER

FORBIDDEN = tuple(
    f"forbidden {state}" for state in ("P0001", "22003", "23503", "54000", "XX000", "57014")
)
"""Types of events for which a trigger raises this SQLSTATE."""

GUIDS = [f"evt_{number:04}" for number in range(12)]
"""Few, so that events are repeated with other ids."""
IDS = ["ann", "bob", "phone", "laptop", "🦆" * 512, "\\", "\t", "'; DROP TABLE events; --"]

_LONG = "🦆" * 513
_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *(
                "",
                " ",
                "null",
                "\x00",
                "a\x00b",
                "\ud800",
                "\\u0000",
                "\\ud800",
                _LONG,
                "\r\n\t\\N",
            ),
            *('["a\\u0000b"]', '["\\ud800"]', "[" * 500, "9" * 300, "1e999999", "-0", "NaN"),
            *(
                "0001-01-01",
                "9999-12-31T23:59:59.999999-23:59",
                "x" * 100_000,
                "\u202e\u200b\ufeff",
            ),
        ]
    ),
)
_TIMES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("2026-03-01T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "10000-01-01T00:00:00Z"),
        *("2026-03-01T12:00:00", "", "infinity", "now", None, 0, -1, 1e300, {}, []),
    ]
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)

_usual = st.fixed_dictionaries(
    {
        "guid": st.sampled_from(GUIDS),
        "producerGuid": st.none(),
        "ipAddress": st.none(),
        "createdAt": st.just("2026-03-01T12:00:00Z"),
        "occurredAt": st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"]),
        "type": st.sampled_from(["view", *FORBIDDEN]),
        "userId": st.none() | st.sampled_from(IDS),
        "anonymousId": st.sampled_from(IDS),
        "data": st.just({"price": "1"}),
    }
)
_hostile: dict[str, st.SearchStrategy[Any]] = {
    "producerGuid": _TEXTS,
    "ipAddress": _TEXTS,
    "createdAt": _TIMES,
    "occurredAt": _TIMES,
    "type": _TEXTS,
    "userId": _TEXTS,
    "anonymousId": _TEXTS,
    "data": st.dictionaries(_TEXTS, _TEXTS, max_size=4),
}


@st.composite
def _values(draw: st.DrawFn) -> bytes:
    """Draw an event, one with random fields, any JSON, or one of these with changed bytes."""
    event: Any = draw(_usual)
    for field in draw(st.lists(st.sampled_from(sorted(_hostile)), max_size=2)):
        event[field] = draw(_hostile[field] if draw(st.integers(0, 3)) else _JSON)
    if draw(st.integers(0, 9)) == 9:
        event = draw(_JSON)
    text = json.dumps(event, ensure_ascii=draw(st.booleans()))
    value = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 9:
        start = draw(st.integers(0, len(value)))
        value = (
            value[:start] + draw(st.binary(max_size=4)) + value[start + draw(st.integers(0, 3)) :]
        )
    return value


class HostileRecord(NamedTuple):
    """A record that another system publishes to the topic of events."""

    value: bytes | None
    headers: dict[str, bytes]


records = st.builds(
    HostileRecord,
    st.integers(0, 9).flatmap(lambda n: _values() if n < 9 else st.none() | st.binary(max_size=99)),
    st.sampled_from([dict([VERSION_HEADER])] * 18 + [{}, {"schema-version": b"\xff", "x": b""}]),
)


class HostileRow(NamedTuple):
    """A row that another system inserts into `events`, with rows of `eventData`."""

    guid: str
    kind: str
    user_id: str | None
    anonymous_id: str | None
    occurred_at: str | None
    created_at: str
    data: Sequence[tuple[str, str]]


def _storable(text: str | None) -> bool:
    """Return whether Postgres accepts it as an id or type; if not, the INSERT fails."""
    return text is None or (
        len(text) <= 512 and "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
    )


_ROW_TIMES = st.sampled_from(["2026-03-01Z", "0001-01-01 00:00Z", "9999-12-31 23:59:59.999999Z"])
_row_texts = _TEXTS.filter(_storable)

rows = st.builds(
    HostileRow,
    st.sampled_from(GUIDS),
    st.sampled_from(["view", *FORBIDDEN]) | _row_texts,
    st.none() | st.sampled_from(IDS) | _row_texts,
    st.none() | st.sampled_from(IDS) | _row_texts,
    st.none() | _ROW_TIMES,
    _ROW_TIMES,
    st.lists(st.tuples(_row_texts, _row_texts), max_size=3),
)
