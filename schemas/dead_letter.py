"""A dead letter as its topic carries it: a record as it was, and why it can never succeed.

Key and value are the record's own. Before the record's headers stand those in `OWN`, in that order
and all of them, so that a record whose headers have the same names spoils nothing.

A record that is sent again says which letter it comes from (`retried`). If it fails again, its new
letter has the first one's origin and the next number. Origin and number are what a letter *is*: a
resolver that died between a letter and its position writes the letter twice.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Self


class Reason(StrEnum):
    """Why a record can never succeed."""

    TOMBSTONE = "tombstone"
    """It has no value."""
    VERSION = "version"
    """It does not say that it is of this version of events, or says another."""
    UNREADABLE = "unreadable"
    """The record is not an event."""
    NOBODY = "nobody"
    """None of its ids names somebody."""
    REFUSED = "refused"
    """Postgres refuses the event."""
    FAILED = "failed"
    """Our own code failed on it."""


OWN = ("reason", "error", "topic", "partition", "offset", "origin", "attempt", "dropped")

_RETRY_OF, _ATTEMPT = "retry-of", "retry-attempt"

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")
_NUMBER = re.compile(r"[0-9]{1,9}")
"""What Kafka and a table of ours can hold: others may write to the topics as well, and anything."""

Header = tuple[str, bytes | None]
"""Kafka has headers without a value."""


class Foreign(ValueError):
    """A record of the dead-letter topic that is not a dead letter of this version."""


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The place that `str` wrote.

        Raises:
            ValueError: it did not write this.
        """
        if (parts := _PLACE.fullmatch(text)) is None:
            raise ValueError("no place of a record")
        topic, partition, offset = parts.groups()
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that failed, and why."""

    reason: Reason
    error: str
    """More of the reason; never the content."""
    failed: Place
    """Where the record stood that failed."""
    origin: Place
    """Where it stood when it failed for the first time."""
    attempt: int
    """How often it has failed, 1 for the first time."""
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    """The record's own."""
    dropped: int = 0
    """Bytes of a record too large for the topic of dead letters, left where it failed; else 0."""

    @classmethod
    def of(
        cls,
        reason: Reason,
        error: str,
        place: Place,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
    ) -> Self:
        """The letter of a record that failed at a place."""
        origin, attempt = _history(place, headers)
        kept = tuple(header for header in headers if header[0] not in (_RETRY_OF, _ATTEMPT))
        return cls(reason, error, place, origin, attempt, key, value, kept)

    def without_record(self) -> Self:
        """The same letter for a topic that does not take so large a record: where that is."""
        return replace(self, key=None, value=b"", headers=(), dropped=self.size)

    @property
    def size(self) -> int:
        """Bytes of the record."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    def encoded(self) -> tuple[Header, ...]:
        """The headers of the letter's record."""
        own = (
            self.reason,
            self.error,
            self.failed.topic,
            str(self.failed.partition),
            str(self.failed.offset),
            str(self.origin),
            str(self.attempt),
            str(self.dropped),
        )
        texts = (text.encode("utf-8", "replace") for text in own)
        return (*zip(OWN, texts, strict=True), *self.headers)

    @classmethod
    def decoded(cls, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> Self:
        """The letter of a record in the dead-letter topic.

        Raises:
            Foreign: somebody else wrote it, or another version.
        """
        if tuple(name for name, _ in headers[: len(OWN)]) != OWN:
            raise Foreign("without the headers of a dead letter")
        try:
            reason, error, topic, partition, offset, origin, attempt, dropped = (
                _text(value) for _, value in headers[: len(OWN)]
            )
            return cls(
                reason=Reason(reason),
                error=error,
                failed=Place.read(f"{topic}/{partition}/{offset}"),
                origin=Place.read(origin),
                attempt=_number(attempt),
                key=key,
                value=value,
                headers=tuple(headers[len(OWN) :]),
                dropped=_number(dropped),
            )
        except ValueError as fault:
            raise Foreign(f"with headers that this version cannot read: {fault}") from None

    def retried(self) -> tuple[Header, ...]:
        """The headers of the record that tries again."""
        history = ((_RETRY_OF, str(self.origin)), (_ATTEMPT, str(self.attempt + 1)))
        return (*self.headers, *((name, text.encode()) for name, text in history))


def _history(place: Place, headers: Sequence[Header]) -> tuple[Place, int]:
    """Origin and number of a record's failure: what a retry wrote, else this place and 1."""
    named = dict(headers)
    try:
        return Place.read(_text(named[_RETRY_OF])), _number(_text(named[_ATTEMPT]))
    except (KeyError, ValueError):
        return place, 1


def _text(value: bytes | None) -> str:
    if value is None:
        raise ValueError("a header without a value")
    return value.decode()


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    return int(text)
