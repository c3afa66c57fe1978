"""Structured logs: JSON for machines, readable on a terminal. Without keys and events."""

import logging
import sys
import types

import structlog

from merganser.runtime.safe_tracebacks import without_values
from merganser.runtime.settings import Settings

log = structlog.get_logger(__name__)

LIBRARY_LEVELS = {
    "aiokafka": "WARNING",
    "uvicorn": "WARNING",
    "psycopg": "ERROR",
    "psycopg.pool": "WARNING",  # why it cannot connect
}


def configure(settings: Settings, process: str, worker: str | None = None) -> None:
    """Send all logs, libraries' too, to standard error in one format.

    Args:
        settings: level and format.
        process: in each line.
        worker: in each line, if the process is one of several workers.
    """
    pretty = settings.log_format == "pretty" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(without_values),
                *render,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    # At lower levels these libraries log each retry and what they send, passwords included.
    for library, level in LIBRARY_LEVELS.items():
        logging.getLogger(library).setLevel(level)
    structlog.contextvars.bind_contextvars(process=process)
    if worker:
        structlog.contextvars.bind_contextvars(worker=worker)
    sys.excepthook = _log_fatal


def _log_fatal(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """Log the error that ends the process; Python itself would print values in its message."""
    log.critical("ended by an error", exc_info=(kind, error, trace))
