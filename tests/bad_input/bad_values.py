"""The table of known bad values: the JSON to send, and the expected outcome of each channel.

A bad value is JSON, as raw bytes, for one field of an event. A stored value must be read back from
Postgres unchanged, byte for byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from tests.bad_input.outcomes import (
    DeadLetter,
    Outcome,
    Refused,
    RefusedByPostgres,
    Stored,
    Unresolved,
)

Field = Literal[
    "type",
    "userId",
    "anonymousId",
    "both ids",
    "occurredAt",
    "messageId",
    "sessionId",
    "data",
    "data.k",
    "a key",
]


@dataclass(frozen=True)
class BadValue:
    """One row of the table."""

    name: str
    field: Field
    json: tuple[bytes, ...]
    """The value of the field; if there are several, the key is repeated."""
    http: Outcome
    """In a request with one event, and in a batch of the native dialect or of Segment's."""
    topic: Outcome | None
    """In a record that another producer writes. None: a record has no such field."""
    row: Outcome | None
    """In an inserted row, the string or the JSON as text. None: a row has no such field."""

    def __str__(self) -> str:
        return f"{self.name} in {self.field}"


_TEXT: tuple[Field, ...] = ("type", "userId", "anonymousId", "data.k", "a key")

_ODD = {
    "tab": (rb'"a\tb"', "a\tb"),
    "newline": (rb'"\nline\nbreak\n"', "\nline\nbreak\n"),
    "carriage return": (rb'"\r\nx\r"', "\r\nx\r"),
    "backslash": (rb'"back\\slash\\"', "back\\slash\\"),
    "COPY's NULL": (rb'"\\N"', "\\N"),
    "COPY's end": (rb'"\\."', "\\."),
    "COPY's end on a line": (rb'"\n\\.\n"', "\n\\.\n"),
    "COPY's escapes": (rb'"\\t\\x41\\101"', "\\t\\x41\\101"),
    "an escaped backslash before u0000": (rb'"C:\\u0000"', "C:\\u0000"),
    "quotes": (rb'"\"it\u0027s\""', '"it\'s"'),
    "control characters": (rb'"\u0001\b\f\u001f\u007f"', "\x01\b\f\x1f\x7f"),
    "surrogate pair": (rb'"\ud83e\udd86"', "🦆"),
    "any script": (
        '"é 你好 🦆 \u202e\ufeff\u2028\U0010ffff"'.encode(),
        "é 你好 🦆 \u202e\ufeff\u2028\U0010ffff",
    ),
    "spaces around": (b'"  x "', "  x "),
    "SQL": (b'"\'); DROP TABLE events; --"', "'); DROP TABLE events; --"),
    "percent and braces": (b'"%s %(x)s {0} ${x}"', "%s %(x)s {0} ${x}"),
}

_UNSTORABLE = {
    "NUL": (rb'"a\u0000b"', None),
    "lone high surrogate": (rb'"a\ud800"', "record"),
    "lone low surrogate": (rb'"\udfffb"', "record"),
    "reversed pair": (rb'"\udd86\ud83e"', "record"),
    "invalid UTF-8": (b'"caf\xe9"', "record"),
    "overlong UTF-8": (b'"\xc0\x80"', "record"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "record"),
}


def _strings() -> Iterator[BadValue]:
    for field in _TEXT:
        for name, (json, text) in _ODD.items():
            yield BadValue(name, field, (json,), Stored(text), Stored(text), Stored(text))
        named = "data, in a key" if field == "a key" else field
        for name, (json, whole) in _UNSTORABLE.items():
            dead = DeadLetter(whole or named)
            yield BadValue(name, field, (json,), Refused(named), dead, RefusedByPostgres("22021"))
    yield BadValue("empty", "type", (b'""',), Refused("type"), DeadLetter("type"), Stored(""))
    for field in ("data.k", "a key"):
        yield BadValue("empty", field, (b'""',), Stored(""), Stored(""), Stored(""))
        long = "x" * 10_000
        yield BadValue(
            "10 kB", field, (f'"{long}"'.encode(),), Stored(long), Stored(long), Stored(long)
        )
    for name in ("NUL", "lone high surrogate", "invalid UTF-8"):
        json, _ = _UNSTORABLE[name]
        yield BadValue(name, "sessionId", (json,), Refused("data.sessionId"), None, None)


_NUMBERS = [
    *("0", "-0", "-0.0", "0.10", "1e400", "-1E+400", "1e-400", "9007199254740993"),
    *("18446744073709551616", "3.14159265358979323846264338327950288", "7" * 5000),
]
_NOT_NUMBERS = ["NaN", "Infinity", "-Infinity"]


def _values() -> Iterator[BadValue]:
    """Event data has strings: the gateway converts other values, and a record has only strings."""
    accepted = [
        *_NUMBERS,
        *("true", "false", "{}", "[]"),
        '{"n":[9007199254740993,1e400,-0,null,true,"a\\tb"],"é":"🦆"}',
    ]
    for text in accepted:
        json = (text.encode(),)
        name, dead = (
            (text, DeadLetter("data.k"))
            if len(text) < 100
            else ("5,000 digits", DeadLetter("record"))
        )
        yield BadValue(name, "data.k", json, Stored(text), dead, Stored(text))
    for text in _NOT_NUMBERS:
        for value in (text, f'{{"deep":[{text}]}}'):
            refused = Refused("data.k")
            yield BadValue(
                value, "data.k", (value.encode(),), refused, DeadLetter("data.k"), Stored(value)
            )
    yield BadValue("null", "data.k", (b"null",), Stored(None), DeadLetter("data.k"), None)
    nul = '["a\\u0000b"]'
    yield BadValue(
        "NUL, nested", "data.k", (nul.encode(),), Stored(nul), DeadLetter("data.k"), Stored(nul)
    )
    yield BadValue(
        "lone surrogate, nested", "data.k", (rb'["\ud800"]',), Refused("data.k"),
        DeadLetter("record"), Stored(r'["\ud800"]'),
    )  # fmt: skip
    for levels, outcome in (
        (32, Stored), (33, None), (1_000, None), (10_000, None)
    ):  # fmt: skip
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            text = opening * levels + "1" + closing * levels
            yield BadValue(
                f"{levels:,} deep {opening}", "data.k", (text.encode(),),
                outcome(text) if outcome else Refused("data.k"),
                DeadLetter("data.k" if levels < 200 else "record"), Stored(text),
            )  # fmt: skip
    big = "x" * 70_000
    yield BadValue(
        "70 kB", "data.k", (f'"{big}"'.encode(),), Refused(None, "too_large"), Stored(big),
        Stored(big),
    )  # fmt: skip


def _data_objects() -> Iterator[BadValue]:
    for count in (256, 257, 10_000):
        data = {f"k{n}": "v" for n in range(count)}
        json = ("{" + ",".join(f'"{key}":"v"' for key in data) + "}").encode()
        http = Stored(data) if count <= 256 else Refused("data")
        yield BadValue(f"{count:,} keys", "data", (json,), http, Stored(data), Stored(data))
    for text in ("[]", '"x"', "1", "true"):
        yield BadValue(text, "data", (text.encode(),), Refused("data"), DeadLetter("data"), None)
    yield BadValue("null", "data", (b"null",), Stored({}), DeadLetter("data"), None)


def _ids() -> Iterator[BadValue]:
    for field in ("userId", "anonymousId"):
        base = BadValue("", field, (), Refused(field), DeadLetter(field), None)
        for written, kept in {
            "123": "123", "123.0": "123", "1.23e2": "123", "1E0": "1", "1.50": "1.50", "-7": "-7",
            "9007199254740993": "9007199254740993", "1e-400": "1e-400",
        }.items():  # fmt: skip
            yield replace(
                base, name=written, json=(written.encode(),), http=Stored(kept), row=Stored(written)
            )
        for text in ("true", "false", "{}", "[]", '["123"]', "1e400", *_NOT_NUMBERS):
            yield replace(base, name=text, json=(text.encode(),), row=Stored(text))
        for length, topic, row in (
            (191, Stored, Stored), (192, Stored, Stored), (512, Stored, Stored),
            (513, None, None), (10_000, None, None),
        ):  # fmt: skip
            text = "🦆" * length
            yield BadValue(
                f"{length:,} characters", field, (f'"{text}"'.encode(),),
                Stored(text) if length <= 191 else Refused(field),
                topic(text) if topic else DeadLetter(field),
                row(text) if row else RefusedByPostgres("23514"),
            )  # fmt: skip
        yield replace(
            base,
            name="5,000 digits",
            json=(b"7" * 5000,),
            topic=DeadLetter("record"),
            row=RefusedByPostgres("23514"),
        )
        for text in (
            *(
                " ",
                "\\t\\n",
                "null",
                "Undefined",
                "[object Object]",
                " GUEST ",
                "0",
                "\u00a0",
                "\u200b",
            ),
            *("(null)", "NaN", "unknown", "N/A", "-1", "true", "{}", "\ufeffguest", "0" * 32),
        ):
            written = text.replace("\\t", "\t").replace("\\n", "\n")
            nobody = Stored(None)
            json = f'"{text}"'
            yield BadValue(json, field, (json.encode(),), nobody, nobody, Stored(written))
        for text in ("0", "-0", "0.0", "-0.0", "0e5", "-1", "-1.0"):
            yield replace(base, name=text, json=(text.encode(),), http=Stored(None))
        yield replace(
            base, name="null", json=(b"null",), http=Stored(None), topic=Stored(None), row=None
        )
        yield replace(base, name="empty", json=(b'""',), http=Stored(None), row=Stored(""))
        yield BadValue(
            "repeated", field, (b'"first"', b'"last"'), Stored("last"), Stored("last"), None
        )
    for text in (" ", "undefined", "00000000-0000-0000-0000-000000000000"):
        yield BadValue(
            repr(text), "both ids", (f'"{text}"'.encode(),), Refused("userId"),
            DeadLetter("names somebody", "nobody"), Unresolved(),
        )  # fmt: skip


def _types() -> Iterator[BadValue]:
    for text in ("1", "true", "{}", "[]", "null", "NaN"):
        yield BadValue(text, "type", (text.encode(),), Refused("type"), DeadLetter("type"), None)
    for length in (191, 192, 513):
        text = "x" * length
        yield BadValue(
            f"{length} characters", "type", (f'"{text}"'.encode(),),
            Stored(text) if length <= 191 else Refused("type"),
            Stored(text) if length <= 512 else DeadLetter("type"),
            Stored(text) if length <= 512 else RefusedByPostgres("23514"),
        )  # fmt: skip


def _others() -> Iterator[BadValue]:
    yield BadValue(
        "repeated", "data.k", (b'"first"', b'"last"'), Stored("last"), Stored("last"), None
    )
    yield BadValue(
        "repeated", "data", (b'{"a":"1"}', b'{"b":"2"}'), Stored({"b": "2"}), Stored({"b": "2"}),
        None,
    )  # fmt: skip
    for text in ("true", "{}", "[]", "NaN"):
        for field in ("messageId", "sessionId"):
            yield BadValue(text, field, (text.encode(),), Refused(field), None, None)


NOON = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
_SECONDS = int(NOON.timestamp())


def _times() -> Iterator[BadValue]:
    def bad_value(
        text: str, http: Outcome, topic: Outcome | None = None, row: Outcome | None = None
    ) -> BadValue:
        outcome = http if isinstance(http, Stored) else DeadLetter("occurredAt")
        name = text if len(text) < 40 else f"{len(text)} digits"
        return BadValue(name, "occurredAt", (text.encode(),), http, topic or outcome, row)

    noon, refused, dead = Stored(NOON), Refused("occurredAt"), DeadLetter("occurredAt")
    yield bad_value('"2026-03-01T12:30:15Z"', noon, row=noon)
    yield bad_value('"2026-03-01T12:30:15"', noon, dead)
    yield bad_value('"2026-03-01 14:30:15+02:00"', noon, row=noon)
    yield bad_value('"2026-03-02T12:29:15+23:59"', noon, row=RefusedByPostgres("22009"))
    yield bad_value('"2026-03-01"', Stored(datetime(2026, 3, 1, tzinfo=UTC)), dead)
    exact = Stored(NOON + timedelta(microseconds=123456))
    yield bad_value('"2026-03-01T12:30:15.123456Z"', exact, row=exact)
    yield bad_value(f"{_SECONDS}", noon)
    yield bad_value(f'"{_SECONDS}"', noon, row=RefusedByPostgres("22008"))
    yield bad_value(f"{_SECONDS}000", noon)
    yield bad_value(f"{_SECONDS}.5", Stored(NOON + timedelta(seconds=0.5)))
    yield bad_value("-1", Stored(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)))
    yield bad_value("0", Stored(datetime(1970, 1, 1, tzinfo=UTC)))
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    yield bad_value('"0001-01-01T00:00:00Z"', Stored(first), row=Stored(first))
    yield bad_value('"9999-12-31T23:59:59.999999Z"', Stored(last), row=Stored(last))
    yield bad_value('"0000-01-01T00:00:00Z"', refused, row=RefusedByPostgres("22008"))
    yield bad_value('"10000-01-01T00:00:00Z"', refused, row=RefusedByPostgres("23514"))
    yield bad_value('"0001-01-01T00:00:00+01:00"', refused, row=RefusedByPostgres("23514"))
    yield bad_value('"9999-12-31T23:59:59-01:00"', refused, row=RefusedByPostgres("23514"))
    yield bad_value("253402300800000", refused)
    yield bad_value('"2026-03-01T24:00:00Z"', refused, row=Stored(datetime(2026, 3, 2, tzinfo=UTC)))
    yield bad_value('"2016-12-31T23:59:60Z"', refused, row=Stored(datetime(2017, 1, 1, tzinfo=UTC)))
    yield bad_value('"2026-03-01T12:30:15+99:99"', refused, row=RefusedByPostgres("22009"))
    yield bad_value('"2026-02-30T00:00:00Z"', refused, row=RefusedByPostgres("22008"))
    yield bad_value('"yesterdayish"', refused, row=RefusedByPostgres("22007"))
    yield bad_value('"infinity"', refused, row=RefusedByPostgres("23514"))
    for text in ('""', '"NaN"', "NaN", "Infinity", "1e400", "true", "{}", "[1]"):
        yield bad_value(text, refused)
    yield bad_value("9" * 5000, refused, DeadLetter("record"))
    yield BadValue(
        "repeated", "occurredAt", (b'"nonsense"', f"{_SECONDS}".encode()), noon, noon, None
    )


BAD_VALUES = [*_strings(), *_values(), *_data_objects(), *_ids(), *_types(), *_others(), *_times()]
