"""Real servers with default durability, and temporary databases."""

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from dev.stack import Servers, local_servers
from dev.stack.kafka import Kafka
from dev.stack.postgres import Postgres
from schemas import migrations


@contextmanager
def running(*, kafka: bool) -> Iterator[Servers]:
    """Run Postgres, and Kafka if requested, for the length of a `with` block."""
    with (
        tempfile.TemporaryDirectory() as home,
        local_servers(Path(home), kafka=kafka) as servers,
    ):
        yield servers


@contextmanager
def database(servers: Servers) -> Iterator[str]:
    """Create a migrated, empty database for the length of a `with` block and yield its URL."""
    name = f"bench_{uuid.uuid4().hex}"
    url = make_conninfo(servers.database_url, dbname=name)
    _execute(servers, f"CREATE DATABASE {name}")
    try:
        asyncio.run(migrations.migrate(url))
        yield url
    finally:
        # Without a checkpoint, the next round flushes the writes of this one.
        _execute(servers, f"DROP DATABASE {name} WITH (FORCE)", "CHECKPOINT")


def postgres(servers: Servers) -> psutil.Process:
    """Return the Postgres server's process, whose children do the work."""
    return _process(servers.postgres)


def broker(servers: Servers) -> psutil.Process:
    """Return the Kafka broker's process."""
    return _process(servers.kafka)


def _process(server: Kafka | Postgres | None) -> psutil.Process:
    if server is None or server.pid is None:
        raise ValueError("this server was not started")
    return psutil.Process(server.pid)


def keep_commit_times(servers: Servers) -> None:
    """Make Postgres record the time of each commit from now on; this restarts it."""
    _restart_with(servers, "ALTER SYSTEM SET track_commit_timestamp = on")


@contextmanager
def bulk_loading(servers: Servers) -> Iterator[None]:
    """Let transactions fill tables that they have truncated without WAL; restart Postgres twice."""
    _restart_with(
        servers, "ALTER SYSTEM SET wal_level = minimal", "ALTER SYSTEM SET max_wal_senders = 0"
    )
    yield
    _restart_with(servers, "CHECKPOINT", "ALTER SYSTEM RESET ALL")


def _restart_with(servers: Servers, *statements: str) -> None:
    _execute(servers, *statements)
    if servers.postgres is not None:
        servers.postgres.stop()
        servers.postgres.start()


def _execute(servers: Servers, *statements: str) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement.encode())
