"""Hypothesis strategies for hostile events, data rows, corrections and stored states."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import strategies as st

from merganser.rulebook.values import MAX_VALUE_BYTES
from tests.properties.strategies import MOMENT, MOMENTS, NAMES, PRICES, TYPES

DEFECT, REFUSED = "defect", "refused"
"""Values on which our code, and Postgres, fail in these tests."""

_EDGES = [
    0,
    1,
    255,
    256,
    257,
    4_096,
    MAX_VALUE_BYTES - 1,
    MAX_VALUE_BYTES,
    MAX_VALUE_BYTES + 1,
    300_000,
]
_ESCAPES = [r"\u0000", r"\ud800", r"\udfff", r"\ud83d\ude00", r"\"", "x", "\U0001f600"]
_DIGITS = st.builds(
    lambda sign, zeros, digits, fraction, exponent: (
        f"{sign}{'0' * zeros}{'1' * digits}.{'2' * fraction}{exponent}"
    ),
    st.sampled_from(["", "-", "+"]),
    st.sampled_from([0, 1, 300, 16_000]),
    st.sampled_from([0, 1, 38, 39, 76, 77, 200, 201]),
    st.sampled_from([0, 1, 38, 39, 201]),
    st.sampled_from(["", "e3", "e-38", "E999", "e-999"]),
)
_REPEATED = st.builds(
    lambda text, size: text * (size // len(text.encode())),
    st.sampled_from(["x", "ü", "\U0001f600", "1", "[", '["', "[[],", "\x01", "\\", '"', "a@"]),
    st.sampled_from(_EDGES),
)
_NESTED = st.builds(
    lambda opening, inner, closing, depth: opening * depth + inner + closing * depth,
    st.sampled_from(["[", '{"a":', "[1,"]),
    st.sampled_from(["1", "", "null", '"x"']),
    st.sampled_from(["]", "}", ""]),
    st.sampled_from([1, 31, 32, 33, 100, 500, 5_000]),
)
_ARRAYS = st.one_of(
    st.lists(st.sampled_from(_ESCAPES), max_size=5).map(
        lambda parts: "[" + ",".join(f'"{part}"' for part in parts) + "]"
    ),
    st.builds(
        lambda element, count: json.dumps([element] * count),
        st.sampled_from([None, True, 1.5, "", "v", [], {"k": "v"}, [[None]]]),
        st.sampled_from([0, 1, 999, 1_000, 1_001, 5_000]),
    ),
)
_FAILING = st.sampled_from([DEFECT, REFUSED, f'["ok","{DEFECT}"]', f'["{REFUSED}","ok"]'])
TEXTS = st.one_of(
    st.sampled_from([*NAMES, *PRICES, *MOMENTS]),
    _FAILING,
    _FAILING,
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    _DIGITS,
    _REPEATED,
    _NESTED,
    _ARRAYS,
)
"""Values of eventData. Postgres refuses NUL and lone surrogates; it stores their JSON escapes."""

ANY_MOMENTS = st.one_of(
    MOMENT,
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ]
    ),
)

Row = tuple[str, str]
"""Key and value of eventData; keys can repeat."""


@dataclass(frozen=True)
class HostileEvent:
    """An event on one of a few profiles."""

    profile: str
    at: datetime
    type: str
    user_id: str | None
    ip_address: str | None
    rows: list[Row] = field(default_factory=list)


@st.composite
def hostile_events(draw: st.DrawFn, profiles: list[str]) -> HostileEvent:
    """Draw a hostile event."""
    keys = st.sampled_from(["price", "name", "at"])
    return HostileEvent(
        draw(st.sampled_from(profiles)),
        draw(ANY_MOMENTS),
        draw(st.sampled_from(TYPES)),
        draw(st.sampled_from([None, "u1", "u" * 512])),
        draw(st.one_of(st.none(), st.sampled_from(["192.0.2.1", "x" * 20_000, "ü" * 8_192, ""]))),
        draw(st.lists(st.tuples(keys, TEXTS), max_size=4)),
    )


_ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just("1")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["1", "2", "20619", "999999999999", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
).map(json.dumps)
STATES = st.one_of(
    _ANYTHING,
    st.sampled_from(
        ["", "{", "null", "[" * 50_000, "[" * 50_000 + "]" * 50_000, "NaN", '{"1":1e999}']
    ),
    st.sampled_from(["x", "é"]).map(lambda text: json.dumps({"1": text * 300_000})),
)
"""Texts that another writer stores as the state of a profile."""


@dataclass(frozen=True)
class Correction:
    """A change that another system makes to all events of a hostile profile."""

    statement: str
    profile: str


_OF_THE_PROFILE = """FROM events WHERE events.guid = "eventGuid" AND "profileGuid" = %s"""
_OF_ONE_EVENT = """FROM (SELECT guid FROM events WHERE "profileGuid" = %s LIMIT 1) AS event"""
CORRECTIONS = [
    """UPDATE events SET type = 'buy' WHERE "profileGuid" = %s""",
    """UPDATE events SET "occurredAt" = '9999-12-31' WHERE "profileGuid" = %s""",
    """UPDATE events SET "occurredAt" = NULL WHERE "profileGuid" = %s""",
    """UPDATE events SET "ipAddress" = repeat('x', 100000) WHERE "profileGuid" = %s""",
    f"""UPDATE "eventData" SET value = repeat('9', 500) {_OF_THE_PROFILE}""",
    # Not all keys: the thousands of rows below would take minutes to write.
    f"""UPDATE "eventData" SET value = repeat('z', 2000000) {_OF_THE_PROFILE}
    AND key IN ('at', 'price')""",
    """DELETE FROM events WHERE "profileGuid" = %s""",
    f"""DELETE FROM "eventData" USING {_OF_THE_PROFILE.removeprefix("FROM ")}""",
    f"""INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'name', 'n' || n
    {_OF_ONE_EVENT}, generate_series(1, 3000) AS n""",
    f"""INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'key' || n, 'x'
    {_OF_ONE_EVENT}, generate_series(1, 3000) AS n""",
    """INSERT INTO "propertyRecounts" ("profileGuid", state, checksum, "reachedAt", "reachedGuid")
    VALUES (%s, '{"1": 7}', 7, '2026-06-15', 'evt_') ON CONFLICT DO NOTHING""",
    """INSERT INTO "propertyStates" ("profileGuid", state, checksum, "expiresAt")
    VALUES (%s, '{"1": 7}', 7, '2026-06-15') ON CONFLICT DO NOTHING""",
]
