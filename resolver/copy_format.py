"""Rows in Postgres' COPY text format, put together and escaped a batch at a time.

Most blocks hold none of the characters that the format keeps for itself: no more tabs and newlines
than stand between their fields and rows, which counting tells at the speed of C. Any other is put
together once more, with NUL between fields and a lone surrogate between rows: neither can be in an
event (`schemas.event`), so the whole block can be escaped at once before they give way to tab and
newline.
"""

from collections.abc import Callable, Iterator, Sequence

from schemas.event import Event

_FIELD, _ROW = "\x00", "\ud800"


def events(batch: Sequence[tuple[Event, str]]) -> bytes:
    """Rows of `events`, in the columns of `copy_events`; a missing value is the empty string."""

    def rows(tab: str) -> list[str]:
        return [
            f"{event['guid']}{tab}{event['producerGuid'] or ''}{tab}{event['ipAddress'] or ''}{tab}"
            f"{profile}{tab}{event['createdAt'].isoformat()}{tab}"
            f"{event['occurredAt'].isoformat()}{tab}{event['type']}{tab}"
            f"{event['userId'] or ''}{tab}{event['anonymousId'] or ''}"
            for event, profile in batch
        ]

    return _block(rows, fields=9)


def data(batch: Sequence[Event], guids: Iterator[str]) -> bytes:
    """Rows of `eventData`, in the columns of `copy_data`."""

    def rows(tab: str) -> list[str]:
        return [
            f"{next(guids)}{owner}{key}{tab}{value}"
            for event in batch
            for owner in (f"{tab}{event['guid']}{tab}",)
            for key, value in event["data"].items()
        ]

    return _block(rows, fields=4)


def _block(rows: Callable[[str], list[str]], fields: int) -> bytes:
    """The bytes of what `rows` makes, given what is to stand between two fields."""
    lines = rows("\t")
    if not lines:
        return b""
    text = "\n".join(lines) + "\n"
    if (
        text.count("\n") == len(lines)
        and text.count("\t") == len(lines) * (fields - 1)
        and "\\" not in text
        and "\r" not in text
    ):
        return text.encode()
    return _escaped(_ROW.join(rows(_FIELD)))


def _escaped(text: str) -> bytes:
    escaped = (
        text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    )
    return (escaped.replace(_FIELD, "\t").replace(_ROW, "\n") + "\n").encode()
