"""PgBouncer in transaction mode in front of a database: transactions share its sessions."""

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
"""Sessions with Postgres: fewer than clients, so that clients share them."""

_UNPRIVILEGED_USER = "nobody"
"""Runs PgBouncer if the tests run as root, because PgBouncer refuses to."""


@asynccontextmanager
async def run(database_url: str, folder: Path) -> AsyncIterator[str]:
    """Run a pooler in front of a database; yield the URL that leads through the pooler.

    Args:
        database_url: of the database.
        folder: an empty folder for its configuration and log.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer, such as Debian's package pgbouncer")
    port = free_port()
    file = folder / "pgbouncer.ini"
    file.write_text(_configuration(database_url, port))
    user = ["-u", _UNPRIVILEGED_USER] if os.geteuid() == 0 else []
    url = make_conninfo(database_url, host="127.0.0.1", port=port)
    with (folder / "pgbouncer.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            program, *user, str(file), stdout=log, stderr=log
        )
    try:
        await eventually(lambda: process.returncode is not None or postgres.answers(url))
        assert process.returncode is None, (folder / "pgbouncer.log").read_text()
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _configuration(database_url: str, port: int) -> str:
    """Return PgBouncer's example configuration with transaction mode."""
    parts = conninfo_to_dict(database_url)
    names = ("host", "port", "user", "password")
    target = " ".join(f"{name}={parts[name]}" for name in names if parts.get(name))
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
