"""Clients under load: they behave as SDKs do, and some badly."""

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import httpx

from tests.chaos.history import happening
from tests.chaos.ledger import Ledger

ANSWER_SECONDS = 5.0
"""A client's patience."""

LONGEST_PAUSE = 2.0
"""Before another try, whatever Retry-After says: a run is short."""

BATCHED = 0.6
ONCE = 0.2
"""Share of the single events that have no messageId, and so are sent once."""
TWICE = 0.05
"""Share of what is sent again although it was acknowledged, or at once over both gateways."""
HANG_UP = 0.04


class Client:
    """One client. It sends new events until told to stop, and each until it is acknowledged."""

    def __init__(self, urls: Sequence[str], key: str, ledger: Ledger, random: Random) -> None:
        self._urls = urls
        self._ledger = ledger
        self._random = random
        self._http = httpx.AsyncClient(
            verify=False,  # noqa: S501 - no TLS here, and loading certificates takes long
            timeout=ANSWER_SECONDS,
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
        )

    async def deliver(self, count: int) -> list[str]:
        """Send so many new events, each until it is acknowledged; their guids."""
        numbers = self._ledger.take(count)
        await self._deliver(numbers)
        return [self._ledger.guids[number] for number in numbers]

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Send about `rate` events a second."""
        async with self._http:
            while not stop.is_set():
                batched = self._random.random() < BATCHED
                numbers = self._ledger.take(self._random.randrange(2, 60) if batched else 1)
                pause = asyncio.create_task(asyncio.sleep(len(numbers) / rate))
                if not batched and self._random.random() < ONCE:
                    await self._send_once(numbers[0])
                else:
                    await self._deliver(numbers)
                await pause

    async def _send_once(self, number: int) -> None:
        self._ledger.perhaps.add(number)
        if guids := await self._post([happening(self._ledger.seed, number).body(None)]):
            self._ledger.perhaps.discard(number)
            self._ledger.acknowledge(number, guids[0])

    async def _deliver(self, numbers: Sequence[int]) -> None:
        seed = self._ledger.seed
        bodies = [happening(seed, number).body(f"{seed}-{number}") for number in numbers]
        twice = self._random.random() < TWICE
        if twice:
            self._ledger.repeats += len(numbers)
            for guids in await asyncio.gather(self._post(bodies), self._post(bodies)):
                self._acknowledge(numbers, guids)
        while not (guids := await self._post(bodies)):
            self._ledger.repeats += len(numbers)
        self._acknowledge(numbers, guids)

    def _acknowledge(self, numbers: Sequence[int], guids: Sequence[str]) -> None:
        for number, guid in zip(numbers, guids, strict=bool(guids)):
            self._ledger.acknowledge(number, guid)

    async def _post(self, events: list[dict[str, Any]]) -> list[str]:
        """The events' guids, or none, after a pause, if they were not acknowledged."""
        single = len(events) == 1
        content = json.dumps(events[0] if single else {"events": events}).encode()
        url = f"{self._random.choice(self._urls)}/api/v1/{'track' if single else 'batch'}"
        hanging_up = self._random.random() < HANG_UP
        pause = self._random.uniform(0.05, 0.5)
        try:
            async with asyncio.timeout(self._random.uniform(0, 0.03) if hanging_up else None):
                answer = await self._http.post(url, content=content)
        except TimeoutError:
            self._ledger.answers["hung up"] += 1
        except httpx.TransportError:
            self._ledger.answers["no answer"] += 1
        else:
            self._ledger.answers[str(answer.status_code)] += 1
            if answer.status_code == httpx.codes.OK:
                return self._guids(answer.json(), single=single)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self._ledger.surprises.append(f"{answer.status_code}: {answer.text[:300]}")
            pause = max(pause, min(float(answer.headers.get("retry-after", 0)), LONGEST_PAUSE))
        await asyncio.sleep(pause)
        return []

    def _guids(self, answer: dict[str, Any], *, single: bool) -> list[str]:
        results = [answer] if single else answer["events"]
        for result in results:
            if not result["success"]:
                self._ledger.surprises.append(f"refused in a batch: {result}")
        return [result["event"]["guid"] if result["success"] else "refused" for result in results]
