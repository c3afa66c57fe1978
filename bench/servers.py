"""Real servers with their durability as it comes, and databases that come and go."""

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from schemas import migrations
from stack import Servers, local_servers


@contextmanager
def running(*, kafka: bool) -> Iterator[Servers]:
    """Postgres, and Kafka if asked for, for the length of a `with` block."""
    with (
        tempfile.TemporaryDirectory() as home,
        local_servers(Path(home), kafka=kafka) as servers,
    ):
        yield servers


@contextmanager
def database(servers: Servers) -> Iterator[str]:
    """The URL of a migrated, empty database, gone at the end of the `with` block."""
    name = f"bench_{uuid.uuid4().hex}"
    url = make_conninfo(servers.database_url, dbname=name)
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            asyncio.run(migrations.migrate(url))
            yield url
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            admin.execute("CHECKPOINT")  # what one round wrote is not the next one's to flush
