"""The read API's process."""

import asyncio

import structlog

from api import app
from api.database import Pool
from merganser.http.authentication import Keys
from merganser.http.ops_server import ops_server, server
from merganser.runtime import lifecycle, logs, metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import ApiSettings
from schemas import migrations

log = structlog.get_logger(__name__)


async def _main(settings: ApiSettings, stop: Stop) -> None:
    log.info("starting", port=settings.api_port)
    url = settings.database_url.get_secret_value()
    database = Database(url, "api keys")
    known_keys = Keys(database, settings.api_keys_interval, stop, "?apiKey=KEY")
    metrics.API_KEYS_AGE.set_function(known_keys.age)
    pool = Pool(url, settings.api_connections, settings.api_statement_timeout)
    await pool.open()
    http = server(
        app.create(pool, known_keys, settings.api_scan),
        settings.api_host,
        settings.api_port,
        proxy_headers=False,
        timeout_graceful_shutdown=7,
    )
    ops = ops_server(
        settings.ops_host,
        settings.api_metrics_port,
        metrics.API,
        {
            "http": lambda: None if http.started else "not listening yet",
            # The keys are read every few seconds.
            "postgres": lambda: database.failure,
        },
    )
    async with asyncio.TaskGroup() as tasks:
        serving_ops = tasks.create_task(ops.serve())
        try:
            await database.transact(migrations.check, stop)
            await known_keys.load()
            renewing = tasks.create_task(known_keys.run())
            serving = tasks.create_task(http.serve())
            await stop.wait()
            # Requests being served are answered first.
            await http.leave()
            await serving
            renewing.cancel()
        finally:
            ops.should_exit = True
            await serving_ops
            await pool.close()
            await database.close()
    log.info("stopped")


def main() -> None:
    """Run the read API until a signal."""
    settings = ApiSettings.read()
    logs.configure(settings, "api")
    lifecycle.run(lambda stop: _main(settings, stop))
