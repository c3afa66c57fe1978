"""Edit the record of a dead letter: the event in it as text, and checks of the edited text.

The checks are those of ingest, for an event in the fields of a record: its guid and the other
fields that the server adds stay as the text has them.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from schemas import event as wire
from schemas import exact_json
from schemas.dead_letter import DeadLetter
from schemas.event import LONGEST_ID, VERSION_HEADER, Event, InvalidEvent, partition_key
from schemas.guid import EVENT, uuid7
from schemas.validation import EventLimits, EventTooLarge, ServerFields, validate_event

MAX_BYTES = 64 << 10
"""Of a record's value that can be edited, and of the edited one."""

MAX_DATA_KEYS = 10_000

_FIELDS = Event.__annotations__.keys()
_SENT = ("type", "userId", "anonymousId", "occurredAt", "data")
"""Fields that a client sends; the server adds the others."""


@dataclass(frozen=True, slots=True)
class EditedRecord:
    """A record to send in place of a letter's."""

    guid: str
    """Of the event."""
    key: bytes
    value: bytes

    def replace_record(self, letter: DeadLetter) -> DeadLetter:
        """Return a letter with this record; other headers than the version's stay."""
        others = (header for header in letter.headers if header[0] != VERSION_HEADER[0])
        return replace(letter, key=self.key, value=self.value, headers=(VERSION_HEADER, *others))


def read_text(letter: DeadLetter) -> str | None:
    """Return the value of a letter's record to edit: indented if it is JSON, else as it is.

    Returns:
        None if it cannot be edited: it is too large, is missing, or is not UTF-8.
    """
    if letter.omitted_bytes or len(letter.value or b"") > MAX_BYTES:
        return None
    try:
        text = (letter.value or b"").decode()
    except UnicodeDecodeError:
        return None
    try:
        indented = json.dumps(
            json.loads(text, parse_float=_refuse_float), indent=2, ensure_ascii=False
        )
        indented.encode()
    except (ValueError, RecursionError):  # not JSON, or it would lose digits or half a character
        return text
    return indented


def check_text(text: str, nobody_ids: frozenset[str], now: datetime) -> EditedRecord:
    """Return the record of an edited event.

    Args:
        text: JSON of the event, with the fields of a record. Without a guid the event gets one;
            without a time it occurred now.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        now: the current time.

    Raises:
        InvalidEvent: names each invalid field and why.
    """
    given = _parse(text)
    created_at = given.get("createdAt") or now.astimezone(UTC).isoformat()
    sent = {name: given.get(name) for name in _SENT}
    sent["occurredAt"] = sent["occurredAt"] or created_at
    limits = EventLimits(LONGEST_ID, MAX_DATA_KEYS, exact_json.DEEPEST, MAX_BYTES, nobody_ids)
    guid = given.get("guid") or EVENT + uuid7(int(now.timestamp() * 1000))
    try:
        valid = validate_event(sent, limits, ServerFields(lambda: EVENT, 7, "", None, now))
    except EventTooLarge as error:
        raise InvalidEvent({"event": str(error)}) from None
    record = {
        **exact_json.loads(valid.value.decode()),
        "guid": guid,
        "producerGuid": given.get("producerGuid"),
        "ipAddress": given.get("ipAddress"),
        "createdAt": created_at,
    }
    try:
        value = exact_json.as_text(record, exact_json.DEEPEST).encode()
    except ValueError:  # NaN, or half a character
        raise InvalidEvent({"event": "has a value that a record cannot have"}) from None
    event = wire.decode(value)
    return EditedRecord(event["guid"], partition_key(event), wire.encode(event))


def _parse(text: str) -> dict[str, Any]:
    try:
        given = exact_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent({"event": f"is not JSON: {error}"}) from None
    if not isinstance(given, dict):
        raise InvalidEvent({"event": "must be a JSON object"})
    if unknown := sorted(given.keys() - _FIELDS):
        raise InvalidEvent(
            dict.fromkeys(unknown, "is not a field of an event: move it into data, or remove it")
        )
    return given


def _refuse_float(_text: str) -> float:
    """Make `read_text` keep the text: a float may not have the digits of the JSON number."""
    raise ValueError
