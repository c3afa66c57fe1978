"""One accepted event as the topic carries it: JSON, with the schema version in a header.

Plain data on purpose: a typed dict is what pydantic reads fastest and what needs no conversion on
the way out. Keys are the columns of the `events` table.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from pydantic import (
    AwareDatetime,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

from schemas import guid
from schemas.moment import in_utc

VERSION_HEADER = ("schema-version", b"1")

LONGEST_ID = 512
"""Characters that the tables take for type, userId and anonymousId; a gateway may allow fewer."""


Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]
EventGuid = Annotated[str, StringConstraints(pattern=f"^{guid.EVENT}[^/]*$", max_length=64)]


@with_config(ConfigDict(extra="forbid", hide_input_in_errors=True))
class Event(TypedDict):
    """An event with the fields that the server adds. Times are UTC."""

    guid: EventGuid
    producerGuid: str | None
    ipAddress: str | None
    createdAt: AwareDatetime
    occurredAt: AwareDatetime
    type: Name
    userId: Name | None
    anonymousId: Name | None
    data: dict[str, str]


class InvalidEvent(ValueError):
    """An event that cannot be stored, or a record whose value is not an event.

    Args:
        fields: why each field is invalid, by the field's name.
        message: by default, all fields with their reasons.
    """

    def __init__(self, fields: Mapping[str, str], message: str | None = None) -> None:
        # A field may contain a key of the client's, with a lone surrogate that UTF-8 cannot write.
        self.fields = {
            field.encode(errors="replace").decode(): why for field, why in fields.items()
        }
        super().__init__(
            message or "; ".join(f"{field}: {why}" for field, why in self.fields.items())
        )


_NUL = b"\\u0000"
"""How JSON must write NUL. Looking for it in the bytes is cheaper than looking in each string."""

_TIMES: tuple[Literal["createdAt"], Literal["occurredAt"]] = ("createdAt", "occurredAt")

_event: TypeAdapter[Event] = TypeAdapter(Event)
_to_json = msgspec.json.Encoder().encode


def encode(event: Event) -> bytes:
    """The record value.

    Raises:
        InvalidEvent: a string holds NUL, or a lone surrogate, which has no UTF-8 form.
    """
    try:
        value = _to_json(event)
    except UnicodeEncodeError:
        _refuse_unstorable(event)
        raise
    if _may_contain_nul(value):
        _refuse_unstorable(event)
    return value


_PlainName = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]


class _PlainEvent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as ingest writes it, read by compiled code.

    What it refuses, or may read in another way, takes the exact path
    (`tests/schemas/test_plain_event.py`).
    """

    guid: Annotated[str, Meta(max_length=64)]
    producerGuid: str | None  # noqa: N815 - the record's names
    ipAddress: str | None  # noqa: N815
    createdAt: datetime  # noqa: N815
    occurredAt: datetime  # noqa: N815
    type: _PlainName
    userId: _PlainName | None  # noqa: N815
    anonymousId: _PlainName | None  # noqa: N815
    data: dict[str, str]


_NANOSECONDS = re.compile(rb"\.\d{7,}[Zz]")
"""A time that msgspec rounds and pydantic cuts off."""

_decode_plain = msgspec.json.Decoder(_PlainEvent).decode


def decode(value: bytes) -> Event:
    """The event of a record value, checked in full: other writers may use the topic.

    Raises:
        InvalidEvent: not an event of this version; it names field and reason, not content.
    """
    if (b"\\" in value and _NUL in value) or _NANOSECONDS.search(value):
        return decode_exactly(value)
    try:
        plain = _decode_plain(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_exactly(value)
    if (
        plain.createdAt.tzinfo is not UTC
        or plain.occurredAt.tzinfo is not UTC
        or "/" in plain.guid
        or not plain.guid.startswith(guid.EVENT)
    ):
        return decode_exactly(value)
    return {
        "guid": plain.guid,
        "producerGuid": plain.producerGuid,
        "ipAddress": plain.ipAddress,
        "createdAt": plain.createdAt,
        "occurredAt": plain.occurredAt,
        "type": plain.type,
        "userId": plain.userId,
        "anonymousId": plain.anonymousId,
        "data": plain.data,
    }


def decode_exactly(value: bytes) -> Event:
    """The same as `decode`, without its fast path.

    Raises:
        InvalidEvent: as in `decode`.
    """
    try:
        event = _event.validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise InvalidEvent({where: first["msg"]}) from None
    if _may_contain_nul(value):
        _refuse_unstorable(event)
    if event["createdAt"].utcoffset() or event["occurredAt"].utcoffset():
        _to_utc(event)  # rarely: ingest writes UTC
    return event


def _may_contain_nul(value: bytes) -> bool:
    return b"\\" in value and _NUL in value  # one byte is found ten times as fast as six


def _to_utc(event: Event) -> None:
    for field in _TIMES:
        try:
            event[field] = in_utc(event[field])
        except ValueError as error:
            raise InvalidEvent({field: str(error)}) from None


def _refuse_unstorable(event: Event) -> None:
    """Raise for the first string that Postgres cannot store.

    It need not find one: a string may well hold the six characters that write NUL in JSON.
    """
    texts = [(name, value) for name, value in event.items() if isinstance(value, str)]
    for key, value in event["data"].items():
        texts += [("data, in a key", key), (f"data.{key}", value)]
    for field, text in texts:
        if "\x00" in text:
            raise InvalidEvent({field: "contains NUL, which cannot be stored"})
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidEvent({field: "contains a lone surrogate, which is not Unicode text"})


def partition_key(event: Event) -> bytes:
    """Events of one device share a key, so a partition keeps their order."""
    return (event["anonymousId"] or event["userId"] or "").encode()
