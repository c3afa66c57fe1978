"""One short run: a random history goes straight to the topic while processes are killed.

The history has what ingest never lets through, and records in any order and repeated.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from dev.stack.home import Home
from dev.stack.kafka import Kafka
from dev.stack.postgres import Postgres
from merganser.rulebook import rule_store
from schemas.event import Event
from schemas.ids import NOBODY, somebody
from tests.chaos import checks, comparison
from tests.chaos.deployment import (
    Deployment,
    resolver_settings,
    running_servers,
    start_all,
)
from tests.chaos.display import Display, watching
from tests.chaos.faults import FAULTS
from tests.chaos.faults.processes import SEVERAL
from tests.chaos.history import ClientEvent
from tests.chaos.injector import Injector
from tests.chaos.ledger import Ledger
from tests.chaos.operator import change_links, forget_person
from tests.chaos.rules import RULES
from tests.chaos.verdict import Verdict
from tests.identity.histories import hostile
from tests.identity.reference import SentEvent
from tests.support import database, topics
from tests.support.database import Cluster
from tests.support.system import System, settings_env
from tests.support.topics import record_of

PARTITIONS = 8
PUBLISHABLE_KEY = "key_page"
_INSERT_KEY = """
INSERT INTO "apiKeys" (guid, name, "keyHash", permissions, kind)
VALUES (%s, 'page', 'hash', '{events:write}', 'publishable')
"""
CHUNK = 200
"""Events that are published or inserted at a time."""

WAIT_SECONDS = 180.0
"""After the last kill, until no work is left: long, as the group waits for dead members."""


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    events: int = 20_000
    resolvers: int = 4
    scanners: int = 2
    kills: int = 12
    repeated: float = 0.2
    """Share of the topic's events that are delivered twice."""
    external: float = 0.15
    """Share of the events that other systems insert as rows."""


@dataclass(frozen=True)
class TortureServers:
    """The servers of all runs; each run has its own database and topics."""

    kafka: Kafka
    postgres: Postgres
    template: str
    """A migrated database to clone."""


@contextmanager
def torture_servers(place: Path) -> Iterator[TortureServers]:
    """Run the servers for the length of a `with` block; their data is below `place`."""
    with (
        running_servers(Home(place), unsafe_fast=True) as (kafka, postgres),
        Cluster(postgres.url).template() as template,
    ):
        yield TortureServers(kafka, postgres, template)


async def run(
    servers: TortureServers, place: Path, seed: int, size: Size, console: Console
) -> Verdict:
    """Run once and return the verdict. The same seed gives the same history.

    Logs stay below `place`.
    """
    bootstrap, cluster = servers.kafka.bootstrap, Cluster(servers.postgres.url)
    with cluster.database(servers.template) as name:
        async with (
            topics.created(bootstrap, PARTITIONS) as own_topics,
            database.opened(cluster.url_of(name)) as opened,
        ):
            env = settings_env(bootstrap, opened.url, own_topics)
            home, random = Home(place), Random(seed)
            system = System(home, env, opened, own_topics)
            history = hostile(random, size.events, people=max(size.events // 15, 10))
            deployment = Deployment(servers.kafka, servers.postgres, own_topics, system, random)
            _add_processes(system, random, size)
            with home.owned():
                try:
                    return await _Run(deployment, history, size).run(Verdict(seed), console)
                finally:
                    await deployment.close()


def _add_processes(system: System, random: Random, size: Size) -> None:
    """Batches and moves are small, so that kills interrupt them."""
    for number in range(size.resolvers):
        system.new("resolver", **resolver_settings(random, number, largest_batch=400))
    for _ in range(size.scanners):
        system.new("scanner", scanner_batch=random.randrange(20, 200), scanner_move=25)
    for _ in range(2):
        system.new("properties", properties_batch=random.randrange(20, 400))


class _Run:
    """A history and how it is delivered: by its numbers, on the topic or as rows."""

    def __init__(self, deployment: Deployment, history: Sequence[SentEvent], size: Size) -> None:
        self._deployment = deployment
        self._history = history
        self._size = size
        random, numbers = deployment.random, range(len(history))
        external = set(random.sample(numbers, int(len(history) * size.external)))
        # ingest refuses events without a usable id: they can only come as rows.
        unresolvable = {number for number in numbers if not _has_id(history[number])}
        self._unresolvable = len(unresolvable)
        self._rows = sorted(external | unresolvable)
        records = [number for number in numbers if number not in {*self._rows}]
        repeated = random.sample(records, int(len(records) * size.repeated))
        self._deliveries = [(number, timedelta(0)) for number in records]
        self._deliveries += [(number, timedelta(seconds=random.random())) for number in repeated]
        random.shuffle(self._deliveries)
        random.shuffle(self._rows)
        as_rows = set(self._rows)
        events = [_client_event(history[number], row=number in as_rows) for number in numbers]
        self._ledger = Ledger(events.__getitem__, sent_again=len(repeated))

    async def run(self, verdict: Verdict, console: Console) -> Verdict:
        deployment, ledger = self._deployment, self._ledger
        display = Display(console, f"torture, seed {verdict.seed}", lines=False)
        ledger.corrections = deployment.corrections
        await rule_store.apply_file(deployment.system.database.connection, RULES)
        await deployment.system.database.execute(_INSERT_KEY, PUBLISHABLE_KEY)
        await start_all(deployment.services)
        async with watching(deployment, ledger, display) as monitor:
            injector = Injector(deployment, display, deployment.random, lambda: (monitor.read,))
            display.start_phase("publishing and killing processes")
            async with asyncio.TaskGroup() as group:
                feeding = [
                    group.create_task(self._publish()),
                    group.create_task(self._insert()),
                ]
                group.create_task(self._change_links(feeding))
                group.create_task(self._forget_people(feeding))
                await self._kill(injector, feeding)
            display.start_phase("waiting until no work is left")
            try:
                await comparison.wait_until_processed(
                    deployment.system, WAIT_SECONDS, self._unresolvable
                )
            except AssertionError as stuck:
                verdict.failures.append(str(stuck))
            display.start_phase("comparing every row")
            await checks.check(verdict, deployment, ledger, monitor, injector)
        verdict.seconds = time.monotonic() - display.started
        return verdict

    async def _publish(self) -> None:
        for start in range(0, len(self._deliveries), CHUNK):
            deliveries = self._deliveries[start : start + CHUNK]
            await self._deployment.publish(
                [
                    record_of(_wire_event(self._history[n].guid, self._ledger.event_of(n), later))
                    for n, later in deliveries
                ]
            )
            self._acknowledge([number for number, _ in deliveries])
            await asyncio.sleep(self._deployment.random.uniform(0, self._pause(self._deliveries)))

    async def _insert(self) -> None:
        async with database.opened(self._deployment.system.database.url) as own:
            for start in range(0, len(self._rows), CHUNK):
                numbers = self._rows[start : start + CHUNK]
                async with own.connection.cursor() as cursor:
                    await cursor.executemany(
                        'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt", '
                        '"createdAt", "producerGuid") '
                        "VALUES (%s, %s, %s, %s, %s, coalesce(%s, now()), %s)",
                        [self._row(number) for number in numbers],
                    )
                self._acknowledge(numbers)
                self._ledger.rows += len(numbers)
                await asyncio.sleep(self._deployment.random.uniform(0, self._pause(self._rows)))

    def _row(self, number: int) -> tuple[Any, ...]:
        guid, event = self._history[number].guid, self._ledger.event_of(number)
        return guid, *event[:4], event.received_at, _producer_of(event)

    def _acknowledge(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._ledger.acknowledge(number, self._history[number].guid)

    def _pause(self, deliveries: Sequence[object]) -> float:
        """Return the longest pause between chunks, so that events arrive as long as kills do."""
        return 4 * self._size.kills * CHUNK / max(len(deliveries), 1)

    async def _change_links(self, feeding: Sequence[asyncio.Task[None]]) -> None:
        """Ignore links and reverse that while events arrive."""
        while not all(task.done() for task in feeding):
            await change_links(self._deployment)
            await asyncio.sleep(self._deployment.random.uniform(0.1, 0.5))

    async def _forget_people(self, feeding: Sequence[asyncio.Task[None]]) -> None:
        """Forget people while events arrive."""
        while not all(task.done() for task in feeding):
            await forget_person(self._deployment)
            await asyncio.sleep(self._deployment.random.uniform(0, 0.5))

    async def _kill(self, injector: Injector, feeding: Sequence[asyncio.Task[None]]) -> None:
        """Kill and restart processes while events arrive, and until the number is reached."""
        (several,) = (fault for fault in FAULTS if fault.name == SEVERAL)
        while self._deployment.kills < self._size.kills or not all(t.done() for t in feeding):
            await asyncio.sleep(self._deployment.random.uniform(0.2, 2.5))
            if self._deployment.kills < self._size.kills:
                await injector.inject(several)


def _has_id(event: SentEvent) -> bool:
    return any(somebody(name, NOBODY) for name in (event.user_id, event.anonymous_id))


def _client_event(event: SentEvent, *, row: bool) -> ClientEvent:
    if row:
        return ClientEvent(
            "row", event.user_id, event.anonymous_id, event.occurred_at, {}, event.received_at
        )
    return ClientEvent(
        "record",
        # ingest drops ids that mean nobody, the resolver would too
        somebody(event.user_id, NOBODY),
        somebody(event.anonymous_id, NOBODY),
        event.occurred_at,
        {"number": event.guid[-4:]},
        event.received_at,
    )


def _producer_of(event: ClientEvent) -> str:
    return PUBLISHABLE_KEY if event.received_at else "key_torture"


def _wire_event(guid: str, event: ClientEvent, later: timedelta) -> Event:
    """Return the event as ingest publishes it.

    Args:
        guid: of the event.
        event: what the client sent.
        later: how much later than at first it was received.
    """
    return {
        "guid": guid,
        "producerGuid": _producer_of(event),
        "ipAddress": None,
        "createdAt": (event.received_at or event.occurred_at) + later,
        "occurredAt": event.occurred_at,
        "type": event.type,
        "userId": event.user_id,
        "anonymousId": event.anonymous_id,
        "data": event.stored_data(),
    }
