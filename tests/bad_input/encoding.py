"""Encode a bad value as the JSON of an event, as a record, and as a row."""

import json
from collections.abc import Mapping

from schemas import event as wire
from tests.bad_input.bad_values import BadValue
from tests.support.events import NOON
from tests.support.topics import Record

NATIVE: Mapping[str, str] = {}
SEGMENT = {"type": "event", "data": "properties", "occurredAt": "timestamp"}
"""The names of fields in Segment's dialect, by our names."""


def marked(bad_value: BadValue, mark: str) -> dict[str, str]:
    """Return a field that identifies the event, other than the field of the bad value."""
    other_fields = {"userId": "anonymousId", "both ids": "type"}
    return {other_fields.get(bad_value.field, "userId"): mark}


def as_event(
    bad_value: BadValue,
    mark: str,
    names: Mapping[str, str] = NATIVE,
    base: Mapping[str, str | dict[str, str] | None] | None = None,
) -> bytes:
    """Return the JSON of an event.

    Args:
        bad_value: the value of one field.
        mark: identifies the event.
        names: the names of fields in the dialect, by our names.
        base: more fields; the bad value replaces the one of its field.
    """
    bad_members = _members(bad_value)
    others = {"type": "t", **(base or {}), **marked(bad_value, mark)}
    members = [
        *((name, json.dumps(value).encode()) for name, value in others.items() if name not in
          {field for field, _ in bad_members}),
        *bad_members,
    ]  # fmt: skip
    text = b",".join(
        b'"%s":%s' % (names.get(name, name).encode(), value) for name, value in members
    )
    return b"{%s%s}" % (_kind(names), text)


def good(mark: str, names: Mapping[str, str] = NATIVE) -> bytes:
    """Return the JSON of a valid event."""
    return b'{%s"%s":"good","userId":"%s"}' % (
        _kind(names), names.get("type", "type").encode(), mark.encode()
    )  # fmt: skip


def _kind(names: Mapping[str, str]) -> bytes:
    """Return the type of a Segment call, which is not a field of ours."""
    return b'"type":"track",' if names else b""


def as_record(bad_value: BadValue, mark: str) -> Record:
    """Return a record as an old or faulty producer could write it."""
    base: dict[str, str | dict[str, str] | None] = {
        "guid": f"evt_{mark}",
        "producerGuid": None,
        "ipAddress": None,
        "createdAt": NOON.isoformat(),
        "occurredAt": NOON.isoformat(),
        "userId": None,
        "anonymousId": None,
        "data": {},
    }
    return Record(
        as_event(bad_value, mark, base=base),
        mark.encode(),
        dict([wire.VERSION_HEADER]),
        partition=0,
    )


def as_row(bad_value: BadValue, mark: str) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
    """Return the columns of a row of `events`, and its data."""
    (json_value,) = bad_value.json
    text = _text(json_value)
    columns = {
        "type": b"t",
        **{name: id_.encode() for name, id_ in marked(bad_value, mark).items()},
    }
    match bad_value.field:
        case "data.k":
            return columns, {b"k": text}
        case "a key":
            return columns, {text: b"v"}
        case "data":
            data = json.loads(json_value)
            return columns, {key.encode(): value.encode() for key, value in data.items()}
        case "both ids":
            return {**columns, "userId": text, "anonymousId": text}, {}
        case field:
            return {**columns, field: text}, {}


def _members(bad_value: BadValue) -> list[tuple[str, bytes]]:
    match bad_value.field:
        case "data.k":
            return [("data", b"{" + b",".join(b'"k":' + value for value in bad_value.json) + b"}")]
        case "a key":
            return [("data", b"{" + b",".join(key + b':"v"' for key in bad_value.json) + b"}")]
        case "both ids":
            return [(name, bad_value.json[0]) for name in ("userId", "anonymousId")]
        case field:
            return [(field, value) for value in bad_value.json]


def _text(json_value: bytes) -> bytes:
    """Return the content of a string, which may be invalid UTF-8, or the text of other JSON."""
    if not json_value.startswith(b'"'):
        return json_value
    text: str = json.loads(json_value.decode("utf-8", "surrogateescape"))
    return text.encode("utf-8", "surrogatepass")
