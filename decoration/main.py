"""Starts the decoration process."""

import asyncio
import os

import structlog

from decoration.worker import DecorationWorker
from merganser.http.ops_server import ops_server
from merganser.runtime import lifecycle, logs, metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import DecorationSettings
from schemas import migrations

log = structlog.get_logger(__name__)


async def _main(settings: DecorationSettings, stop: Stop) -> None:
    log.info("starting", interval=settings.decoration_interval)
    database = Database(settings.database_url.get_secret_value(), "decoration")
    worker = DecorationWorker(database, stop, os.environ)
    ops = ops_server(
        settings.ops_host,
        settings.decoration_metrics_port,
        metrics.DECORATION,
        {"postgres": lambda: database.failure},
    )
    serving = asyncio.create_task(ops.serve())
    try:
        await database.transact(migrations.check, stop)
        await worker.run(settings.decoration_interval)
    finally:
        await database.close()
        ops.should_exit = True
        await serving
        log.info("stopped")


def main() -> None:
    """Run the decoration process until a signal."""
    settings = DecorationSettings.read()
    logs.configure(settings, "decoration")
    lifecycle.run(lambda stop: _main(settings, stop))
