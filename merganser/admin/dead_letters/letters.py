"""Dead letters with their resolutions: find, retry and drop them.

A letter is open until an operator retries or drops it. Of several letters of one record only the
latest counts: a resolver that crashes may write a letter twice, and so may two retries.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from psycopg import AsyncConnection

from merganser.admin.dead_letters.edit import EditedRecord
from merganser.admin.dead_letters.letter_ids import read_ids
from merganser.admin.dead_letters.resolutions import Resolution, Resolutions
from merganser.admin.dead_letters.topic import (
    NOTHING_UNREAD,
    DeadTopicRecord,
    LetterAddress,
    LetterSelection,
    UnreadRecords,
    read_topic,
)
from merganser.identity.erased_ids import NamedId, find_erased
from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas.dead_letter import DeadLetter, RecordAddress

CHUNK = 1000
"""Letters that one transaction drops."""


@dataclass(frozen=True, slots=True)
class LetterSummary:
    """A letter in a list, without the content of its record."""

    address: LetterAddress
    written_at: datetime
    letter: DeadLetter
    """Without key, value and headers."""
    size: int
    """Bytes of the record."""
    resolution: Resolution | None
    """None while the letter is open."""
    erased: bool
    """Whether it is of a person who was erased: its record is not shown or sent again."""


@dataclass(frozen=True, slots=True)
class FoundLetters:
    """The letters that a selection matches."""

    letters: list[LetterSummary] = field(default_factory=list)
    foreign: list[DeadTopicRecord] = field(default_factory=list)
    """Records of the topic that are not dead letters."""
    unread: UnreadRecords = NOTHING_UNREAD

    @property
    def open(self) -> list[LetterSummary]:
        """The letters that no operator has resolved."""
        return [letter for letter in self.letters if not letter.resolution]

    @property
    def resolved(self) -> list[LetterSummary]:
        """The letters that an operator has retried or dropped."""
        return [letter for letter in self.letters if letter.resolution]


@dataclass(slots=True)
class RetriedLetters:
    """What a retry did."""

    sent: int = 0
    too_large: list[LetterAddress] = field(default_factory=list)
    """Letters that stay open: their record is too large for the topic of events or for a letter."""
    erased: list[LetterAddress] = field(default_factory=list)
    """Letters that stay open: they are of erased people."""


async def find_letters(
    settings: Settings, resolutions: Resolutions, selection: LetterSelection
) -> FoundLetters:
    """Read the selected letters and their resolutions.

    Raises:
        KafkaError: the brokers cannot be reached, or have no such topic.
    """
    latest: dict[RecordAddress, LetterSummary] = {}
    foreign: list[DeadTopicRecord] = []
    unread: list[UnreadRecords] = []
    async for records in read_topic(settings, selection, unread.append):
        resolved = await resolutions.read([letter for _, letter in _letters(records)])
        erased = await find_erased_letters(resolutions.connection, settings, records)
        for record, letter in _letters(records):
            earlier = latest.get(letter.origin)
            if earlier is None or earlier.letter.attempt < letter.attempt:
                latest[letter.origin] = _summarize(
                    record,
                    letter,
                    resolution_of(letter, resolved.get(letter.origin)),
                    erased=record.address in erased,
                )
        foreign += [record for record in records if not isinstance(record.letter, DeadLetter)]
    letters = sorted(latest.values(), key=lambda letter: letter.address)
    return FoundLetters(letters, foreign, *unread)


async def retry_letters(
    settings: Settings,
    resolutions: Resolutions,
    producer: AIOKafkaProducer,
    letters: Sequence[LetterSummary],
    retried: RetriedLetters,
    edited: EditedRecord | None = None,
) -> None:
    """Send the original records of open letters to the topic of events, then store that.

    A letter is resolved once Kafka has acknowledged its record. After a crash in between, the next
    retry sends the record again. That is harmless: an event is one row by its guid, and a letter is
    one letter by origin and attempt.

    Args:
        settings: how to reach Kafka.
        resolutions: of letters.
        producer: that is started.
        letters: to send again, at least one.
        retried: is updated, also before an error.
        edited: the record to send in place of the only letter's; None: the original records.

    Raises:
        KafkaError: the brokers cannot be reached. What they acknowledged is stored as retried.
    """
    selection = LetterSelection(addresses=frozenset(letter.address for letter in letters))
    async for records in read_topic(settings, selection):
        async with resolutions.connection.transaction():
            await resolutions.lock()
            erased = await find_erased_letters(resolutions.connection, settings, records)
            open_letters = await _keep_open(
                resolutions, {record.address: letter for record, letter in _letters(records)}
            )
            still_open = {
                address: letter for address, letter in open_letters.items() if address not in erased
            }
            errors = await asyncio.gather(
                *(_send(settings, producer, letter, edited) for letter in still_open.values()),
                return_exceptions=True,
            )
            sent = [
                letter
                for letter, error in zip(still_open.values(), errors, strict=True)
                if error is None
            ]
            await resolutions.write(sent, "retried")
        retried.sent += len(sent)
        retried.erased += sorted(erased & open_letters.keys())
        for address, error in zip(still_open, errors, strict=True):
            if isinstance(error, MessageSizeTooLargeError):
                retried.too_large.append(address)
            elif error is not None:
                raise error


async def drop_letters(resolutions: Resolutions, letters: Sequence[LetterSummary]) -> int:
    """Store that open letters are dropped. The letters stay in their topic.

    Returns:
        How many were open until now.
    """
    dropped = 0
    for start in range(0, len(letters), CHUNK):
        chunk = {letter.address: letter.letter for letter in letters[start : start + CHUNK]}
        async with resolutions.connection.transaction():
            await resolutions.lock()
            still_open = await _keep_open(resolutions, chunk)
            await resolutions.write(still_open.values(), "dropped")
            dropped += len(still_open)
    return dropped


async def find_erased_letters(
    connection: AsyncConnection[Any], settings: Settings, records: Collection[DeadTopicRecord]
) -> set[LetterAddress]:
    """Return the letters of people who were erased after the letter was written."""
    named = {
        record.address: read_ids(letter, settings.nobody_ids).of_owner()
        for record, letter in _letters(records)
    }
    written_at = {record.address: record.written_at for record in records}
    ids = {
        address: [
            *(NamedId("userId", id_, written_at[address]) for id_ in found.user_ids),
            *(NamedId("anonymousId", id_, written_at[address]) for id_ in found.anonymous_ids),
        ]
        for address, found in named.items()
    }
    erased = await find_erased(connection, list({id_ for each in ids.values() for id_ in each}))
    return {address for address, each in ids.items() if not erased.isdisjoint(each)}


def resolution_of(letter: DeadLetter, resolution: Resolution | None) -> Resolution | None:
    """Return a record's resolution if it is of this letter's attempt or a later one."""
    return resolution if resolution and resolution.attempt >= letter.attempt else None


async def _send(
    settings: Settings,
    producer: AIOKafkaProducer,
    letter: DeadLetter,
    edited: EditedRecord | None,
) -> None:
    if letter.omitted_bytes:
        raise MessageSizeTooLargeError
    if edited:
        letter = edited.replace_record(letter)
    await kafka.send(producer, settings.topic, letter.key, letter.value, letter.retry_headers())


async def _keep_open(
    resolutions: Resolutions, letters: dict[LetterAddress, DeadLetter]
) -> dict[LetterAddress, DeadLetter]:
    """Return the letters that no other operator has resolved since they were listed."""
    resolved = await resolutions.read(letters.values())
    return {
        address: letter
        for address, letter in letters.items()
        if not resolution_of(letter, resolved.get(letter.origin))
    }


def _summarize(
    record: DeadTopicRecord,
    letter: DeadLetter,
    resolution: Resolution | None,
    *,
    erased: bool,
) -> LetterSummary:
    return LetterSummary(
        record.address,
        record.written_at,
        replace(letter, key=None, value=None, headers=()),
        letter.omitted_bytes or letter.size,
        resolution,
        erased,
    )


def _letters(records: Collection[DeadTopicRecord]) -> Iterator[tuple[DeadTopicRecord, DeadLetter]]:
    for record in records:
        if isinstance(record.letter, DeadLetter):
            yield record, record.letter
