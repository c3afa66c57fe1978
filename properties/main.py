"""Starts the properties process."""

import asyncio

import structlog

from merganser.http.ops_server import ops_server
from merganser.runtime import lifecycle, logs, metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import PropertiesSettings
from properties import loop
from schemas import migrations

log = structlog.get_logger(__name__)


async def _main(settings: PropertiesSettings, stop: Stop) -> None:
    log.info("starting", interval=settings.properties_interval)
    database = Database(settings.database_url.get_secret_value(), "properties")
    ops = ops_server(
        settings.ops_host,
        settings.properties_metrics_port,
        metrics.PROPERTIES,
        {"postgres": lambda: database.failure},
    )
    serving = asyncio.create_task(ops.serve())
    try:
        await database.transact(migrations.check, stop)
        await loop.run(database, settings, stop)
    finally:
        await database.close()
        ops.should_exit = True
        await serving
        log.info("stopped")


def main() -> None:
    """Run the properties process until a signal."""
    settings = PropertiesSettings.read()
    logs.configure(settings, "properties")
    lifecycle.run(lambda stop: _main(settings, stop))
