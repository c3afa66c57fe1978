"""The format of a dead letter: a record that cannot be processed, and the reason.

A letter's key and value are those of the record. Its headers are `LETTER_HEADERS`, all of them in
that order, then the headers of the record, which may have the same names.

A retry sends the record again, with headers for its origin and attempt (`retry_headers`). If it
fails again, the new letter has the same origin and the next attempt. Origin and attempt identify a
letter: if the resolver crashes before it commits the offset of a record, it writes the same letter
twice.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Self


class Reason(StrEnum):
    """Why a record cannot be processed."""

    TOMBSTONE = "tombstone"
    """It has no value."""
    VERSION = "version"
    """It has no header with the supported version of events."""
    UNREADABLE = "unreadable"
    """Its value is not an event."""
    NOBODY = "nobody"
    """Its ids are missing or mean nobody."""
    REFUSED = "refused"
    """Postgres rejects the event."""
    FAILED = "failed"
    """A bug: processing it raised an exception."""


LETTER_HEADERS = (
    "reason",
    "error",
    "topic",
    "partition",
    "offset",
    "origin",
    "attempt",
    "dropped",  # the value of `omitted_bytes`
)
"""Names of the headers that a letter adds to those of its record."""

_RETRY_OF, _ATTEMPT = "retry-of", "retry-attempt"

# Other systems may write any headers. These limits are those of Kafka and of a column of Postgres.
_ADDRESS = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")
_NUMBER = re.compile(r"[0-9]{1,9}")

Header = tuple[str, bytes | None]
"""Name and value of a Kafka header; the value may be missing."""


class InvalidDeadLetter(ValueError):
    """A record of the dead-letter topic is not a dead letter of this version."""


class RecordAddress(NamedTuple):
    """Where a record is in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that `str` wrote.

        Raises:
            ValueError: it is not topic/partition/offset.
        """
        if (parts := _ADDRESS.fullmatch(text)) is None:
            raise ValueError("the address of a record must be topic/partition/offset")
        topic, partition, offset = parts.groups()
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be processed, and the reason."""

    reason: Reason
    error: str
    """Details of the reason, without content of the record."""
    record: RecordAddress
    """The record that failed."""
    origin: RecordAddress
    """The record that failed first, if this one is a retry; else the same record."""
    attempt: int
    """1 for the first failure."""
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    """The headers of the record, except those of a retry."""
    omitted_bytes: int = 0
    """Size of the record if the letter omits it, as it is too large for the topic; else 0."""

    @classmethod
    def of_record(
        cls,
        reason: Reason,
        error: str,
        address: RecordAddress,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
    ) -> Self:
        """Return the letter of a record that failed."""
        origin, attempt = _read_origin(address, headers)
        others = tuple(header for header in headers if header[0] not in (_RETRY_OF, _ATTEMPT))
        return cls(reason, error, address, origin, attempt, key, value, others)

    def without_record(self) -> Self:
        """Return the letter without its record, which is too large for the dead-letter topic."""
        return replace(self, key=None, value=b"", headers=(), omitted_bytes=self.size)

    @property
    def size(self) -> int:
        """Bytes of the key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    def encode_headers(self) -> tuple[Header, ...]:
        """Return all headers of the letter in the dead-letter topic."""
        letter_values = (
            self.reason,
            self.error,
            self.record.topic,
            str(self.record.partition),
            str(self.record.offset),
            str(self.origin),
            str(self.attempt),
            str(self.omitted_bytes),
        )
        encoded = (text.encode("utf-8", "replace") for text in letter_values)
        return (*zip(LETTER_HEADERS, encoded, strict=True), *self.headers)

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> Self:
        """Return the letter that a record of the dead-letter topic contains.

        Raises:
            InvalidDeadLetter: another system or another version wrote the record.
        """
        count = len(LETTER_HEADERS)
        if tuple(name for name, _ in headers[:count]) != LETTER_HEADERS:
            raise InvalidDeadLetter("it does not have the headers of a dead letter")
        try:
            reason, error, topic, partition, offset, origin, attempt, omitted_bytes = (
                _decode_text(value) for _, value in headers[:count]
            )
            return cls(
                reason=Reason(reason),
                error=error,
                record=RecordAddress.parse(f"{topic}/{partition}/{offset}"),
                origin=RecordAddress.parse(origin),
                attempt=_parse_number(attempt),
                key=key,
                value=value,
                headers=tuple(headers[count:]),
                omitted_bytes=_parse_number(omitted_bytes),
            )
        except ValueError as invalid:
            raise InvalidDeadLetter(f"this version cannot read its headers: {invalid}") from None

    def retry_headers(self) -> tuple[Header, ...]:
        """Return the headers of the record that a retry sends."""
        retry = ((_RETRY_OF, str(self.origin)), (_ATTEMPT, str(self.attempt + 1)))
        return (*self.headers, *((name, text.encode()) for name, text in retry))


def _read_origin(address: RecordAddress, headers: Sequence[Header]) -> tuple[RecordAddress, int]:
    """Return a record's origin and attempt; without valid headers of a retry, itself and 1."""
    values = dict(headers)
    try:
        origin = RecordAddress.parse(_decode_text(values[_RETRY_OF]))
        return origin, _parse_number(_decode_text(values[_ATTEMPT]))
    except (KeyError, ValueError):
        return address, 1


def _decode_text(value: bytes | None) -> str:
    if value is None:
        raise ValueError("a header has no value")
    return value.decode()


def _parse_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a header must be a number of at most 9 digits")
    return int(text)
