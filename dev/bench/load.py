"""Send prepared HTTP requests on open connections, and count the responses.

The generator does as little as a client can, so that the server is the limit; `ingest-single` shows
how much of its core the generator uses.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import uvloop

TICK = 0.002
"""Seconds between two checks of how many requests are allowed."""

RESPONSE_SECONDS = 60

Allowed = Callable[[float], float]
"""Return how many requests are allowed in total after this many seconds."""

_OK = b"HTTP/1.1 200"
_LENGTH = b"content-length: "


def unbounded(_seconds: float) -> float:
    """Allow any number of requests; each connection waits for its response."""
    return math.inf


@dataclass(frozen=True, slots=True)
class Driven:
    """The result of a load, between the warm-up and the end."""

    requests: int
    seconds: float
    own_cpu: float
    """CPU seconds of the generator."""
    sampled: Mapping[str, float]
    """The growth of each value of the sample."""
    total: int
    """All requests, those of the warm-up included."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def microseconds_each(self, events: int = 1) -> dict[str, float]:
        """Return the sampled seconds as microseconds of an event, by the events of a request."""
        scale = 1e6 / (self.requests * events)
        return {name: seconds * scale for name, seconds in self.sampled.items()}


def request(path: str, body: bytes, key: str) -> bytes:
    """Return the bytes of a POST request."""
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
    sample: Callable[[], Mapping[str, float]] = dict,
) -> Driven:
    """Send requests in a loop; each connection has one request at a time.

    Args:
        port: of 127.0.0.1.
        requests: sent in turn.
        connections: their number.
        seconds: the length of the measurement.
        warmup: seconds before the measurement.
        allowed: limits the requests.
        sample: returns values by name, taken at the start and the end of the measurement.

    Raises:
        RuntimeError: a response was not 200.
    """
    return uvloop.run(_drive(port, requests, connections, seconds, warmup, allowed, sample))


async def _drive(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    warmup: float,
    allowed: Allowed,
    sample: Callable[[], Mapping[str, float]],
) -> Driven:
    load = _Load(cycle(requests))
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    start = time.perf_counter()
    pacing = asyncio.create_task(_pace(load, allowed, start))
    await asyncio.sleep(warmup)
    before = (load.answered, time.perf_counter(), time.process_time())
    sampled = sample()
    await asyncio.sleep(seconds)
    await load.wait_for_responses(before[0] + 1)
    after = (load.answered, time.perf_counter(), time.process_time())
    growth = {name: value - sampled[name] for name, value in sample().items()}
    pacing.cancel()
    load.allowed = 0
    await load.wait_for_responses(load.sent)
    load.ended = True
    for connection in load.connections:
        connection.close()
    if load.failure:
        raise RuntimeError(f"the server answered {load.failure!r}")
    answered, duration, cpu = (end - begin for begin, end in zip(before, after, strict=True))
    return Driven(int(answered), duration, cpu, growth, load.answered)


async def _pace(load: "_Load", allowed: Allowed, start: float) -> None:
    while True:
        load.allow(allowed(time.perf_counter() - start))
        await asyncio.sleep(TICK)


class _Load:
    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.connections: list[asyncio.WriteTransport] = []
        self.idle: deque[asyncio.WriteTransport] = deque()
        """Longest idle first, as the server closes connections that are idle for seconds."""
        self.allowed: float = 0
        self.sent = 0
        self.answered = 0
        self.failure = b""
        self.ended = False

    async def wait_for_responses(self, count: int) -> None:
        """Wait for this many responses, or a failure."""
        async with asyncio.timeout(RESPONSE_SECONDS):
            while self.answered < count and not self.failure:  # noqa: ASYNC110 - an asyncio.Event for each response would cost CPU
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
    """A connection with one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._response = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment] # of a TCP connection
        self._load.connections.append(self._transport)
        self._load.idle.append(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        if not self._load.ended:
            self._load.failure = b"nothing: the connection was closed"

    def data_received(self, data: bytes) -> None:
        self._response += data
        end = self._response.find(b"\r\n\r\n")
        if end < 0:
            return
        _, _, length = self._response[:end].lower().partition(_LENGTH)
        if len(self._response) < end + 4 + int(length.partition(b"\r")[0]):
            return
        if not self._response.startswith(_OK):
            self._load.failure = self._response[:300]
            return
        self._response = b""
        self._load.answered += 1
        self._load.send(self._transport)
