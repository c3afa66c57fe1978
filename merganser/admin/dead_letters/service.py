"""What an operator does: see what is open, send it again, or put it aside.

A letter is open until it was retried or dropped. Several letters of one record count as one, the
latest: a resolver that dies may write a letter twice, and so may two retries.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from merganser.admin.dead_letters import topic
from merganser.admin.dead_letters.resolutions import Handled, Ledger
from merganser.admin.dead_letters.topic import Address, Found, Selection
from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas.dead_letter import Letter, Place

CHUNK = 1000
"""Letters that one transaction drops."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A letter in a list, which does not carry the record itself."""

    address: Address
    at: datetime
    letter: Letter
    """Without key, value and headers."""
    size: int
    """Bytes of the record."""
    handled: Handled | None
    """What was done about it; None while it is open."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a selection finds."""

    entries: list[Entry]
    foreign: list[Found]
    """What is in the topic and is no dead letter."""

    @property
    def open(self) -> list[Entry]:
        """Those that nobody has dealt with."""
        return [entry for entry in self.entries if not entry.handled]


@dataclass(slots=True)
class Retried:
    """What a retry did."""

    sent: int = 0
    left: list[Address] = field(default_factory=list)
    """Still open: the topic of events does not take a record so large, or the letter is without."""


async def survey(settings: Settings, ledger: Ledger, selection: Selection) -> Survey:
    """Read the selected letters and what was done about them.

    Raises:
        KafkaError: Kafka is away, or has no such topic.
    """
    latest: dict[Place, Entry] = {}
    foreign: list[Found] = []
    async for some in topic.read(settings, selection):
        handled = await ledger.read([letter for _, letter in _letters(some)])
        for found, letter in _letters(some):
            before = latest.get(letter.origin)
            if before is None or before.letter.attempt < letter.attempt:
                latest[letter.origin] = _entry(found, letter, handled)
        foreign += [found for found in some if not isinstance(found.letter, Letter)]
    return Survey(sorted(latest.values(), key=lambda entry: entry.address), foreign)


async def retry(
    settings: Settings, ledger: Ledger, producer: AIOKafkaProducer, entries: Sequence[Entry]
) -> Retried:
    """Send records to the topic of events as they first came, and note that.

    A record is noted once Kafka has acknowledged it. What a crash leaves without a note is sent
    again by the next retry: the event is one row by its guid, the letter one by origin and attempt.

    Raises:
        KafkaError: Kafka is away; what it acknowledged before is noted.
    """
    retried = Retried()
    selection = Selection(addresses=frozenset(entry.address for entry in entries))
    if not selection.addresses:
        return retried
    async for some in topic.read(settings, selection):
        async with ledger.connection.transaction():
            await ledger.lock()
            found = await _still_open(ledger, dict(_addressed(some)))
            outcomes = await asyncio.gather(
                *(_send(settings, producer, letter) for letter in found.values()),
                return_exceptions=True,
            )
            sent = [
                letter
                for letter, outcome in zip(found.values(), outcomes, strict=True)
                if outcome is None
            ]
            await ledger.write(sent, "retried")
        retried.sent += len(sent)
        for address, outcome in zip(found, outcomes, strict=True):
            if isinstance(outcome, MessageSizeTooLargeError):
                retried.left.append(address)
            elif outcome is not None:
                raise outcome
    return retried


async def drop(ledger: Ledger, entries: Sequence[Entry]) -> int:
    """Note that nothing is to be done about letters; they stay in their topic. How many."""
    dropped = 0
    for start in range(0, len(entries), CHUNK):
        chosen = {entry.address: entry.letter for entry in entries[start : start + CHUNK]}
        async with ledger.connection.transaction():
            await ledger.lock()
            found = await _still_open(ledger, chosen)
            await ledger.write(found.values(), "dropped")
            dropped += len(found)
    return dropped


async def _send(settings: Settings, producer: AIOKafkaProducer, letter: Letter) -> None:
    if letter.dropped:
        raise MessageSizeTooLargeError
    await kafka.send(producer, settings.topic, letter.key, letter.value, letter.retried())


async def _still_open(ledger: Ledger, letters: dict[Address, Letter]) -> dict[Address, Letter]:
    """Without those that another operator has dealt with since they were listed."""
    handled = await ledger.read(letters.values())
    return {
        address: letter
        for address, letter in letters.items()
        if not done(letter, handled.get(letter.origin))
    }


def _entry(found: Found, letter: Letter, handled: dict[Place, Handled]) -> Entry:
    act = done(letter, handled.get(letter.origin))
    light = replace(letter, key=None, value=None, headers=())
    return Entry(found.address, found.at, light, letter.dropped or letter.size, act)


def done(letter: Letter, handled: Handled | None) -> Handled | None:
    """What was done about a letter, if anything was: an earlier attempt does not count."""
    return handled if handled and handled.attempt >= letter.attempt else None


def _letters(found: Collection[Found]) -> Iterator[tuple[Found, Letter]]:
    for one in found:
        if isinstance(one.letter, Letter):
            yield one, one.letter


def _addressed(found: Collection[Found]) -> Iterator[tuple[Address, Letter]]:
    for one, letter in _letters(found):
        yield one.address, letter
