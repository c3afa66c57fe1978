"""The whole stack on one machine, with a proxy between each two that talk to each other.

clients ─▶ ingest ─▶ broker ─▶ resolver ─▶ Postgres
              └─────────────────────────────▲ ▲  ▲
             scanner, properties, decoration ─┘  └─ other systems, directly
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
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
from merganser.rulebook.language import Rule, RuleFile, Source
from schemas import migrations
from tests.support import database, topics
from tests.support.gateway import Gateway
from tests.support.proxy import Proxy
from tests.support.service import Service
from tests.support.system import Kind, System, settings_env
from tests.support.topics import Record, Topics
from tests.torture.torture import RULES

PARTITIONS = 6

RESOLVERS, SCANNERS, PROPERTIES, GATEWAYS, EXTRAS = 3, 2, 2, 2, 2

_PLAN = """
SELECT "userId" AS id, CASE
    WHEN NOT starts_with("userId", 'hostile ') THEN 'free'
    WHEN mod(hashtext("userId"), 2) = 0 THEN repeat('x', 100000)
    ELSE CAST(length("userId") / 0 AS text)
END AS plan
FROM profiles WHERE "userId" IN (:userIds)
"""
"""What the company's database answers: for a hostile user too much, or an error for the query."""

CHAOS_RULES = RuleFile(
    sources={"crm": Source(url="CRM_URL", batch=50)},
    rules=[
        *RULES.rules,
        Rule.model_validate(
            {"key": "bait", "type": "integer", "events": {"type": "record", "aggregation": "count"}}
        ),
        Rule.model_validate(
            {
                "key": "plan",
                "type": "string",
                "query": {"source": "crm", "sql": _PLAN, "column": "plan"},
            }
        ),
    ],
)
"""A hostile operator breaks the rule `bait`."""

HOSTILE = "evt_hostile-"
"""What the guids of hostile events begin with."""

FORBIDDEN = ("forbidden 22003", "forbidden 23503", "forbidden 54000", "forbidden XX000")
"""Types of events for which Postgres raises this SQLSTATE where they are to have a profile."""

_FORBID = "".join(
    f"""
    CREATE FUNCTION "{kind}"() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'hostile' USING ERRCODE = '{kind.removeprefix("forbidden ")}';
    END
    $$;
    CREATE TRIGGER "{kind}" BEFORE INSERT OR UPDATE ON events FOR EACH ROW
        WHEN (NEW.type = '{kind}' AND NEW."profileGuid" IS NOT NULL) EXECUTE FUNCTION "{kind}"();
    """
    for kind in FORBIDDEN
)

ADMIN = "chaos"
"""The application name of our own connections, which no fault is to hit."""


async def _nothing() -> list[str]:
    raise AssertionError("set by the run")


@dataclass
class Stage:
    """What there is to break, and who has it in hand."""

    kafka: Kafka
    postgres: Postgres
    topics: Topics
    system: System
    proxies: dict[str, Proxy]
    """By the pair that talks through it."""
    random: Random
    gateways: list[Gateway] = field(default_factory=list)
    front_doors: list[str] = field(default_factory=list)
    """Where clients reach the gateways."""
    extras: list[Service] = field(default_factory=list)
    """Resolvers that run only while a fault wants them."""
    handled: set[str] = field(default_factory=set)
    """Names of services that a fault stops and starts: nobody else is to start them."""
    garbage: dict[bytes, bytes | None] = field(default_factory=dict)
    """Records that are not events, by their keys, which must all end as dead letters."""
    hostile: set[bytes] = field(default_factory=set)
    """Keys of records that are meant to do harm; some of them end as dead letters."""
    send_innocent: Callable[[], Awaitable[list[str]]] = _nothing
    """Sends some events to every partition until they are acknowledged; their guids."""
    measured: int = 0
    """Innocent events that came right behind hostile ones."""
    delayed: list[str] = field(default_factory=list)
    """Those of them that took too long."""

    @property
    def services(self) -> list[Service]:
        """All of our processes, those that run only now and then too."""
        return self.system.services

    def of(self, kind: str) -> list[Service]:
        """The processes of one kind that are not in the hands of another fault."""
        return [one for one in self.services if one.kind == kind and one.name not in self.handled]

    def worker(self, kind: Kind, **settings: object) -> Service:
        """A new process of a kind, which meets the servers by way of the kind's proxies."""
        return self.system.new(kind, **self.ways(kind), **settings)

    def ways(self, kind: str) -> dict[str, object]:
        """The settings that lead a kind of process through its proxies."""
        ways: dict[str, object] = {
            "database_url": make_conninfo(
                self.postgres.url, port=self.proxies[f"{kind} → Postgres"].port
            )
        }
        if broker := self.proxies.get(f"{kind} → Kafka"):
            ways["kafka_bootstrap"] = f"127.0.0.1:{broker.port}"
        return ways

    async def connect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """A connection of our own, not by way of a proxy."""
        return await psycopg.AsyncConnection.connect(
            self.postgres.url, autocommit=True, connect_timeout=3, application_name=ADMIN
        )

    async def publish(self, records: Sequence[Record]) -> None:
        """Write records to the topic, not by way of a proxy; waits for the broker."""
        await self.topics.events.publish(*records)


@asynccontextmanager
async def opened(place: Path, random: Random) -> AsyncIterator[Stage]:
    """Start everything below `place` and end it all afterwards. Data and logs stay there."""
    home = Home(place)
    taken: set[int] = set()

    def port() -> int:
        taken.add(found := free_port(taken))
        return found

    postgres = Postgres(home, port())
    doors = {kind: port() for kind in ("ingest", "resolver")}
    proxies = {
        f"{kind} → Postgres": Proxy("127.0.0.1", postgres.port, port())
        for kind in ("ingest", "resolver", "scanner", "properties", "decoration")
    } | {f"{kind} → Kafka": Proxy("127.0.0.1", door, port()) for kind, door in doors.items()}
    kafka_port, controller_port = port(), port()
    kafka = Kafka(
        home,
        kafka_port,
        controller_port,
        config=_listeners(kafka_port, controller_port, doors, proxies),
    )
    with home.owned(), ThreadPoolExecutor() as pool:
        try:
            list(pool.map(lambda server: server.start(), (kafka, postgres)))
            async with _played(home, kafka, postgres, proxies, random) as stage:
                yield stage
        finally:
            list(pool.map(lambda server: server.stop(), (kafka, postgres)))


def _listeners(
    port: int, controller_port: int, doors: dict[str, int], proxies: dict[str, Proxy]
) -> dict[str, str]:
    """A door of the broker for each kind of process, where it says the proxy's port.

    A broker tells its clients where to connect: they would go round a proxy that it does not name.
    """
    listening = {"PLAINTEXT": port} | {kind.upper(): door for kind, door in doors.items()}
    told = {kind.upper(): proxies[f"{kind} → Kafka"].port for kind in doors}
    return {
        "listeners": ",".join(
            f"{name}://127.0.0.1:{at}"
            for name, at in (listening | {"CONTROLLER": controller_port}).items()
        ),
        "advertised.listeners": ",".join(
            f"{name}://127.0.0.1:{at}" for name, at in (listening | told).items()
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in [*listening, "CONTROLLER"]
        ),
    }


@asynccontextmanager
async def _played(
    home: Home, kafka: Kafka, postgres: Postgres, proxies: dict[str, Proxy], random: Random
) -> AsyncIterator[Stage]:
    await migrations.migrate(postgres.url)
    async with (
        topics.made(kafka.bootstrap, PARTITIONS, keep=True) as made,
        database.opened(postgres.url) as own,
    ):
        await rule_store.apply_file(own.connection, CHAOS_RULES)
        await own.connection.execute(_FORBID.encode())
        system = System(home, settings_env(kafka.bootstrap, postgres.url, made), own, made)
        system.env["CRM_URL"] = postgres.url
        stage = Stage(kafka, postgres, made, system, proxies, random)
        try:
            await _cast(stage)
            yield stage
        finally:
            for service in stage.services:
                service.close()
            for proxy in proxies.values():
                proxy.thaw()
                await proxy.stop()


async def _cast(stage: Stage) -> None:
    """Start our processes. Batches and moves are small, so that faults fall between and into."""
    for proxy in list(stage.proxies.values()):
        await proxy.start()
    for number in range(GATEWAYS):
        gateway = await stage.system.new_ingest(**stage.ways("ingest"))
        proxy = stage.proxies[f"clients → ingest-{number + 1}"] = Proxy("127.0.0.1", gateway.port)
        await proxy.start()
        stage.gateways.append(gateway)
        stage.front_doors.append(f"http://127.0.0.1:{proxy.port}")
    for number in range(RESOLVERS):
        stage.worker("resolver", **resolver_settings(stage.random, number))
    for number in range(EXTRAS):
        extra = stage.worker("resolver", **resolver_settings(stage.random, 2 * number))
        stage.extras.append(extra)
        stage.handled.add(extra.name)
    for _ in range(SCANNERS):
        stage.worker("scanner", scanner_batch=stage.random.randrange(50, 500), scanner_move=25)
    for _ in range(PROPERTIES):
        stage.worker("properties")
    stage.worker("decoration", decoration_interval=0.5)
    lasting = [service for service in stage.services if service not in stage.extras]
    for service in lasting:
        await asyncio.to_thread(service.start)
    await asyncio.gather(*(service.ready() for service in lasting))


def resolver_settings(random: Random, number: int) -> dict[str, object]:
    """Half of them keep their name over a restart, the others make the group rebalance."""
    settings: dict[str, object] = {
        "resolver_batch": random.randrange(50, 1000),
        "resolver_move": random.choice([5, 50, 5000]),
        "resolver_session_timeout": 6,
    }
    return settings | ({"resolver_instance": f"static-{number}"} if number % 2 else {})


async def connected(stage: Stage) -> psycopg.AsyncConnection[Any]:
    """A connection of our own as soon as Postgres takes one."""
    while True:
        with suppress(psycopg.Error):
            return await stage.connect()
        await asyncio.sleep(0.2)


async def admin(stage: Stage, statement: LiteralString) -> None:
    """Run a statement on Postgres, again until it is done."""
    while True:
        with suppress(psycopg.Error):
            async with await connected(stage) as connection:
                await connection.execute(statement)
                return
        await asyncio.sleep(0.2)
