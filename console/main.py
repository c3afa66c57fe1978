"""Starts the console's process."""

import structlog

from console import app
from console.access import Access
from console.background import Background
from console.feed import Feed
from console.monitor import Monitor
from console.proxy_users import ProxyUsers
from console.sessions import Lifetime
from merganser.admin.export import READER_SECONDS
from merganser.http.authentication import ApiKeys
from merganser.http.server import ConnectionLimits, create_server
from merganser.process import Process, run_process
from merganser.queries.pool import Pool
from merganser.runtime import metrics
from merganser.runtime.settings import ConsoleSettings, ResolverSettings

log = structlog.get_logger(__name__)


async def _run(
    settings: ConsoleSettings, topic_settings: ResolverSettings, process: Process
) -> None:
    log.info("starting", port=settings.console_port)
    database = process.open_database("console keys")
    keys = ApiKeys(database, settings.console_keys_interval, process.stop, "it at /login")
    metrics.CONSOLE_KEYS_AGE.set_function(keys.age)
    pool = Pool(
        "console",
        metrics.CONSOLE_POOL_WAIT_SECONDS,
        settings.database_url.get_secret_value(),
        settings.console_connections,
        settings.console_statement_timeout,
    )
    process.close_at_exit(pool.close)
    await pool.open()
    access = Access(
        pool,
        keys,
        Lifetime(settings.console_idle_timeout, settings.console_session_timeout),
        None if settings.console_url is None else str(settings.console_url),
        ProxyUsers.from_settings(settings),
    )
    monitor = Monitor(pool, topic_settings, process.stop)
    feed = Feed(pool, topic_settings, process.stop)
    console = app.create_app(
        pool,
        keys,
        access,
        settings.console_scan,
        monitor,
        topic_settings,
        Background(process.stop),
        feed,
    )
    http = create_server(
        console,
        settings.console_host,
        settings.console_port,
        ConnectionLimits(request_seconds=READER_SECONDS),  # an export may take long
        proxy_headers=False,
        timeout_graceful_shutdown=7,
    )
    process.checks |= {
        "http": lambda: None if http.started else "not listening yet",
        # The console reads the keys every few seconds.
        "postgres": lambda: database.failure,
    }
    await process.check_schema()
    await keys.load()
    await process.serve_until_stopped(http, keys.run(), monitor.run(), feed.run())


def main() -> None:
    """Run the console until a signal."""
    settings, topic_settings = ConsoleSettings.read(), ResolverSettings.read()
    run_process(
        "console",
        settings,
        settings.console_metrics_port,
        metrics.CONSOLE,
        lambda process: _run(settings, topic_settings, process),
    )
