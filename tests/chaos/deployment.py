"""The system that a run breaks: servers, our processes, and a proxy between each two of them.

clients ─▶ ingest ─▶ broker ─▶ resolver ─▶ Postgres
              └─────────────────────────────▲ ▲  ▲
             scanner, properties, decoration ─┘  └─ other systems, directly
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo

from dev.stack.home import Home
from dev.stack.kafka import Kafka
from dev.stack.ports import free_port
from dev.stack.postgres import Postgres
from merganser.rulebook import rule_store
from schemas import migrations
from tests.chaos.corrections import Corrections
from tests.chaos.rules import CHAOS_RULES
from tests.support import database, topics
from tests.support.failing_triggers import failing_triggers
from tests.support.proxy import Proxy
from tests.support.service import Service
from tests.support.system import Kind, System, settings_env
from tests.support.topics import Record, Topics

PARTITIONS = 6

RESOLVERS, SCANNERS, PROPERTIES, GATEWAYS, SPARES = 3, 2, 2, 2, 2

HOST = "127.0.0.1"

FORBIDDEN = ("forbidden 22003", "forbidden 23503", "forbidden 54000", "forbidden XX000")
"""Types of events for which Postgres raises this SQLSTATE when they get a profile."""

APPLICATION = "chaos"
"""The application name of the harness's own connections, which no fault terminates."""


async def _not_set() -> list[str]:
    raise AssertionError("the run sets send_regular_events")


@dataclass
class Deployment:
    """What faults break, and what they have to remember."""

    kafka: Kafka
    postgres: Postgres
    topics: Topics
    system: System
    random: Random
    proxies: dict[str, Proxy] = field(default_factory=dict)
    """By the pair that talks through it."""
    gateway_urls: list[str] = field(default_factory=list)
    """Where clients reach the gateways."""
    spares: list[Service] = field(default_factory=list)
    """Resolvers that run only while a fault wants them."""
    stopped_by_fault: set[str] = field(default_factory=set)
    """Names of services that only a fault starts again."""
    invalid_records: dict[bytes, bytes | None] = field(default_factory=dict)
    """Records that are not events, by their keys; all must become dead letters."""
    hostile_keys: set[bytes] = field(default_factory=set)
    """Keys of records of hostile events; some of them become dead letters."""
    send_regular_events: Callable[[], Awaitable[list[str]]] = _not_set
    """Sends some events to each partition until they are acknowledged, and returns their guids."""
    measured: int = 0
    """Regular events that were sent right behind hostile ones."""
    delayed: list[str] = field(default_factory=list)
    """Those of them that took too long."""
    kills: int = 0
    """Processes that faults killed."""
    corrections: Corrections = field(default_factory=Corrections)
    """What the operator has corrected."""

    @property
    def services(self) -> list[Service]:
        """All of our processes, also the spare ones."""
        return self.system.services

    def services_of(self, *kinds: str) -> list[Service]:
        """Return the processes of some kinds that no other fault has stopped."""
        return [
            service
            for service in self.services
            if service.kind in kinds and service.name not in self.stopped_by_fault
        ]

    @contextmanager
    def stopping(self, services: Sequence[Service]) -> Iterator[None]:
        """Keep the monitor from starting services again for the length of a `with` block."""
        names = {service.name for service in services}
        self.stopped_by_fault |= names
        try:
            yield
        finally:
            self.stopped_by_fault -= names

    def new_service(self, kind: Kind, **settings: object) -> Service:
        """Add a process that connects to the servers through its kind's proxies."""
        return self.system.new(kind, **self.addresses(kind), **settings)

    def addresses(self, kind: str) -> dict[str, object]:
        """Return the settings that connect a kind of process through its proxies."""
        postgres = self.proxies[f"{kind} → Postgres"]
        url = make_conninfo(self.system.database.url, port=postgres.port)
        settings: dict[str, object] = {"database_url": url}
        if kafka := self.proxies.get(f"{kind} → Kafka"):
            settings["kafka_bootstrap"] = f"{HOST}:{kafka.port}"
        return settings

    async def connect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """Connect to Postgres without a proxy."""
        return await psycopg.AsyncConnection.connect(
            self.system.database.url,
            autocommit=True,
            connect_timeout=3,
            application_name=APPLICATION,
        )

    async def reconnect(self) -> psycopg.AsyncConnection[Any]:
        """Connect to Postgres without a proxy as soon as it accepts a connection."""
        while True:
            with suppress(psycopg.Error):
                return await self.connect()
            await asyncio.sleep(0.2)

    async def execute(self, statement: LiteralString) -> None:
        """Run a statement on Postgres; try again until it succeeds."""
        while True:
            with suppress(psycopg.Error):
                async with await self.reconnect() as connection:
                    await connection.execute(statement)
                    return
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        """End all of our processes and all proxies."""
        for service in self.services:
            service.close()
        for proxy in self.proxies.values():
            proxy.thaw()
            await proxy.stop()

    async def publish(self, records: Sequence[Record]) -> None:
        """Write records to the topic without a proxy, and wait for the broker."""
        await self.topics.events.publish(*records)


@contextmanager
def running_servers(
    home: Home,
    *,
    unsafe_fast: bool = False,
    kafka_proxies: dict[str, tuple[int, int]] | None = None,
) -> Iterator[tuple[Kafka, Postgres]]:
    """Run a broker and a Postgres for the length of a `with` block.

    Args:
        home: has their data and logs, which stay.
        unsafe_fast: Postgres does not wait for the disk.
        kafka_proxies: for each kind of process the port where the broker listens for its proxy,
            and the port of this proxy.
    """
    postgres = Postgres(home, free_port(), unsafe_fast=unsafe_fast)
    kafka_port, controller_port = free_port(), free_port()
    config = _listeners(kafka_port, controller_port, kafka_proxies) if kafka_proxies else None
    kafka = Kafka(home, kafka_port, controller_port, config=config)
    with home.owned(), ThreadPoolExecutor() as pool:
        try:
            list(pool.map(lambda server: server.start(), (kafka, postgres)))
            yield kafka, postgres
        finally:
            list(pool.map(lambda server: server.stop(), (kafka, postgres)))


@asynccontextmanager
async def running_deployment(place: Path, random: Random) -> AsyncIterator[Deployment]:
    """Run the whole system for the length of an `async with` block.

    Data and logs stay below `place`.
    """
    home = Home(place)
    kafka_proxies = {kind: (free_port(), free_port()) for kind in ("ingest", "resolver")}
    with running_servers(home, kafka_proxies=kafka_proxies) as (kafka, postgres):
        proxies = {
            f"{kind} → Postgres": Proxy(HOST, postgres.port, free_port())
            for kind in ("ingest", "resolver", "scanner", "properties", "decoration")
        } | {
            f"{kind} → Kafka": Proxy(HOST, listener, own_port)
            for kind, (listener, own_port) in kafka_proxies.items()
        }
        await migrations.migrate(postgres.url)
        async with (
            topics.created(kafka.bootstrap, PARTITIONS, keep=True) as own_topics,
            database.opened(postgres.url) as opened,
        ):
            await rule_store.apply_file(opened.connection, CHAOS_RULES)
            await opened.connection.execute(failing_triggers(*FORBIDDEN))
            env = settings_env(kafka.bootstrap, postgres.url, own_topics)
            system = System(home, env | {"CRM_URL": postgres.url}, opened, own_topics)
            deployment = Deployment(kafka, postgres, own_topics, system, random, proxies)
            try:
                await _start_processes(deployment)
                yield deployment
            finally:
                await deployment.close()


def _listeners(
    port: int, controller_port: int, proxies: dict[str, tuple[int, int]]
) -> dict[str, str]:
    """Return the broker's configuration with a listener for each proxy.

    A broker tells its clients where to connect: they would bypass a proxy that it does not name.
    """
    listening = {"PLAINTEXT": port} | {kind.upper(): own for kind, (own, _) in proxies.items()}
    advertised = {kind.upper(): proxy for kind, (_, proxy) in proxies.items()}
    return {
        "listeners": ",".join(
            f"{name}://{HOST}:{at}"
            for name, at in (listening | {"CONTROLLER": controller_port}).items()
        ),
        "advertised.listeners": ",".join(
            f"{name}://{HOST}:{at}" for name, at in (listening | advertised).items()
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in [*listening, "CONTROLLER"]
        ),
    }


async def _start_processes(deployment: Deployment) -> None:
    """Start our processes. Batches and moves are small, so that faults interrupt them."""
    random, system = deployment.random, deployment.system
    for proxy in list(deployment.proxies.values()):
        await proxy.start()
    for number in range(GATEWAYS):
        gateway = await system.new_ingest(**deployment.addresses("ingest"))
        proxy = deployment.proxies[f"clients → ingest-{number + 1}"] = Proxy(HOST, gateway.port)
        await proxy.start()
        deployment.gateway_urls.append(f"http://{HOST}:{proxy.port}")
    for number in range(RESOLVERS):
        deployment.new_service("resolver", **resolver_settings(random, number))
    for number in range(SPARES):
        spare = deployment.new_service("resolver", **resolver_settings(random, 2 * number))
        deployment.spares.append(spare)
        deployment.stopped_by_fault.add(spare.name)
    for _ in range(SCANNERS):
        deployment.new_service("scanner", scanner_batch=random.randrange(50, 500), scanner_move=25)
    for _ in range(PROPERTIES):
        deployment.new_service("properties")
    deployment.new_service("decoration", decoration_interval=0.5)
    await start_all(service for service in deployment.services if service not in deployment.spares)


async def start_all(services: Iterable[Service]) -> None:
    """Start processes and wait until all are ready."""
    started = list(services)
    for service in started:
        await asyncio.to_thread(service.start)
    await asyncio.gather(*(service.ready() for service in started))


def resolver_settings(random: Random, number: int, largest_batch: int = 1000) -> dict[str, object]:
    """Return settings of a resolver with small batches and moves.

    Resolvers with an odd number keep their name over a restart; the others make the group
    rebalance.
    """
    settings: dict[str, object] = {
        "resolver_batch": random.randrange(20, largest_batch),
        "resolver_move": random.choice([5, 50, 5000]),
        "resolver_session_timeout": 6,
    }
    return settings | ({"resolver_instance": f"static-{number}"} if number % 2 else {})
