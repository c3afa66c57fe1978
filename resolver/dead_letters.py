"""Records that can never succeed go to a topic of their own, with all it takes to act on them."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from merganser.runtime import kafka, metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.retry import backoff
from schemas.dead_letter import Letter

log = structlog.get_logger(__name__)


class Flood(Exception):
    """More dead letters than a healthy topic has: a bad deploy must not drain the topic."""


class DeadLetters:
    """Publishes dead letters, up to a limit a minute."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, limit: int) -> None:
        self._producer = producer
        self._topic = topic
        self._limit = limit
        self._recent: deque[float] = deque()

    async def publish(self, letters: Sequence[Letter], stop: Stop) -> None:
        """Publish and wait for the broker, so that the position may move past the records.

        The limit is about records that fail for the first time. One that an operator sent again
        goes back where it came from: however many there are, that drains no topic.

        Raises:
            Flood: over the limit; what the limit allows was published, to be looked at.
            StoppedWhileWaiting: the process is to stop and the broker does not answer.
        """
        if not letters:
            return
        now = time.monotonic()
        fresh = [letter for letter in letters if letter.attempt == 1]
        allowed = fresh[: self._room(now)]
        published = allowed + [letter for letter in letters if letter.attempt > 1]
        await self._send(published, stop)
        self._recent.extend(now for _ in allowed)
        for letter in published:
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        log.warning(
            "dead letters",
            count=len(published),
            reasons=sorted({letter.reason for letter in letters}),
            first_partition=letters[0].failed.partition,
            first_offset=letters[0].failed.offset,
        )
        if len(allowed) < len(fresh):
            raise Flood(
                f"more than {self._limit} dead letters within a minute "
                "(MERGANSER_RESOLVER_DEAD_LIMIT)"
            )

    def _room(self, now: float) -> int:
        while self._recent and self._recent[0] < now - 60:
            self._recent.popleft()
        return self._limit - len(self._recent)

    async def _send(self, letters: Sequence[Letter], stop: Stop) -> None:
        """All at once, so that many take no longer than the broker needs; again what it refused."""
        for delay in backoff():
            tried = await asyncio.gather(*map(self._tried, letters))
            letters = [letter for letter in tried if letter]
            if not letters:
                return
            if await stop.wait(delay):
                raise StoppedWhileWaiting

    async def _tried(self, letter: Letter) -> Letter | None:
        """Publish a letter; what is to be published instead, if it was not."""
        try:
            await kafka.send(
                self._producer, self._topic, letter.key, letter.value, letter.encoded()
            )
        except MessageSizeTooLargeError:
            if letter.dropped:
                raise
            return letter.without_record()
        except KafkaError as error:
            if not error.retriable:
                raise
            log.warning("dead letter not published, trying again", error=type(error).__name__)
            return letter
        return None
