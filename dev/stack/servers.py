"""Kafka and Postgres without Merganser's processes, for tests; they end with their caller."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.stack import ports
from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.kafka import Kafka
from dev.stack.postgres import Postgres


@dataclass(frozen=True)
class Servers:
    """The running servers; the property of one that was not requested raises StackError."""

    kafka: Kafka | None
    postgres: Postgres | None

    @property
    def kafka_bootstrap(self) -> str:
        """The broker's `host:port`."""
        if self.kafka is None:
            raise StackError("These servers were started without Kafka.")
        return self.kafka.bootstrap

    @property
    def database_url(self) -> str:
        """The URL of an empty database."""
        if self.postgres is None:
            raise StackError("These servers were started without Postgres.")
        return self.postgres.url


@contextmanager
def local_servers(
    home: Path,
    *,
    kafka: bool = True,
    postgres: bool = True,
    unsafe_fast: bool = False,
    locale: str | None = None,
) -> Iterator[Servers]:
    """Run a broker and a database for the length of a `with` block, on free ports.

    Their data and logs stay in `home`. With `unsafe_fast`, for tests, Postgres does not wait for
    the disk and Kafka is `short_lived`. `locale` is the database's, one of the operating system's.
    Raises StackError if a server does not start or `home` is in use.
    """
    stack_home = Home(home.absolute())
    names = ["kafka", "kafka-controller", "postgres"]
    with (
        stack_home.owned(),
        ports.claimed(names, stack_home.ports, usual={}) as chosen,
        ThreadPoolExecutor() as pool,
    ):
        broker = (
            Kafka(stack_home, chosen["kafka"], chosen["kafka-controller"], short_lived=unsafe_fast)
            if kafka
            else None
        )
        database = (
            Postgres(stack_home, chosen["postgres"], unsafe_fast=unsafe_fast, locale=locale)
            if postgres
            else None
        )
        wanted = [server for server in (broker, database) if server]
        try:
            list(pool.map(lambda server: server.start(), wanted))
            yield Servers(broker, database)
        finally:
            list(pool.map(lambda server: server.stop(), wanted))
