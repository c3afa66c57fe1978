"""The page of one event: where it came from, and what it led to."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka.errors import KafkaError
from starlette.requests import Request
from starlette.responses import Response

from console.access import viewer_of
from console.ids import read_guid
from console.pages import render
from merganser.admin import trace
from merganser.admin.dead_letters.topic import DeadTopicRecord
from merganser.admin.rules import find_outcomes
from merganser.admin.trace import TracedRecord
from merganser.identity.explain import read_event_reason
from merganser.identity.unlink import read_ignored, read_trail
from merganser.queries import events, profiles
from merganser.queries.pool import Pool
from merganser.rulebook import rule_store
from merganser.runtime.settings import ResolverSettings
from schemas.guid import EVENT, time_of

MAX_SEARCHES = 4
"""Searches of the topics at once; further ones wait."""


@dataclass(frozen=True, slots=True)
class KafkaTrace:
    """What Kafka has of an event."""

    record: TracedRecord | None = None
    letter: DeadTopicRecord | None = None
    problem: str | None = None
    """Why the topics could not be read, if so."""


class Events:
    """The routes.

    Args:
        pool: of connections to Postgres.
        settings: how to read the topics.
    """

    def __init__(self, pool: Pool, settings: ResolverSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._searches = asyncio.Semaphore(MAX_SEARCHES)

    async def show(self, request: Request) -> Response:
        """Trace an event. With `record`, read the topics too, which takes longer."""
        guid = read_guid(request, "an event")
        reads_topics = "record" in request.query_params
        async with self._pool.reading() as connection:
            found = await events.read_events(connection, [guid])
            event = found[0] if found else None
            why = await read_event_reason(connection, guid)
            trail = await read_trail(connection, guid)
            is_ignored = bool(trail) and bool(await read_ignored(connection, [guid]))
            merges: list[dict[str, Any]] = []
            if event and event["anonymousId"] is not None:
                merges = await profiles.read_merges_of_event(connection, guid, event["anonymousId"])
            rules = await rule_store.read_rules(connection)
        accepted_at = event["createdAt"] if event else time_of(EVENT, guid)
        kafka = None
        if reads_topics and accepted_at:
            async with self._searches:
                kafka = await self._read_topics(guid, accepted_at, is_stored=event is not None)
        if event is None:
            return render(
                request, "event_missing.html", 404, guid=guid, time=accepted_at, kafka=kafka
            )
        outcomes = {}
        if viewer_of(request).may_read_events:
            outcomes = find_outcomes([stored.rule for stored in rules], event, datetime.now(UTC))
        return render(
            request,
            "event.html",
            event=event,
            why=why,
            trail=trail,
            is_ignored=is_ignored,
            merges=merges,
            outcomes=outcomes,
            kafka=kafka,
            kept_days=self._settings.topic_retention,
        )

    async def _read_topics(
        self, guid: str, accepted_at: datetime, *, is_stored: bool
    ) -> KafkaTrace:
        try:
            record = await trace.find_record(self._settings, guid, accepted_at)
            if is_stored or (record and not record.is_processed):
                return KafkaTrace(record)
            return KafkaTrace(record, await trace.find_letter(self._settings, guid, accepted_at))
        except KafkaError as error:
            return KafkaTrace(problem=f"Kafka does not answer ({type(error).__name__})")
        except TimeoutError:
            return KafkaTrace(problem="reading the topics takes too long")
