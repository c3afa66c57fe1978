"""Records a sample of refused events in a separate topic, so that clients' developers find them.

It never delays a request and takes little memory: what exceeds the rate or the queue is only
counted, and Kafka's errors only cost records. docs/ingest.md has the arithmetic.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer

from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import metrics
from schemas import refused_event
from schemas.exact_json import DEEPEST, Number, as_text
from schemas.plain_track import PlainTrack
from schemas.refused_event import MAX_FIELD_NAME, MAX_FIELDS, MAX_ID, MAX_REASON, RefusedEvent, cut

log = structlog.get_logger(__name__)

MAX_WAITING = 100
"""Records that wait for Kafka. As many more may be on their way."""

STRANGERS_PER_SECOND = 1
"""Records of requests without a valid API key. Anyone can send such, so they have nothing of what
was sent but the path."""

RETRY_SECONDS = 10.0
"""Between an error of Kafka and the next try."""

CLOSE_SECONDS = 1.0
"""How long the end of the process waits for records that are on their way."""

_NOT_RECORDED = (
    # Strangers try all kinds of paths; no event is lost.
    ErrorKind.NOT_FOUND,
    ErrorKind.METHOD_NOT_ALLOWED,
    # The client sends the event again, and Kafka is away.
    ErrorKind.UNAVAILABLE,
)


_KEY = re.compile(r"mk_[A-Za-z0-9_-]{20,}")
"""An API key: some clients have it in each event."""


class Origin(NamedTuple):
    """The request that refused events come from."""

    request_id: bytes
    path: str
    producer_guid: str | None
    """The guid of the API key; None without a valid one."""


class RefusedEvents:
    """The sample of one process.

    Args:
        make_producer: returns a new producer. A failed one is replaced.
        topic: to send to.
        per_second: the most records; of one API key half of them.
        content_bytes: of an event's content in its record; 0: none.
        clock: seconds.
    """

    def __init__(
        self,
        make_producer: Callable[[], AIOKafkaProducer],
        topic: str,
        per_second: int,
        content_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._make_producer = make_producer
        self._topic = topic
        self._per_second = per_second
        self._content_bytes = content_bytes
        self._clock = clock
        self._second = 0
        self._recorded: Counter[str | None] = Counter()
        """Of this second, by API key."""
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)

    def record_request(self, origin: Origin, error: HttpError, events: int) -> None:
        """Record that a whole request was refused; with the number of its events, if known."""
        if error.kind not in _NOT_RECORDED and self._admit(origin.producer_guid, 1):
            self._record(_describe(origin, error, {}, events, 0))

    def record_events(
        self, origin: Origin, events: Sequence[Any], results: Sequence[Any], refused: int
    ) -> None:
        """Record the first refused events of a request, as many as the rate allows.

        Args:
            origin: the request.
            events: as the dialect returned them.
            results: of each event: an `HttpError` if it is refused.
            refused: number of these errors.
        """
        admitted = self._admit(origin.producer_guid, refused)
        pairs = zip(events, results, strict=True)
        errors = ((event, error) for event, error in pairs if isinstance(error, HttpError))
        for event, error in islice(errors, admitted):
            fields = _read_fields(error.event if isinstance(event, HttpError) else event)
            self._record(_describe(origin, error, fields, 1, self._content_bytes))

    async def run(self) -> None:
        """Publish what is recorded, until cancelled; connect when there is something to publish."""
        while True:
            batch = [await self._waiting.get()]
            producer = None
            try:
                producer = self._make_producer()  # reads certificates, which may be missing now
                await producer.start()
                while True:
                    await self._publish(producer, batch)
                    batch = [await self._waiting.get()]
            except Exception as error:  # noqa: BLE001 - no error here may end ingest
                metrics.REFUSED_RECORDS.labels("failed").inc(len(batch))
                log.warning("refused events are not recorded", error=type(error).__name__)
            finally:
                if producer is not None:
                    with contextlib.suppress(Exception):
                        await asyncio.wait_for(producer.stop(), CLOSE_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)

    def _admit(self, key: str | None, wanted: int) -> int:
        """Return how many of this number may be recorded now."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._recorded.clear()
        most = STRANGERS_PER_SECOND if key is None else max(1, self._per_second // 2)
        left = min(most - self._recorded[key], self._per_second - self._recorded.total())
        admitted = max(0, min(wanted, left))
        if admitted:
            self._recorded[key] += admitted
        if admitted < wanted:
            metrics.REFUSED_RECORDS.labels("limited").inc(wanted - admitted)
        return admitted

    def _record(self, refused: RefusedEvent) -> None:
        try:
            self._waiting.put_nowait(refused_event.encode(refused))
        except asyncio.QueueFull:
            metrics.REFUSED_RECORDS.labels("dropped").inc()

    async def _publish(self, producer: AIOKafkaProducer, batch: list[bytes]) -> None:
        """Publish a batch, to which the records that wait are added.

        Raises:
            KafkaError: they are not acknowledged.
        """
        while not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        sent = [await producer.send(self._topic, value) for value in batch]
        results = await asyncio.gather(*sent, return_exceptions=True)
        if errors := [result for result in results if isinstance(result, BaseException)]:
            raise errors[0]
        metrics.REFUSED_RECORDS.labels("published").inc(len(batch))


def _describe(
    origin: Origin, error: HttpError, event: Mapping[str, Any], events: int, content_bytes: int
) -> RefusedEvent:
    """Return the record of a refused event, or of a whole request, for which `event` is empty."""
    return RefusedEvent(
        at=datetime.now(UTC),
        request_id=cut(origin.request_id.decode(), MAX_ID),
        path=cut(origin.path, MAX_ID),
        code=error.kind.code,
        reason=cut(error.message, MAX_REASON),
        fields={
            cut(name, MAX_FIELD_NAME): cut(problem, MAX_REASON)
            for name, problem in islice(error.fields.items(), MAX_FIELDS)
        },
        producer_guid=origin.producer_guid,
        type=_cut_id(event.get("type")),
        user_id=_cut_id(event.get("userId")),
        anonymous_id=_cut_id(event.get("anonymousId")),
        message_id=_cut_id(event.get("messageId")),
        events=events,
        content=_cut_content(event, content_bytes) if content_bytes and event else None,
    )


def _read_fields(event: Any) -> Mapping[str, Any]:
    """Return the fields of an event by their names in JSON; none if it is not an object."""
    if isinstance(event, PlainTrack):
        return {
            "type": event.type,
            "userId": event.user_id,
            "anonymousId": event.anonymous_id,
            "messageId": event.message_id,
            "data": event.data,
        }
    return event if isinstance(event, dict) else {}


def _cut_id(value: Any) -> str | None:
    if isinstance(value, Number):
        value = value.text
    return cut(value, MAX_ID) if isinstance(value, str) else None


def _cut_content(event: Mapping[str, Any], length: int) -> str | None:
    try:
        content = as_text({**event}, DEEPEST)
    except (ValueError, TypeError, RecursionError):  # nested too deeply, or not JSON
        return None
    content = _KEY.sub("mk_", content)
    return content.encode(errors="replace")[:length].decode(errors="ignore")
