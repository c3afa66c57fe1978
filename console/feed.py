"""Follows the topics of accepted and refused events while somebody watches, for the live page.

All viewers of the process share the readers. A viewer gets a sample: what exceeds it is counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from console.entries import Entry, Filter, read_accepted, read_refused
from merganser.http.errors import HttpError
from merganser.identity.erased_ids import NamedId, find_erased
from merganser.queries import events
from merganser.queries.pool import Pool
from merganser.runtime import kafka
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import describe
from merganser.runtime.settings import Settings
from schemas.ids import somebody

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.25
"""Between two reads of a topic."""

POLL_RECORDS = 2000
"""Most records of one read: 8,000 a second."""

MAX_BEHIND = 1000
"""Records of one partition. A reader that is further behind goes on near the end."""

BACKLOG = 50
"""Records of each partition that are read when somebody starts to watch."""

KEPT, KEPT_REFUSED = 200, 50
"""Newest events that are kept for who starts to watch."""

SAMPLE, REFUSED_SAMPLE = 15, 5
"""Most events that one viewer gets at a time. Many accepted events do not hide the refused ones."""

MAX_UNRESOLVED = 200
"""Newest events of one viewer whose profiles are looked up: as many as a page shows."""

MAX_LOOKED_UP = 1000
"""Events of all viewers whose profiles are looked up at once."""

LOOKUP_SECONDS = 1.0
LINGER_SECONDS = 5.0
"""How long the readers stay after the last viewer has left: a page opens its stream just after it
has loaded, and streams are renewed."""

CONNECT_SECONDS = 5.0
RETRY_SECONDS = 2.0


class Shown(NamedTuple):
    """An event as a page shows it."""

    entry: Entry
    profile: str | None
    """None if it is not resolved yet, or was refused."""


class News(NamedTuple):
    """What a viewer has not got yet."""

    shown: list[Shown]
    """The oldest first."""
    resolved: list[Shown]
    """Events that the viewer has, and whose profiles are known now."""
    left_out: int
    """Further events that match the filter."""
    unread: int
    """Further events that nobody looked at, as there were too many."""


class Watcher:
    """What one viewer gets."""

    def __init__(self, wanted: Filter) -> None:
        self.filter = wanted
        self._accepted: deque[Entry] = deque(maxlen=SAMPLE)
        self._refused: deque[Entry] = deque(maxlen=REFUSED_SAMPLE)
        self._unresolved: dict[str, Entry] = {}
        self._resolved: list[Shown] = []
        self._left_out = 0
        self._unread = 0

    def offer(self, entries: Iterable[Entry]) -> None:
        """Add events that just arrived. If too many wait, the oldest of them are left out."""
        for entry in filter(self.filter.matches, entries):
            waiting = self._accepted if entry.refusal is None else self._refused
            self._left_out += len(waiting) == waiting.maxlen
            waiting.append(entry)

    def add_unread(self, count: int) -> None:
        """Count events that nobody looked at."""
        self._unread += count

    def unresolved(self) -> Iterable[str]:
        """Return the guids of events whose profiles the viewer does not know, the newest first."""
        return reversed(self._unresolved)

    def resolve(self, profiles: dict[str, str]) -> None:
        """Take profiles by the guids of their events."""
        for guid in profiles.keys() & self._unresolved.keys():
            self._resolved.append(Shown(self._unresolved.pop(guid), profiles[guid]))

    def take(self) -> News:
        """Return what is new since the last call."""
        entries = sorted((*self._accepted, *self._refused), key=_time)
        resolved, self._resolved = self._resolved, []
        news = News(self.show(entries, {}), resolved, self._left_out, self._unread)
        self._accepted.clear()
        self._refused.clear()
        self._left_out = self._unread = 0
        return news

    def show(self, entries: list[Entry], profiles: dict[str, str]) -> list[Shown]:
        """Return events with their profiles, and note those that have none yet."""
        shown = [Shown(entry, profiles.get(entry.guid or "")) for entry in entries]
        for entry, profile in shown:
            if entry.guid is not None and profile is None:
                self._unresolved.pop(entry.guid, None)
                self._unresolved[entry.guid] = entry
        for guid in list(islice(self._unresolved, max(0, len(self._unresolved) - MAX_UNRESOLVED))):
            del self._unresolved[guid]
        return shown


class Feed:
    """The readers, and the viewers that they are for.

    Args:
        pool: of connections to Postgres.
        settings: how to reach Kafka; the topics.
        stop: ends what viewers get.
    """

    def __init__(self, pool: Pool, settings: Settings, stop: Stop) -> None:
        self.stop = stop
        self._pool = pool
        self._settings = settings
        self._watchers: set[Watcher] = set()
        self._wanted = asyncio.Event()
        self._topics: dict[str, Callable[[Any], Entry | None]] = {
            settings.topic: read_accepted,
            settings.refused_topic: read_refused,
        }
        self._recent: dict[str, deque[Entry]] = {
            settings.topic: deque(maxlen=KEPT),
            settings.refused_topic: deque(maxlen=KEPT_REFUSED),
        }
        self._up_to_date = {topic: asyncio.Event() for topic in self._topics}
        """Set once the recent events of a topic are known, or cannot be read."""
        self.problems: dict[str, str] = {}
        """Why a topic cannot be read, by its name."""
        self.is_reading = False

    async def run(self) -> None:
        """Read while there are viewers, until cancelled."""
        while True:
            await self._wanted.wait()
            await self._read_while_wanted()

    @asynccontextmanager
    async def watching(self, wanted: Filter) -> AsyncIterator[Watcher]:
        """Give a viewer the events that arrive in the `async with` block."""
        watcher = Watcher(wanted)
        self._watchers.add(watcher)
        self._wanted.set()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._wanted.clear()

    async def start(self, watcher: Watcher, most: int, seconds: float) -> list[Shown]:
        """Return the newest events that match, the oldest first, with their profiles.

        Args:
            watcher: gets what arrives later.
            most: events to return.
            seconds: how long to wait for the topics.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for up_to_date in self._up_to_date.values():
                    await up_to_date.wait()
        recent = sorted((e for entries in self._recent.values() for e in entries), key=_time)
        matching = [entry for entry in recent if watcher.filter.matches(entry)][-most:]
        watcher.take()  # they are among the recent ones
        matching = await self._without_erased(matching)
        profiles = await self._read_profiles([e.guid for e in matching if e.guid is not None])
        return watcher.show(matching, profiles)

    async def _read_while_wanted(self) -> None:
        self.is_reading = True
        tasks = [
            asyncio.create_task(self._follow(topic, read)) for topic, read in self._topics.items()
        ]
        try:
            while await self._is_wanted():
                await self._resolve()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for entries in self._recent.values():
                entries.clear()
            for up_to_date in self._up_to_date.values():
                up_to_date.clear()
            self.problems.clear()
            self.is_reading = False

    async def _is_wanted(self) -> bool:
        """Wait until profiles are to be looked up again; False if nobody has come back for long."""
        await asyncio.sleep(LOOKUP_SECONDS)
        try:
            await asyncio.wait_for(self._wanted.wait(), LINGER_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _follow(self, topic: str, read: Callable[[Any], Entry | None]) -> None:
        """Read a topic until cancelled, whatever happens to Kafka."""
        while True:
            self.problems[topic] = (
                f"Kafka does not answer about the topic {topic}. If it is missing, run "
                "`merganser topics`."
            )
            try:
                async with (
                    asyncio.timeout(CONNECT_SECONDS) as limit,
                    kafka.reader(self._settings, "console-live", topic) as reader,
                ):
                    ends = await _seek_near_end(reader)
                    limit.reschedule(None)
                    self.problems.pop(topic)
                    await self._read_end(topic, reader, read, ends)
            except (KafkaError, TimeoutError) as error:
                log.warning("Kafka does not answer, trying again", error=type(error).__name__)
            except Exception:
                self.problems[topic] = f"The topic {topic} cannot be read: see the console's log."
                log.exception("a topic cannot be read, trying again", topic=topic)
            self._up_to_date[topic].set()
            await asyncio.sleep(RETRY_SECONDS)

    async def _read_end(
        self,
        topic: str,
        reader: AIOKafkaConsumer,
        read: Callable[[Any], Entry | None],
        ends: dict[TopicPartition, int],
    ) -> None:
        up_to_date, recent = self._up_to_date[topic], self._recent[topic]
        recent.clear()
        while True:
            if not up_to_date.is_set() and await _has_reached(reader, ends):
                up_to_date.set()
            fetched = await reader.getmany(timeout_ms=1000, max_records=POLL_RECORDS)
            found = [entry for records in fetched.values() for entry in map(read, records) if entry]
            recent.extend(found := sorted(found, key=_time))
            if up_to_date.is_set():
                for watcher in self._watchers:
                    watcher.offer(found)
                await self._skip(reader)
                await asyncio.sleep(POLL_SECONDS)
            elif not fetched:
                up_to_date.set()

    async def _skip(self, reader: AIOKafkaConsumer) -> None:
        """Go on near the end of each partition of which too many records wait."""
        for partition in reader.assignment():
            behind = (reader.highwater(partition) or 0) - await reader.position(partition)
            if behind > MAX_BEHIND:
                reader.seek(partition, reader.highwater(partition) - BACKLOG)
                for watcher in self._watchers:
                    watcher.add_unread(behind - BACKLOG)

    async def _resolve(self) -> None:
        """Look up the profiles of the newest events that viewers have."""
        guids = dict.fromkeys(guid for w in self._watchers for guid in w.unresolved())
        profiles = await self._read_profiles(list(islice(guids, MAX_LOOKED_UP)))
        for watcher in self._watchers:
            watcher.resolve(profiles)

    async def _without_erased(self, entries: list[Entry]) -> list[Entry]:
        """Return the events that are not of people who were erased later; none if unknown."""
        named = {entry.row: self._owner(entry) for entry in entries}
        try:
            async with self._pool.reading() as connection:
                erased = await find_erased(connection, list(filter(None, named.values())))
        except (HttpError, psycopg.Error) as error:
            log.warning("it is not known who is erased", error=describe(error))
            return []
        return [entry for entry in entries if named[entry.row] not in erased]

    def _owner(self, entry: Entry) -> NamedId | None:
        if user := somebody(entry.user_id, self._settings.nobody_ids):
            return NamedId("userId", user, entry.at)
        device = somebody(entry.anonymous_id, self._settings.nobody_ids)
        return NamedId("anonymousId", device, entry.at) if device else None

    async def _read_profiles(self, guids: list[str]) -> dict[str, str]:
        if not guids:
            return {}
        try:
            async with self._pool.reading() as connection:
                return await events.read_profile_guids(connection, guids)
        except (HttpError, psycopg.Error) as error:
            log.warning("the profiles of events are not known", error=describe(error))
            return {}


async def _seek_near_end(reader: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Move a reader near the end of each partition, and return where they end."""
    partitions = reader.assignment()
    reader.pause(*partitions)  # it would read from the start while it waits for the answers
    starts = await reader.beginning_offsets(partitions)
    ends: dict[TopicPartition, int] = await reader.end_offsets(partitions)
    for partition, end in ends.items():
        reader.seek(partition, max(starts[partition], end - BACKLOG))
    reader.resume(*partitions)
    return ends


async def _has_reached(reader: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    return all([await reader.position(partition) >= end for partition, end in ends.items()])


def _time(entry: Entry) -> datetime:
    return entry.at
