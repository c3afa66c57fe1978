"""The scanner process."""

import asyncio

import structlog

from merganser.http.ops_server import create_ops_server
from merganser.runtime import lifecycle, logs, metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import ScannerSettings
from scanner.loops import Chunks, Rows
from schemas import migrations

log = structlog.get_logger(__name__)


async def _main(settings: ScannerSettings, stop: Stop) -> None:
    log.info("starting", interval=settings.scanner_interval)
    url = settings.database_url.get_secret_value()
    scanning, moving = Database(url, "scanner"), Database(url, "scanner moves")
    ops = create_ops_server(
        settings.ops_host,
        settings.scanner_metrics_port,
        metrics.SCANNER,
        {"postgres": lambda: scanning.failure or moving.failure},
    )
    serving = asyncio.create_task(ops.serve())
    try:
        await scanning.transact(migrations.check, stop)
        async with asyncio.TaskGroup() as loops:
            loops.create_task(Rows(scanning, settings, stop).run())
            loops.create_task(Chunks(moving, settings, stop).run())
    finally:
        await scanning.close()
        await moving.close()
        ops.should_exit = True
        await serving
        log.info("stopped")


def main() -> None:
    """Run the scanner until a signal."""
    settings = ScannerSettings.read()
    logs.configure(settings, "scanner")
    lifecycle.run(lambda stop: _main(settings, stop))
