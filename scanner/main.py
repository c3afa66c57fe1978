"""Starts the scanner process."""

import asyncio

import structlog

from merganser.process import Process, run_process
from merganser.runtime import metrics
from merganser.runtime.settings import ScannerSettings
from scanner.loops import ChunkLoop, RowLoop

log = structlog.get_logger(__name__)


async def _run(settings: ScannerSettings, process: Process) -> None:
    log.info("starting", interval=settings.scanner_interval)
    rows_database = process.open_database("scanner")
    chunks_database = process.open_database("scanner moves")
    process.checks["postgres"] = lambda: rows_database.failure or chunks_database.failure
    await process.check_schema()
    async with asyncio.TaskGroup() as loops:
        loops.create_task(RowLoop(rows_database, settings, process.stop).run())
        loops.create_task(ChunkLoop(chunks_database, settings, process.stop).run())


def main() -> None:
    """Run the scanner until a signal."""
    settings = ScannerSettings.read()
    run_process(
        "scanner",
        settings,
        settings.scanner_metrics_port,
        metrics.SCANNER,
        lambda process: _run(settings, process),
    )
