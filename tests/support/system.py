"""The system of one test: its database, its topics, and the processes that it starts."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from typer.testing import CliRunner

from dev.stack.home import Home
from dev.stack.ports import free_port
from merganser.cli.main import app
from tests.support.database import Database
from tests.support.gateway import Gateway
from tests.support.service import Service
from tests.support.topics import Topic, Topics
from tests.support.waiting import equals, eventually

Kind = Literal["resolver", "scanner", "properties", "decoration", "api", "console", "serve"]

WARNINGS = 30
"""Lines of warnings to show of each process, which may be far from the end of the log."""

AnyService = TypeVar("AnyService", bound=Service)


class System:
    """Starts processes on a test's own database and topics; `close` ends them all."""

    def __init__(self, home: Home, env: dict[str, str], database: Database, topics: Topics) -> None:
        self.env = env
        """Settings of all processes, as environment variables."""
        self.database = database
        self.topics = topics
        self.services: list[Service] = []
        self._home = home
        self._key: str | None = None

    @property
    def events(self) -> Topic:
        """The topic of accepted events."""
        return self.topics.events

    @property
    def dead(self) -> Topic:
        """The topic of dead letters."""
        return self.topics.dead

    @property
    def refused(self) -> Topic:
        """The topic of refused events."""
        return self.topics.refused

    async def consumed(self) -> None:
        """Wait until the resolver has processed every record that the topic has now."""
        ends = await self.events.ends()
        positions = 'SELECT partition, "nextOffset" FROM "consumerOffsets"'

        async def read_offsets() -> dict[int, int]:
            return dict(await self.database.rows(positions))

        await eventually(read_offsets, equals(ends))

    async def key(self, name: str = "tests", *permissions: str) -> str:
        """Create an API key as an operator does, and return its secret."""
        arguments = [f"--permission={permission}" for permission in permissions]
        return (await self.cli("keys", "create", name, *arguments)).strip()

    async def cli(self, *arguments: str) -> str:
        """Run a command of `merganser` on this system and return its standard output."""
        return await asyncio.to_thread(run_cli, self.env, arguments)

    async def ingest(self, **settings: object) -> Gateway:
        """Start a gateway and wait until it is ready."""
        return await self._started(await self.new_ingest(**settings))

    async def resolver(self, **settings: object) -> Service:
        """Start a resolver and wait until it is ready."""
        return await self._started(self.new("resolver", **settings))

    async def scanner(self, **settings: object) -> Service:
        """Start a scanner and wait until it is ready."""
        return await self._started(self.new("scanner", **settings))

    async def properties(self, **settings: object) -> Service:
        """Start a properties process and wait until it is ready."""
        return await self._started(self.new("properties", **settings))

    async def decoration(self, **settings: object) -> Service:
        """Start a decoration process and wait until it is ready."""
        return await self._started(self.new("decoration", **settings))

    async def api(self, **settings: object) -> tuple[Service, str]:
        """Start a read API and wait until it is ready; return it and its URL."""
        port = free_port()
        service = await self._started(self.new("api", api_port=port, **settings))
        return service, f"http://127.0.0.1:{port}/api/v1"

    async def console(self, **settings: object) -> tuple[Service, str]:
        """Start a console and wait until it is ready; return it and its URL."""
        port = free_port()
        service = await self._started(self.new("console", console_port=port, **settings))
        return service, f"http://127.0.0.1:{port}"

    async def new_ingest(self, **settings: object) -> Gateway:
        """Return a gateway that is not started yet."""
        if self._key is None:
            self._key = await self.key()
        gateway = Gateway(
            self._home,
            self._name("ingest"),
            self._with(settings),
            (free_port(), free_port()),
            self._key,
        )
        self.services.append(gateway)
        return gateway

    def new(self, kind: Kind, **settings: object) -> Service:
        """Return a process, other than a gateway, that is not started yet.

        Args:
            kind: which process.
            settings: such as `resolver_batch=10` for MERGANSER_RESOLVER_BATCH=10.
        """
        service = Service(self._home, self._name(kind), kind, self._with(settings), free_port())
        self.services.append(service)
        return service

    def close(self) -> None:
        """Kill all processes and print the ends of their logs, which pytest shows on failure."""
        for service in self.services:
            service.close()
            print(f"{service.name}: {service.log_tail()}")  # noqa: T201
            print("\n".join(["Warnings:", *service.warnings[-WARNINGS:]]))  # noqa: T201

    async def _started(self, service: AnyService) -> AnyService:
        service.start()
        await service.ready()
        return service

    def _name(self, kind: str) -> str:
        return f"{kind}-{sum(service.kind == kind for service in self.services) + 1}"

    def _with(self, settings: dict[str, object]) -> dict[str, str]:
        own = {f"MERGANSER_{name.upper()}": str(value) for name, value in settings.items()}
        return {**self.env, **own}


@contextmanager
def opened_system(
    place: Path, env: dict[str, str], database: Database, topics: Topics
) -> Iterator[System]:
    """Yield a system for the length of a `with` block; its logs are below `place`."""
    home = Home(place / "home")
    with home.owned():
        system = System(home, env, database, topics)
        try:
            yield system
        finally:
            system.close()


def settings_env(kafka_bootstrap: str, database_url: str, topics: Topics) -> dict[str, str]:
    """Return settings of a test's processes: its servers and topics, and short intervals."""
    return {
        "MERGANSER_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "MERGANSER_DATABASE_URL": database_url,
        "MERGANSER_TOPIC": topics.events.name,
        "MERGANSER_DEAD_TOPIC": topics.dead.name,
        "MERGANSER_REFUSED_TOPIC": topics.refused.name,
        "MERGANSER_CONSUMER_GROUP": f"group-{topics.suffix}",
        "MERGANSER_SCANNER_INTERVAL": "0.2",
        "MERGANSER_INGEST_KEYS_INTERVAL": "0.5",
        "MERGANSER_LOG_FORMAT": "json",
    }


def run_cli(env: dict[str, str], arguments: Sequence[str]) -> str:
    """Run a command of `merganser` in this process and return its standard output."""
    result = CliRunner().invoke(app, list(arguments), env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
