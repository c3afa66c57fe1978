"""What an operator does with dead letters and set-aside items: find, show, retry and drop them."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_connection
from merganser.admin.dead_letters.edit import EditedRecord
from merganser.admin.dead_letters.letters import (
    FoundLetters,
    LetterSummary,
    RetriedLetters,
    drop_letters,
    find_erased_letters,
    find_letters,
    resolution_of,
    retry_letters,
)
from merganser.admin.dead_letters.resolutions import Resolution, Resolutions
from merganser.admin.dead_letters.set_aside_items import (
    ItemName,
    ItemSelection,
    SetAsideItem,
    drop_items,
    read_items,
    retry_items,
)
from merganser.admin.dead_letters.topic import (
    NOTHING_UNREAD,
    DeadTopicRecord,
    LetterAddress,
    LetterSelection,
    UnreadRecords,
    read_topic,
)
from merganser.admin.errors import AdminError
from merganser.identity import person_ids
from merganser.identity.person_ids import PersonIds
from merganser.runtime import kafka
from merganser.runtime.set_aside import Kind
from merganser.runtime.settings import Settings
from schemas.dead_letter import DeadLetter, Reason, RecordAddress

NAMED = 5
"""Letters that an action names."""

Identifier = LetterAddress | ItemName
"""What an operator types to name a letter or items."""


class NotFound(AdminError):
    """No dead letter and no set-aside item has this identifier."""


class LetterErased(AdminError):
    """A dead letter is of a person who was erased."""


class NotOpen(AdminError):
    """A named letter or item does not exist, or an operator has resolved it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters and items an operator selects."""

    letters: LetterSelection | None
    """None: no letters, so Kafka is not needed."""
    items: ItemSelection

    @classmethod
    def build(
        cls,
        identifiers: Collection[Identifier] = (),
        kinds: Collection[Kind] = (),
        reasons: Collection[Reason] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        person: PersonIds | None = None,
        before: frozenset[LetterAddress] = frozenset(),
        newest: int | None = None,
    ) -> Self:
        """Select what matches every condition. An empty collection matches everything.

        Args:
            identifiers: letters and items by name.
            kinds: of items; `Kind.RECORD` means dead letters.
            reasons: of dead letters; a reason excludes all other items.
            since: failed then or later.
            until: failed before.
            person: named by the letter, or by the item's event or profile; None: any.
            before: letters of a partition before its address.
            newest: the most records of the topic, and the most items, to read; None: all.
        """
        addresses = frozenset(name for name in identifiers if isinstance(name, LetterAddress))
        names = [name for name in identifiers if isinstance(name, ItemName)]
        selected_kinds = set(kinds or Kind)
        if reasons:
            selected_kinds &= {Kind.RECORD}
        if identifiers and not addresses:
            selected_kinds -= {Kind.RECORD}
        letters = None
        if Kind.RECORD in selected_kinds:
            letters = LetterSelection(
                frozenset(reasons), since, until, addresses, person, before, newest
            )
        item_kinds = selected_kinds - {Kind.RECORD}
        if any(name.kind is Kind.RECORD for name in names):
            item_kinds.add(Kind.RECORD)
        selected_names = names if identifiers else None
        items = ItemSelection(sorted(item_kinds), since, until, selected_names, person, newest)
        return cls(letters, items)


@dataclass(frozen=True, slots=True)
class Listing:
    """The letters and items that a selection matches: all open, or all resolved."""

    letters: list[LetterSummary]
    items: list[SetAsideItem]
    """A record is one of them if the dead-letter topic no longer has its letter."""
    foreign: list[DeadTopicRecord]
    """Records of the dead-letter topic that are not dead letters."""
    unread: UnreadRecords = NOTHING_UNREAD


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What `retry` did."""

    sent: int
    """Records sent to the topic of events."""
    too_large: list[LetterAddress]
    """Letters that stay open, as their record does not fit into the topic of events."""
    erased: list[LetterAddress]
    """Letters that stay open, as they are of erased people."""
    resolved_by_others: int
    """Letters that another operator has resolved meanwhile."""
    items: int
    """Set-aside items that their processes handle again."""
    deleted: list[ItemName]
    """Records that stay open, as the dead-letter topic no longer has their letters."""


def parse_identifier(text: str) -> Identifier:
    """Parse `partition:offset` of a letter, or `kind:subject` of set-aside items.

    Raises:
        ValueError: it is neither.
    """
    if numbers := re.fullmatch(r"(\d{1,9}):(\d{1,18})", text):
        return LetterAddress(int(numbers[1]), int(numbers[2]))
    kind, _, subject = text.partition(":")
    if subject and kind in list(Kind) and "\0" not in subject:
        if kind == Kind.RECORD:
            RecordAddress.parse(subject)
        return ItemName(Kind(kind), subject)
    kinds = ", ".join(f"{kind}:GUID" for kind in Kind if kind is not Kind.RECORD)
    raise ValueError(
        f"{text!r} is neither a dead letter (partition:offset, such as 0:17) nor a set-aside item "
        f"({kinds}, record:TOPIC/PARTITION/OFFSET)"
    )


async def find_person_ids(settings: Settings, name: str) -> PersonIds:
    """Return the ids of the person with a userId or profile guid; any other text is one id."""
    async with open_connection(settings, "dead") as connection:
        return await person_ids.find_person_ids(connection, name)


async def list_selected(
    settings: Settings, selection: Selection, *, resolved: bool = False
) -> Listing:
    """Return the selected letters and items that are open, or those that are resolved.

    Raises:
        KafkaError: letters are selected, and the brokers cannot be reached or have no such topic.
    """
    found, deleted = await _find_letters(settings, selection)
    async with open_connection(settings, "dead") as connection:
        items = await read_items(connection, selection.items, resolved=resolved)
    if resolved:
        return Listing(found.resolved, items, found.foreign, found.unread)
    return Listing(found.open, [*deleted, *items], found.foreign, found.unread)


async def find_open(settings: Settings, selection: Selection) -> Listing:
    """Return the selected letters and items to act on.

    Named letters that are resolved are left out: they were open a moment ago.

    Raises:
        NotOpen: an identifier of the selection matches neither a letter nor an open item.
        KafkaError: see `list_selected`.
    """
    found, deleted = await _find_letters(settings, selection)
    async with open_connection(settings, "dead") as connection:
        items = [*deleted, *await read_items(connection, selection.items)]
    known = {str(letter.address) for letter in found.letters} | {str(item.name) for item in items}
    named = {
        *(selection.letters.addresses if selection.letters else ()),
        *(selection.items.names or ()),
    }
    if missing := sorted({str(identifier) for identifier in named} - known):
        raise NotOpen(
            f"not open: {', '.join(missing)}. `merganser dead list` shows what is open; of several "
            "letters of one record it shows the latest"
        )
    return Listing(found.open, items, [])


async def read_letter(
    settings: Settings, address: LetterAddress
) -> tuple[DeadTopicRecord, Resolution | None]:
    """Return the record at an address of the dead-letter topic, and what was done about it.

    Raises:
        NotFound: the topic does not hold this offset.
        LetterErased: the letter is of a person who was erased.
        KafkaError: the brokers cannot be reached, or have no such topic.
    """
    selection = LetterSelection(addresses=frozenset([address]))
    async with _open_resolutions(settings) as resolutions:
        async for (record,) in read_topic(settings, selection):
            if not isinstance(record.letter, DeadLetter):
                return record, None
            if await find_erased_letters(resolutions.connection, settings, [record]):
                raise LetterErased(
                    f"{address} is of a person who was erased, so its record is not shown. "
                    "Drop it: Kafka deletes it when the retention of the topic ends"
                )
            resolved = await resolutions.read([record.letter])
            return record, resolution_of(record.letter, resolved.get(record.letter.origin))
    raise NotFound(f"no dead letter is at {address}: `merganser dead list` shows all")


async def read_named_items(settings: Settings, name: ItemName) -> list[SetAsideItem]:
    """Return the set-aside items with a name, open ones first.

    Raises:
        NotFound: there are none.
    """
    selection = ItemSelection([name.kind], names=[name])
    async with open_connection(settings, "dead") as connection:
        items = [
            *await read_items(connection, selection),
            *await read_items(connection, selection, resolved=True),
        ]
    if not items:
        raise NotFound(f"nothing is set aside as {name}: `merganser dead list` shows all items")
    return items


async def retry(
    settings: Settings, actor: Actor, listing: Listing, edited: EditedRecord | None = None
) -> RetryResult:
    """Send the records of letters again, and make the processes handle items again.

    Args:
        settings: how to reach Kafka; the database's URL.
        actor: who does it.
        listing: what to retry.
        edited: the record to send in place of the only letter's; None: the original records.

    Raises:
        KafkaError: the brokers cannot be reached. What they acknowledged is stored as retried.
    """
    letters, retried = RetriedLetters(), 0
    items = [item for item in listing.items if item.kind is not Kind.RECORD]
    deleted = [item.name for item in listing.items if item.kind is Kind.RECORD]
    try:
        await _retry_letters(settings, listing.letters, letters, edited)
        async with open_connection(settings, "dead") as connection, connection.transaction():
            retried = await retry_items(connection, items)
    finally:  # Kafka may have taken some records before an error
        action = "dead letter edited and resent" if edited else "dead letters retried"
        await _record(settings, actor, action, listing, letters.sent, retried)
    left_open = len(letters.too_large) + len(letters.erased)
    by_others = len(listing.letters) - letters.sent - left_open
    return RetryResult(letters.sent, letters.too_large, letters.erased, by_others, retried, deleted)


async def drop(settings: Settings, actor: Actor, listing: Listing) -> int:
    """Store that letters and items are dropped; return how many were open until now."""
    letters = items = 0
    try:
        if listing.letters:
            async with _open_resolutions(settings) as resolutions:
                letters = await drop_letters(resolutions, listing.letters)
        async with open_connection(settings, "dead") as connection, connection.transaction():
            items = await drop_items(connection, listing.items)
    finally:  # the letters may be dropped before an error
        await _record(settings, actor, "dead letters dropped", listing, letters, items)
    return letters + items


async def _find_letters(
    settings: Settings, selection: Selection
) -> tuple[FoundLetters, list[SetAsideItem]]:
    """Return the selected letters, and the open records whose letters the topic no longer has.

    Only a selection of all letters finds such records: it reads the whole topic.
    """
    if selection.letters is None:
        return FoundLetters(), []
    newest = selection.letters.newest
    async with _open_resolutions(settings) as resolutions:
        # Before the topic: a record is in the table only after its letter is in the topic.
        recorded = ItemSelection([Kind.RECORD], newest=newest)
        records = await read_items(resolutions.connection, recorded)
        found = await find_letters(settings, resolutions, selection.letters)
        if selection.letters != LetterSelection(newest=newest) or found.unread.count:
            return found, []
        present = {(str(summary.letter.origin), resolutions.cluster) for summary in found.letters}
    return found, [item for item in records if (item.subject, item.place) not in present]


async def _retry_letters(
    settings: Settings,
    letters: Sequence[LetterSummary],
    retried: RetriedLetters,
    edited: EditedRecord | None,
) -> None:
    if not letters:
        return
    async with _open_resolutions(settings) as resolutions:
        producer = kafka.producer(settings, "dead", timeout=10)
        try:
            await producer.start()
            await retry_letters(settings, resolutions, producer, letters, retried, edited)
        finally:
            await asyncio.shield(producer.stop())


async def _record(
    settings: Settings, actor: Actor, action: str, listing: Listing, letters: int, items: int
) -> None:
    """Write to the log of actions what was done to how many letters and items, if to any."""
    if not letters + items:
        return
    # Items have guids of people, addresses of letters say nothing.
    subject = ", ".join(str(letter.address) for letter in listing.letters[:NAMED])
    if (more := len(listing.letters) - NAMED) > 0:
        subject += f" and {more:,} more"
    counts = {"letters": letters, "items": items}
    async with open_connection(settings, "dead") as connection:
        await record_action(connection, actor, action, subject=subject or None, counts=counts)


@asynccontextmanager
async def _open_resolutions(settings: Settings) -> AsyncIterator[Resolutions]:
    cluster = await kafka.cluster_id(settings)
    async with open_connection(settings, "dead") as connection:
        yield Resolutions(connection, cluster)
