"""Starts the decoration process."""

import os

import structlog

from decoration.worker import DecorationWorker
from merganser.process import Process, run_process
from merganser.runtime import metrics
from merganser.runtime.settings import DecorationSettings

log = structlog.get_logger(__name__)


async def _run(settings: DecorationSettings, process: Process) -> None:
    log.info("starting", interval=settings.decoration_interval)
    database = process.open_database("decoration")
    process.checks["postgres"] = lambda: database.failure
    await process.check_schema()
    await DecorationWorker(database, process.stop, os.environ).run(settings.decoration_interval)


def main() -> None:
    """Run the decoration process until a signal."""
    settings = DecorationSettings.read()
    run_process(
        "decoration",
        settings,
        settings.decoration_metrics_port,
        metrics.DECORATION,
        lambda process: _run(settings, process),
    )
