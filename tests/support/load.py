"""Clients that send as real SDKs do: each event with a messageId, again and again until it is 200.

    async with Load([gateway.url], gateway.key) as load:
        await load.grown(by=500)
        ...break something, and fix it...
        await load.grown(by=500)
    await load.ledger.verified(system.database.url)

At the end of the block each client finishes what it has in hand, however long the gateway is away.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg

from schemas.ids import NOBODY, somebody
from tests.identity.histories import hostile
from tests.support.ledger import Ledger, Sent
from tests.support.waiting import eventually

PEOPLE = 60
AGAIN = {408, 429, 500, 502, 503, 504}
"""Answers after which an SDK sends the same once more."""

LONGEST_PAUSE = 0.5
"""Seconds between two tries, whatever Retry-After asks for: tests are in a hurry."""

TEXTS = ["plain", "tab\tnew\nline", 'quote " back\\slash', "ünïcödé 🦆", ""]


@dataclass
class Load:
    """A few clients in this process; each sends one request at a time."""

    urls: Sequence[str]
    """Of gateways; a client that is not answered tries the next."""
    key: str
    clients: int = 4
    largest_batch: int = 20
    pause: float = 0.05
    """Seconds between two requests of a client, at most."""
    hang_up: float = 0.0
    """Chance that a client cuts a request short and sends it again."""
    rows_url: str | None = None
    """A database for one more client, a back end that writes rows of its own."""
    seed: int = 1
    """Loads of one seed send the same events, with the same messageIds."""
    ledger: Ledger = field(default_factory=Ledger)
    failed: list[str] = field(default_factory=list)
    """Tries that were not answered 200: the status or the error's name."""
    longest_refusal: float = 0.0
    """Seconds until the latest of the answers that were not 200."""

    async def __aenter__(self) -> Self:
        """Begin to send."""
        self._ending = False
        work = [self._client(n) for n in range(self.clients)]
        if self.rows_url:
            work.append(self._back_end(self.rows_url))
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Let each client finish what it has in hand; after a failure, just end."""
        self._ending = True
        if error:
            for task in self._tasks:
                task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=bool(error))
        assert error or not any(results)

    async def grown(self, by: int, within: float = 60) -> None:
        """Wait until so many more events were acknowledged than now."""
        enough = len(self.ledger) + by
        await eventually(self._count, lambda n: n >= enough, within=within, what=f"{enough} sent")

    def _count(self) -> int:
        for task in self._tasks:
            if task.done() and (error := task.exception()):
                raise error
        return len(self.ledger)

    async def _client(self, number: int) -> None:
        own, random = _events(self.seed, str(number)), Random(number)
        async with httpx.AsyncClient(
            verify=False,  # noqa: S501 - no TLS, and loading certificates takes a while
            timeout=30,
            headers={"authorization": f"Bearer {self.key}"},
        ) as http:
            while not self._ending:
                size = random.randint(1, self.largest_batch)
                await self._deliver(http, random, number, list(itertools.islice(own, size)))
                await asyncio.sleep(random.uniform(0, self.pause))

    async def _deliver(
        self, http: httpx.AsyncClient, random: Random, number: int, events: list[Sent]
    ) -> None:
        said = [_said(event) for event in events]
        path, what = ("track", said[0]) if len(said) == 1 else ("batch", {"events": said})
        body = json.dumps(what).encode()
        for attempt in itertools.count(number):
            url = f"{self.urls[attempt % len(self.urls)]}/api/v1/{path}"
            if random.random() < self.hang_up:
                await _hung_up(random, httpx.URL(url), self.key, body)
                continue
            start = time.monotonic()
            try:
                answer = await http.post(url, content=body)
            except httpx.TransportError as error:
                self.failed.append(type(error).__name__)
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))
                continue
            if answer.status_code == httpx.codes.OK:
                results = [answer.json()] if len(said) == 1 else answer.json()["events"]
                for event, result in zip(events, results, strict=True):
                    self.ledger.acknowledge(result["event"]["guid"], event)
                return
            assert answer.status_code in AGAIN, answer.text
            self.failed.append(str(answer.status_code))
            self.longest_refusal = max(self.longest_refusal, time.monotonic() - start)
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))

    async def _back_end(self, url: str) -> None:
        """INSERT a row a transaction; after a commit without answer the next try finds the row."""
        own, random = _events(self.seed, "rows"), Random(self.seed)
        while not self._ending:
            event, guid = next(own), f"evt_{random.randbytes(16).hex()}"
            for _ in itertools.count():
                if await _inserted(url, guid, event):
                    break
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))
            self.ledger.acknowledge(guid, event)
            await asyncio.sleep(random.uniform(0, 4 * self.pause))


def _events(seed: int, client: str) -> Iterator[Sent]:
    """Endless events of the people that all clients share, hostile to identity; repeatable."""
    random, numbers = Random(f"{seed} {client}"), itertools.count()
    while True:
        for told in hostile(random, 100, PEOPLE):
            ids = somebody(told.user_id, NOBODY), somebody(told.anonymous_id, NOBODY)
            if any(ids):
                data = {"number": f"{client}-{next(numbers)}", "text": random.choice(TEXTS)}
                yield Sent(told.occurred_at, *ids, data)


def _said(event: Sent) -> dict[str, Any]:
    return {
        "type": "load",
        "messageId": event.data["number"],
        "occurredAt": event.occurred_at.isoformat(),
        "userId": event.user_id,
        "anonymousId": event.anonymous_id,
        "data": event.data,
    }


async def _hung_up(random: Random, url: httpx.URL, key: str, body: bytes) -> None:
    """Leave without an answer: in the middle of the request, or when all of it is sent."""
    head = (
        f"POST {url.path} HTTP/1.1\r\nhost: {url.host}\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    with suppress(OSError):
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(request[: random.choice([len(request), random.randrange(len(request))])])
        await writer.drain()
        writer.close()


async def _inserted(url: str, guid: str, event: Sent) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=2) as connection:
            cursor = await connection.execute(
                'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt") '
                "VALUES (%s, 'load', %s, %s, %s) ON CONFLICT DO NOTHING",
                [guid, event.user_id, event.anonymous_id, event.occurred_at],
            )
            if cursor.rowcount:
                await connection.cursor().executemany(
                    'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
                    [(guid, key, value) for key, value in event.data.items()],
                )
    except psycopg.Error:
        return False
    return True
