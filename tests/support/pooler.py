"""Debian's PgBouncer before a database, in transaction mode: a session belongs to no client."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dev.stack import postgres
from dev.stack.ports import free_port
from tests.support.waiting import eventually

SESSIONS = 3
"""Fewer than the clients, so that they do share them."""

_ROOTS_STAND_IN = "nobody"
"""PgBouncer refuses to run as root."""


@asynccontextmanager
async def before(database_url: str, place: Path) -> AsyncIterator[str]:
    """Run a pooler before a database; yields the database's URL by way of it.

    Args:
        database_url: of the database.
        place: an empty folder for its configuration and log.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer, such as Debian's package pgbouncer")
    port = free_port(set())
    file = place / "pgbouncer.ini"
    file.write_text(_configuration(database_url, port))
    user = ["-u", _ROOTS_STAND_IN] if os.geteuid() == 0 else []
    url = make_conninfo(database_url, host="127.0.0.1", port=port)
    with (place / "pgbouncer.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            program, *user, str(file), stdout=log, stderr=log
        )
    try:
        await eventually(lambda: process.returncode is not None or postgres.answers(url))
        assert process.returncode is None, (place / "pgbouncer.log").read_text()
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _configuration(database_url: str, port: int) -> str:
    """As PgBouncer's own example, but for what makes it a pooler of transactions."""
    there = conninfo_to_dict(database_url)
    names = ("host", "port", "user", "password")
    target = " ".join(f"{name}={there[name]}" for name in names if there.get(name))
    return f"""
[databases]
* = {target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {SESSIONS}
"""
