"""Load over HTTP: prepared requests on connections that stay open, answers counted.

It does as little as a client can, in this process, so that the server is what is measured:
`ingest-single` shows how much of its core it uses.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import uvloop

TICK = 0.002
"""Seconds between two looks at what may be sent now."""

ANSWER_SECONDS = 60

Allowed = Callable[[float], float]
"""Requests that may have been sent after so many seconds."""

_OK = b"HTTP/1.1 200"
_LENGTH = b"content-length: "


def unbounded(_seconds: float) -> float:
    """As fast as the answers come."""
    return math.inf


@dataclass(frozen=True, slots=True)
class Driven:
    """What happened between the warming up and the end."""

    requests: int
    seconds: float
    own_cpu: float
    """CPU seconds of the generator."""
    sampled: float
    """By how much the sample grew."""
    total: int
    """Requests from the first to the last."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def request(path: str, body: bytes, key: str) -> bytes:
    """The bytes of a POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    warmup: float = 1.0,
    allowed: Allowed = unbounded,
    sample: Callable[[], float] = lambda: 0.0,
) -> Driven:
    """Send requests, each connection one at a time, over and over.

    Args:
        port: of 127.0.0.1.
        requests: what to send, in turn.
        connections: how many.
        seconds: how long to measure.
        warmup: seconds before that.
        allowed: holds requests back.
        sample: a reading to take at the start and the end of the measurement, quickly.

    Raises:
        RuntimeError: an answer was not 200.
    """
    return uvloop.run(_drive(port, requests, connections, seconds, warmup, allowed, sample))


async def _drive(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    warmup: float,
    allowed: Allowed,
    sample: Callable[[], float],
) -> Driven:
    load = _Load(cycle(requests))
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    start = time.perf_counter()
    pacing = asyncio.create_task(_pace(load, allowed, start))
    await asyncio.sleep(warmup)
    before = (load.answered, time.perf_counter(), time.process_time(), sample())
    await asyncio.sleep(seconds)
    await load.until_answered(before[0] + 1)
    after = (load.answered, time.perf_counter(), time.process_time(), sample())
    pacing.cancel()
    load.allowed = 0
    await load.until_answered(load.sent)
    load.ended = True
    for connection in load.all:
        connection.close()
    if load.failure:
        raise RuntimeError(f"the server answered {load.failure!r}")
    answered, took, cpu, sampled = (end - begin for begin, end in zip(before, after, strict=True))
    return Driven(int(answered), took, cpu, sampled, load.answered)


async def _pace(load: "_Load", allowed: Allowed, start: float) -> None:
    while True:
        load.allow(allowed(time.perf_counter() - start))
        await asyncio.sleep(TICK)


class _Load:
    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.all: list[asyncio.WriteTransport] = []
        self.idle: deque[asyncio.WriteTransport] = deque()
        """Those that have waited longest first: the server closes what nobody uses for seconds."""
        self.allowed: float = 0
        self.sent = 0
        self.answered = 0
        self.failure = b""
        self.ended = False

    async def until_answered(self, count: int) -> None:
        """Wait for so many answers, or a failure."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while self.answered < count and not self.failure:  # noqa: ASYNC110 - an event for each answer would cost the generator
                await asyncio.sleep(TICK)

    def allow(self, allowed: float) -> None:
        self.allowed = allowed
        while self.idle and self.sent < allowed:
            self.send(self.idle.popleft())

    def send(self, transport: asyncio.WriteTransport) -> None:
        if self.sent < self.allowed:
            self.sent += 1
            transport.write(next(self.requests))
        else:
            self.idle.append(transport)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment] # it is one
        self._load.all.append(self._transport)
        self._load.idle.append(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        if not self._load.ended:
            self._load.failure = b"nothing: the connection was closed"

    def data_received(self, data: bytes) -> None:
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = self._answer.index(_LENGTH) + len(_LENGTH)
        if len(self._answer) < end + 4 + int(
            self._answer[length : self._answer.index(b"\r", length)]
        ):
            return
        if not self._answer.startswith(_OK):
            self._load.failure = self._answer[:300]
            return
        self._answer = b""
        self._load.answered += 1
        self._load.send(self._transport)
