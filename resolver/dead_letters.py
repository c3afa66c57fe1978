"""Publishes dead letters: records that cannot be processed, with the reason, to their own topic."""

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
from schemas.dead_letter import DeadLetter

log = structlog.get_logger(__name__)


class TooManyDeadLetters(Exception):
    """The limit is exceeded. The resolver stops, so that a bug cannot divert the whole topic."""


class DeadLetterPublisher:
    """Publishes dead letters, up to a limit per minute."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, limit_per_minute: int) -> None:
        self._producer = producer
        self._topic = topic
        self._limit = limit_per_minute
        self._published_at: deque[float] = deque()
        """Times of those that count toward the limit, oldest first."""

    async def publish(self, letters: Sequence[DeadLetter], stop: Stop) -> None:
        """Publish dead letters and wait for the broker, so that the offset may pass their records.

        Only records that fail for the first time count toward the limit. Records that an operator
        retries come from the dead-letter topic and return to it: that diverts nothing.

        Raises:
            TooManyDeadLetters: over the limit. Those up to the limit were published, so that an
                operator can look at them.
            StoppedWhileWaiting: the process has to stop and the broker does not answer.
        """
        if not letters:
            return
        now = time.monotonic()
        first_failures = [letter for letter in letters if letter.attempt == 1]
        allowed = first_failures[: self._count_allowed(now)]
        published = allowed + [letter for letter in letters if letter.attempt > 1]
        await self._publish_until_acknowledged(published, stop)
        self._published_at.extend(now for _ in allowed)
        for letter in published:
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        log.warning(
            "dead letters",
            count=len(published),
            reasons=sorted({letter.reason for letter in letters}),
            first_partition=letters[0].record.partition,
            first_offset=letters[0].record.offset,
        )
        if len(allowed) < len(first_failures):
            raise TooManyDeadLetters(
                f"more than {self._limit} dead letters within a minute "
                "(MERGANSER_RESOLVER_DEAD_LIMIT)"
            )

    def _count_allowed(self, now: float) -> int:
        while self._published_at and self._published_at[0] < now - 60:
            self._published_at.popleft()
        return self._limit - len(self._published_at)

    async def _publish_until_acknowledged(self, letters: Sequence[DeadLetter], stop: Stop) -> None:
        """Publish all at once, which is as fast as the broker allows; retry those that failed."""
        for delay in backoff():
            results = await asyncio.gather(*map(self._try_publish, letters))
            letters = [letter for letter in results if letter]
            if not letters:
                return
            if await stop.wait(delay):
                raise StoppedWhileWaiting

    async def _try_publish(self, letter: DeadLetter) -> DeadLetter | None:
        """Publish one dead letter; return the one to publish instead if that failed."""
        try:
            await kafka.send(
                self._producer, self._topic, letter.key, letter.value, letter.encode_headers()
            )
        except MessageSizeTooLargeError:
            if letter.omitted_bytes:
                raise
            return letter.without_record()
        except KafkaError as error:
            if not error.retriable:
                raise
            log.warning("dead letter not published, trying again", error=type(error).__name__)
            return letter
        return None
