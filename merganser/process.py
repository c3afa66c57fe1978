"""How every process starts, serves `/metrics` and stops.

A process' `main.py` calls `run_process` with a coroutine that connects the process' parts and
then runs its loops until `Process.stop` is set:

1. The ops server starts first, so that a process that still waits for Postgres or Kafka is alive
   and says what it waits for.
2. `Process.check_schema` waits for Postgres and checks the version of the tables.
3. The loops run until SIGTERM or SIGINT sets `Process.stop`, then they finish the work at hand.
   A process that takes longer than `lifecycle.FINISH_SECONDS` exits anyway.
4. What was opened closes in reverse order. The ops server stops last.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from merganser.http.ops_server import Check, create_ops_server
from merganser.http.server import Server
from merganser.runtime import lifecycle, logs
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import Settings
from merganser.workers.worker import Worker
from schemas import migrations

log = structlog.get_logger(__name__)


class Process:
    """What the parts of one process share.

    Attributes:
        stop: set when the process has to stop.
        checks: `/readyz` answers 503 while one of them returns a reason. Set them before the
            first `await`; they may change later.
        warnings: `/readyz` shows their reasons, but answers 200.
        worker: which worker of a supervisor the process is, if there is one.
    """

    def __init__(self, settings: Settings, stop: Stop, worker: Worker | None) -> None:
        self.stop = stop
        self.worker = worker
        self.checks: dict[str, Check] = {"schema": self._describe_schema}
        self.warnings: dict[str, Check] = {}
        self._database_url = settings.database_url.get_secret_value()
        self._databases: list[Database] = []
        self._schema_checked = False
        self._exits = AsyncExitStack()

    def open_database(self, name: str) -> Database:
        """Return a connection to Postgres that closes when the process stops.

        Args:
            name: what Postgres shows as the application, after "merganser".
        """
        database = Database(self._database_url, name)
        self._databases.append(database)
        self.close_at_exit(database.close)
        return database

    def close_at_exit(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` when the process stops, before what was registered earlier."""
        self._exits.push_async_callback(close)

    async def check_schema(self) -> None:
        """Wait for Postgres on each connection, and check the version of the tables.

        Raises:
            SchemaError: this version does not work with the tables.
            StoppedWhileWaiting: the process has to stop and Postgres is away.
        """
        for database in self._databases:
            await database.transact(migrations.check, self.stop)
        self._schema_checked = True

    def _describe_schema(self) -> str | None:
        """Return that the schema is not checked, unless Postgres is the reason."""
        if self._schema_checked or any(database.failure for database in self._databases):
            return None
        return "not checked yet"

    async def serve_until_stopped(
        self, server: Server, *background: Coroutine[Any, Any, None]
    ) -> None:
        """Serve HTTP until the process has to stop, then finish the requests at hand.

        Args:
            server: of HTTP.
            background: work that runs until the last request has its response.
        """
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in background]
            await self._serve(server)
            for task in running:
                task.cancel()

    async def _serve(self, server: Server) -> None:
        sockets = self.worker.shared_sockets() if self.worker else None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets))
            await self.stop.wait()
            await server.has_started.wait()  # a supervisor's sockets may have clients already
            await server.shut_down()

    async def close(self) -> None:
        """Close what was opened, in reverse order."""
        await self._exits.aclose()


def run_process(
    name: str,
    settings: Settings,
    metrics_port: int,
    registry: CollectorRegistry,
    main: Callable[[Process], Awaitable[None]],
) -> None:
    """Run a process until SIGTERM or SIGINT; a second signal quits at once.

    Args:
        name: of the process, in each line of the log.
        settings: of the process.
        metrics_port: port of `/metrics`, `/healthz` and `/readyz`.
        registry: the metrics of the process.
        main: connects the parts and runs the loops; returns when they have stopped.
    """
    worker = Worker.from_environment()
    logs.configure(settings, name, worker.name if worker else None)

    async def run(stop: Stop) -> None:
        if worker:
            worker.follow_supervisor(stop)
        process = Process(settings, stop, worker)
        ops = create_ops_server(
            settings.ops_host, metrics_port, registry, process.checks, process.warnings
        )
        serving = asyncio.create_task(ops.serve(worker.ops_sockets() if worker else None))
        try:
            await main(process)
        finally:
            await process.close()
            ops.should_exit = True
            await serving
            log.info("stopped")

    lifecycle.run(run)
