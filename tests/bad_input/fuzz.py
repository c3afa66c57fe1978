"""Random bodies: bytes, JSON, and valid bodies with a few bytes changed."""

import gzip
import json
from typing import Any

from hypothesis import strategies as st

from ingest.main import DIALECTS

ROUTES = sorted(
    (method, path.replace("*", "x"))
    for dialect in DIALECTS
    for method, path in (route.split(" ") for route in dialect)
)

_SPECIAL: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, "", "\0", "\ud800", "a\tb\\N\n", "x" * 600, -1, 1e300, 2**70),
        *("2026-03-01", "10000-01-01", 253402300800000, [], {}, [[[]]], {"": ""}),
    ]
)
_NAMES = st.sampled_from(
    [
        *("type", "userId", "anonymousId", "occurredAt", "ocurredAt", "timestamp", "sentAt"),
        *("messageId", "sessionId", "data", "events", "batch", "event", "properties", "context"),
        *("traits", "user", "event_type", "distinct_id", "$set", "previousId", "writeKey", "e"),
        *("ue_px", "cx", "co", "schema", "uid", "duid", "dtm", "stm", "eid", "apiKey"),
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _SPECIAL,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_NAMES | st.text(), inner, max_size=6)
    ),
    max_leaves=20,
)
_documents = _json.map(lambda value: json.dumps(value).encode())

_VALID = [
    {"type": "t", "userId": 1, "occurredAt": 1772366415, "data": {"k": [1.5, {"a": None}]}},
    {"events": [{"type": "t", "anonymousId": "a", "sessionId": "s", "messageId": "m"}] * 2},
    {"batch": [{"type": "identify", "userId": "u", "traits": {"a": 1}, "context": {"b": {}}}]},
    {"batch": [{"event": "$identify", "distinct_id": "u", "properties": {"token": "t"}}]},
    {"schema": "s", "data": [{"e": "pv", "duid": "d", "cx": "e30", "dtm": "1772366415000"}]},
    {"event_type": "t", "user": {"id": "u", "anonymous_id": "a"}, "utc_time": "2026-03-01"},
]


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Draw a valid body, unchanged or with some bytes removed, inserted or repeated."""
    body = json.dumps(draw(st.sampled_from(_VALID))).encode()
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 8)))
        inserted = draw(st.binary(max_size=4) | _documents | st.just(body[start:end] * 3))
        body = body[:start] + inserted + body[end:]
    return body


bodies = (
    st.one_of(st.binary(max_size=200), _documents, _mutated())
    .flatmap(lambda body: st.sampled_from([body, body, body, gzip.compress(body)]))
    .map(bytes)
)
routes = st.sampled_from(ROUTES)
queries = st.binary(max_size=20).map(lambda raw: raw.hex()) | st.sampled_from(
    ["e=pv&uid=1&tv=%00", "e=%FF&duid=%ED%A0%80", "compression=base64", "ue_px=e30&e=ue&uid=1"]
)
