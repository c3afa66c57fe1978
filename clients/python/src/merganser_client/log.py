"""The logger of the client."""

import logging

log = logging.getLogger("merganser")

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def enable_debug_logging() -> None:
    """Set the logger to DEBUG; add a handler on stderr unless it or the root logger has one."""
    log.setLevel(logging.DEBUG)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        log.addHandler(handler)
