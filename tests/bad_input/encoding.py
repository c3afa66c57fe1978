"""A bad value written down: as JSON of an event, as a record, as a row."""

import json
from collections.abc import Mapping

from schemas import event as wire
from tests.bad_input.bad_values import BadValue
from tests.support.events import NOON
from tests.support.topics import Record

OWN: Mapping[str, str] = {}
SEGMENT = {"type": "event", "data": "properties", "occurredAt": "timestamp"}
"""What Segment calls the places."""


def marked(bad_value: BadValue, mark: str) -> dict[str, str]:
    """What tells this event from all others, in a place that the bad value leaves free."""
    elsewhere = {"userId": "anonymousId", "both ids": "type"}
    return {elsewhere.get(bad_value.place, "userId"): mark}


def as_event(
    bad_value: BadValue,
    mark: str,
    names: Mapping[str, str] = OWN,
    base: Mapping[str, str | dict[str, str] | None] | None = None,
) -> bytes:
    """The JSON of an event.

    Args:
        bad_value: what is put into it.
        mark: its id.
        names: what the dialect calls our places.
        base: further members; the bad_value's place wins.
    """
    said = _members(bad_value)
    others = {"type": "t", **(base or {}), **marked(bad_value, mark)}
    members = [
        *((name, json.dumps(value).encode()) for name, value in others.items() if name not in
          {place for place, _ in said}),
        *said,
    ]  # fmt: skip
    text = b",".join(
        b'"%s":%s' % (names.get(name, name).encode(), value) for name, value in members
    )
    return b"{%s%s}" % (_kind(names), text)


def good(mark: str, names: Mapping[str, str] = OWN) -> bytes:
    """A valid event beside it."""
    return b'{%s"%s":"good","userId":"%s"}' % (
        _kind(names), names.get("type", "type").encode(), mark.encode()
    )  # fmt: skip


def _kind(names: Mapping[str, str]) -> bytes:
    """Segment's kind of event, which is no place of ours."""
    return b'"type":"track",' if names else b""


def as_record(bad_value: BadValue, mark: str) -> Record:
    """A record past the gateway, as an old or a buggy producer would write it."""
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
    """The columns of a row of `events`, and its data."""
    (said,) = bad_value.json
    text = _text(said)
    columns = {
        "type": b"t",
        **{name: id_.encode() for name, id_ in marked(bad_value, mark).items()},
    }
    match bad_value.place:
        case "data.k":
            return columns, {b"k": text}
        case "a key":
            return columns, {text: b"v"}
        case "data":
            data = json.loads(said)
            return columns, {key.encode(): value.encode() for key, value in data.items()}
        case "both ids":
            return {**columns, "userId": text, "anonymousId": text}, {}
        case place:
            return {**columns, place: text}, {}


def _members(bad_value: BadValue) -> list[tuple[str, bytes]]:
    match bad_value.place:
        case "data.k":
            return [("data", b"{" + b",".join(b'"k":' + value for value in bad_value.json) + b"}")]
        case "a key":
            return [("data", b"{" + b",".join(key + b':"v"' for key in bad_value.json) + b"}")]
        case "both ids":
            return [(name, bad_value.json[0]) for name in ("userId", "anonymousId")]
        case place:
            return [(place, value) for value in bad_value.json]


def _text(said: bytes) -> bytes:
    """A string's content, as bytes that may be no UTF-8; of other JSON its text."""
    if not said.startswith(b'"'):
        return said
    text: str = json.loads(said.decode("utf-8", "surrogateescape"))
    return text.encode("utf-8", "surrogatepass")
