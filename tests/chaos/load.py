"""Clients that send as real SDKs do: each event with a messageId, again and again until it is 200.

    async with Load([gateway.url], gateway.key) as load:
        await load.wait_for(more=500)
        ...break something, and fix it...
        await load.wait_for(more=500)
    await verify(system, load.ledger)

At the end of the block each client waits until its last events are acknowledged.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg

from tests.chaos.history import ClientEvent
from tests.chaos.ledger import Ledger
from tests.support.waiting import eventually

BATCHED = 0.6
"""Share of the requests that have several events."""


@dataclass
class Load:
    """A few clients in this process; each sends one request at a time."""

    urls: Sequence[str]
    """Of gateways; each request goes to one of them at random."""
    key: str
    """A secret key."""
    ledger: Ledger = field(default_factory=Ledger)
    clients: int = 4
    rate: float = 300
    """Events a second of each client, at most."""
    largest_batch: int = 20
    timeout: float = 30
    """Seconds that a client waits for an answer."""
    longest_pause: float = 0.5
    """Seconds before another try, at most, even if Retry-After is longer."""
    hang_up: float = 0.0
    """Share of the requests that a client cuts short; it sends the events again."""
    twice: float = 0.0
    """Share of the requests that a client sends twice at once."""
    without_message_id: float = 0.0
    """Share of the single events that have no messageId, and so are sent once."""
    rows_url: str | None = None
    """The database of one more client, another system that inserts rows."""
    rows_rate: float = 40
    publishable_key: str | None = None
    """If there is one, the key of about half of the events."""
    random: Random = field(default_factory=lambda: Random(1))
    """Decides how the clients behave. The events and their messageIds depend on the ledger only:
    two loads with one ledger send the same events."""
    finish_within: float = 180
    """Seconds at the end of the block until all events are acknowledged."""

    async def __aenter__(self) -> Self:
        """Start to send."""
        self._stopping = False
        self._next_number = 0
        self._http = httpx.AsyncClient(
            verify=False,  # noqa: S501 - no TLS, and loading certificates takes a while
            timeout=self.timeout,
            trust_env=False,
        )
        work: list[Coroutine[Any, Any, None]] = [
            self._send(Random(self.random.random())) for _ in range(self.clients)
        ]
        if self.rows_url:
            work.append(self._insert(self.rows_url, Random(self.random.random())))
        self._tasks = [asyncio.create_task(coroutine) for coroutine in work]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let each client finish its events; after an error, only stop."""
        self._stopping = True
        _, unfinished = await asyncio.wait(self._tasks, timeout=0 if error else self.finish_within)
        for task in unfinished:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
        if not error:
            failures = [e for e in results if isinstance(e, Exception)]
            if failures:
                raise failures[0]
            assert not unfinished, f"{len(unfinished)} clients never got their last answers"

    async def wait_for(self, more: int, within: float = 60) -> None:
        """Wait until this many more events are acknowledged than now.

        Raises AssertionError if that takes more than `within` seconds.
        """
        enough = len(self.ledger) + more
        await eventually(
            self._acknowledged,
            lambda count: count >= enough,
            within=within,
            what=f"{enough} acknowledged events",
        )

    async def deliver(self, count: int) -> list[str]:
        """Send new events until all are acknowledged.

        Returns:
            The guids of those that are stored: the others are of forgotten people.
        """
        numbers = self._allocate(count)
        await self._deliver(numbers, Random(self.random.random()))
        suppressed, ledger = self.ledger.corrections.suppressed, self.ledger
        return [ledger.guids[n] for n in numbers if suppressed.admit(ledger.event_of(n))]

    def _acknowledged(self) -> int:
        for task in self._tasks:
            if task.done() and (error := task.exception()):
                raise error
        return len(self.ledger)

    def _allocate(self, count: int) -> range:
        """Return numbers for new events."""
        numbers = range(self._next_number, self._next_number + count)
        self._next_number = numbers.stop
        return numbers

    async def _send(self, random: Random) -> None:
        """Send new events in one request after the other until the load stops."""
        while not self._stopping:
            batched = random.random() < BATCHED
            numbers = self._allocate(random.randint(2, self.largest_batch) if batched else 1)
            pause = asyncio.create_task(asyncio.sleep(len(numbers) / self.rate))
            if not batched and random.random() < self.without_message_id:
                await self._send_once(numbers[0], random)
            else:
                await self._deliver(numbers, random)
            await pause

    async def _send_once(self, number: int, random: Random) -> None:
        self.ledger.unanswered.add(number)
        body = self.ledger.event_of(number).body(None)
        if guids := await self._post([body], random, self._key_of(number)):
            self.ledger.unanswered.discard(number)
            self.ledger.acknowledge(number, guids[0])

    async def _deliver(self, numbers: Sequence[int], random: Random) -> None:
        bodies = [self.ledger.event_of(number).body(f"message-{number}") for number in numbers]
        key = self._key_of(numbers[0])
        if random.random() < self.twice:
            self.ledger.sent_again += len(numbers)
            both = self._post(bodies, random, key), self._post(bodies, random, key)
            for guids in await asyncio.gather(*both):
                self._acknowledge(numbers, guids)
        while not (guids := await self._post(bodies, random, key)):
            self.ledger.sent_again += len(numbers)
        self._acknowledge(numbers, guids)

    def _acknowledge(self, numbers: Sequence[int], guids: Sequence[str]) -> None:
        for number, guid in zip(numbers, guids, strict=bool(guids)):
            self.ledger.acknowledge(number, guid)

    def _key_of(self, number: int) -> str:
        """Return the key of a request by its first event, so that a retry has the same key."""
        return self.publishable_key if self.publishable_key and number % 2 else self.key

    async def _post(self, events: list[dict[str, Any]], random: Random, key: str) -> list[str]:
        """Return the guids of the events, or none, after a pause, if the answer is not 200."""
        single = len(events) == 1
        content = json.dumps(events[0] if single else {"events": events}).encode()
        url = f"{random.choice(self.urls)}/api/v1/{'track' if single else 'batch'}"
        outcomes, pause, start = self.ledger.outcomes, random.uniform(0, 0.5), time.monotonic()
        try:
            if random.random() < self.hang_up:
                await self._hang_up(random, httpx.URL(url), content, key)
                outcomes["hung up"] += 1
                return []
            headers = {"authorization": f"Bearer {key}"}
            answer = await self._http.post(url, content=content, headers=headers)
        except httpx.TransportError as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes[str(answer.status_code)] += 1
            if answer.status_code == httpx.codes.OK:
                return self._guids(answer.json(), single=single)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self.ledger.unexpected.append(f"{answer.status_code}: {answer.text[:300]}")
            self.ledger.slowest_refusal = max(self.ledger.slowest_refusal, time.monotonic() - start)
            pause = max(pause, float(answer.headers.get("retry-after", 0)))
        await asyncio.sleep(min(pause, self.longest_pause))
        return []

    def _guids(self, answer: dict[str, Any], *, single: bool) -> list[str]:
        results = [answer] if single else answer["events"]
        for result in results:
            if not result["success"]:
                self.ledger.unexpected.append(f"refused in a batch: {result}")
        return [result["event"]["guid"] if result["success"] else "refused" for result in results]

    async def _hang_up(self, random: Random, url: httpx.URL, body: bytes, key: str) -> None:
        """Disconnect before the answer: in the middle of the request, or after all of it."""
        head = (
            f"POST {url.path} HTTP/1.1\r\nhost: {url.host}\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        with suppress(OSError):
            async with asyncio.timeout(self.timeout):
                _, writer = await asyncio.open_connection(url.host, url.port)
                cut = random.choice([len(request), random.randrange(len(request))])
                writer.write(request[:cut])
                await writer.drain()
                writer.close()

    async def _insert(self, url: str, random: Random) -> None:
        """Insert rows as another system does: each until its commit is known."""
        while not self._stopping:
            numbers = self._allocate(random.randint(1, self.largest_batch))
            pause = asyncio.create_task(asyncio.sleep(len(numbers) / self.rows_rate))
            events = {guid_of_row(number): self.ledger.event_of(number) for number in numbers}
            while not await insert_rows(url, events):
                self.ledger.sent_again += len(numbers)
                await asyncio.sleep(random.uniform(0, self.longest_pause))
            self._acknowledge(numbers, list(events))
            self.ledger.rows += len(numbers)
            await pause


def guid_of_row(number: int) -> str:
    """Return the guid that the other system gives its event."""
    return f"evt_{uuid.UUID(int=Random(f'row {number}').getrandbits(128), version=4)}"


async def insert_rows(url: str, events: Mapping[str, ClientEvent]) -> bool:
    """Insert events, by guid, that may be stored already; return whether they surely are now."""
    try:
        async with (
            asyncio.timeout(10),
            await psycopg.AsyncConnection.connect(url, connect_timeout=5) as connection,
            connection.cursor() as cursor,
        ):
            for guid, event in events.items():
                await cursor.execute(
                    'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt") '
                    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (guid, event.type, event.user_id, event.anonymous_id, event.occurred_at),
                )
                await cursor.executemany(
                    'INSERT INTO "eventData" (guid, "eventGuid", key, value) '
                    "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [
                        (f"edt_{guid.removeprefix('evt_')}-{key}", guid, key, value)
                        for key, value in event.stored_data().items()
                    ],
                )
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, TimeoutError):
        return False
    except AssertionError:  # psycopg's own, if the timeout interrupts the pipeline of executemany
        return False
    return True
