"""Rows in Postgres' COPY text format, escaped a batch at a time.

While a block is put together, NUL stands between fields and a lone surrogate between rows: neither
can be in an event (`schemas.event`), so the format's own characters can be escaped in the whole
block at once, at the speed of C, before the stand-ins give way to tab and newline.
"""

from collections.abc import Iterable, Iterator

from schemas.event import Event

_FIELD, _ROW = "\x00", "\ud800"


def events(batch: Iterable[tuple[Event, str]]) -> bytes:
    """Rows of `events`, in the columns of `copy_events`; a missing value is the empty string."""
    return _block(
        f"{event['guid']}\x00{event['producerGuid'] or ''}\x00{event['ipAddress'] or ''}\x00"
        f"{profile}\x00{event['createdAt']}\x00{event['occurredAt']}\x00"
        f"{event['type']}\x00{event['userId'] or ''}\x00{event['anonymousId'] or ''}"
        for event, profile in batch
    )


def data(batch: Iterable[Event], guids: Iterator[str]) -> bytes:
    """Rows of `eventData`, in the columns of `copy_data`."""
    return _block(
        f"{next(guids)}\x00{event['guid']}\x00{key}\x00{value}"
        for event in batch
        for key, value in event["data"].items()
    )


def _block(rows: Iterable[str]) -> bytes:
    text = _ROW.join(rows)
    if not text:
        return b""
    escaped = (
        text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    )
    return (escaped.replace(_FIELD, "\t").replace(_ROW, "\n") + "\n").encode()
