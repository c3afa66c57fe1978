"""Encodes rows in the text format of Postgres' `COPY`, a block at a time.

Escaping each field is slow in Python, and few blocks need it. So a block is first joined with tabs
and newlines. If it then has exactly the tabs and newlines that separate fields and rows, and no
backslash or carriage return, no field needs escaping. Otherwise the block is joined again with a
NUL between fields and a lone surrogate between rows, which no event can contain (`schemas.event`),
escaped as a whole, and only then the separators become tabs and newlines.
"""

from collections.abc import Callable, Iterator, Sequence

from schemas.event import Event

_FIELD_SEPARATOR, _ROW_SEPARATOR = "\x00", "\ud800"


def encode_events(events: Sequence[tuple[Event, str]]) -> bytes:
    """Return rows of the table `events`.

    Args:
        events: each with the guid of its profile.

    Returns:
        One line per event with the columns of the statement `copy_events`. A missing value is the
        empty string.
    """

    def make_rows(tab: str) -> list[str]:
        return [
            f"{event['guid']}{tab}{event['producerGuid'] or ''}{tab}{event['ipAddress'] or ''}{tab}"
            f"{profile}{tab}{event['createdAt'].isoformat()}{tab}"
            f"{event['occurredAt'].isoformat()}{tab}{event['type']}{tab}"
            f"{event['userId'] or ''}{tab}{event['anonymousId'] or ''}"
            for event, profile in events
        ]

    return _encode_block(make_rows, fields=9)


def encode_event_data(events: Sequence[Event], guids: Iterator[str]) -> bytes:
    """Return rows of the table `eventData`.

    Args:
        events: with or without data.
        guids: new guids, one is taken for each row.

    Returns:
        One line per key with the columns of the statement `copy_event_data`.
    """

    def make_rows(tab: str) -> list[str]:
        return [
            f"{next(guids)}{event_column}{key}{tab}{value}"
            for event in events
            for event_column in (f"{tab}{event['guid']}{tab}",)
            for key, value in event["data"].items()
        ]

    return _encode_block(make_rows, fields=4)


def _encode_block(make_rows: Callable[[str], list[str]], fields: int) -> bytes:
    """Return the encoded rows.

    Args:
        make_rows: joins the fields of each row with the given separator.
        fields: number of fields in a row.
    """
    rows = make_rows("\t")
    if not rows:
        return b""
    text = "\n".join(rows) + "\n"
    if (
        text.count("\n") == len(rows)
        and text.count("\t") == len(rows) * (fields - 1)
        and "\\" not in text
        and "\r" not in text
    ):
        return text.encode()
    return _escape(_ROW_SEPARATOR.join(make_rows(_FIELD_SEPARATOR)))


def _escape(text: str) -> bytes:
    escaped = (
        text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    )
    separated = escaped.replace(_FIELD_SEPARATOR, "\t").replace(_ROW_SEPARATOR, "\n")
    return (separated + "\n").encode()
