"""Starts the properties process."""

import structlog

from merganser.process import Process, run_process
from merganser.runtime import metrics
from merganser.runtime.settings import PropertiesSettings
from properties import loop

log = structlog.get_logger(__name__)


async def _run(settings: PropertiesSettings, process: Process) -> None:
    log.info("starting", interval=settings.properties_interval)
    database = process.open_database("properties")
    process.checks["postgres"] = lambda: database.failure
    await process.check_schema()
    await loop.run(database, settings, process.stop)


def main() -> None:
    """Run the properties process until a signal."""
    settings = PropertiesSettings.read()
    run_process(
        "properties",
        settings,
        settings.properties_metrics_port,
        metrics.PROPERTIES,
        lambda process: _run(settings, process),
    )
