"""Starts the read API's process."""

import structlog

from api import app
from merganser.http.authentication import ApiKeys
from merganser.http.server import create_server
from merganser.process import Process, run_process
from merganser.queries.pool import Pool
from merganser.runtime import metrics
from merganser.runtime.settings import ApiSettings

log = structlog.get_logger(__name__)


async def _run(settings: ApiSettings, process: Process) -> None:
    log.info("starting", port=settings.api_port)
    database = process.open_database("api keys")
    keys = ApiKeys(database, settings.api_keys_interval, process.stop, "?apiKey=KEY")
    metrics.API_KEYS_AGE.set_function(keys.age)
    pool = Pool(
        "api",
        metrics.POOL_WAIT_SECONDS,
        settings.database_url.get_secret_value(),
        settings.api_connections,
        settings.api_statement_timeout,
    )
    process.close_at_exit(pool.close)
    await pool.open()
    http = create_server(
        app.create_app(pool, keys, settings.api_scan, settings.nobody_ids),
        settings.api_host,
        settings.api_port,
        proxy_headers=False,
        timeout_graceful_shutdown=7,
    )
    process.checks |= {
        "http": lambda: None if http.started else "not listening yet",
        # The API reads the keys every few seconds.
        "postgres": lambda: database.failure,
    }
    await process.check_schema()
    await keys.load()
    await process.serve_until_stopped(http, keys.run())


def main() -> None:
    """Run the read API until a signal."""
    settings = ApiSettings.read()
    run_process(
        "api",
        settings,
        settings.api_metrics_port,
        metrics.API,
        lambda process: _run(settings, process),
    )
