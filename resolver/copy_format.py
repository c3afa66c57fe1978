"""Encodes rows in the text format of Postgres' `COPY`, a block at a time.

Python code for each field is slow, so compiled code does the work. JSON escapes a text almost as
`COPY` does: `_escape` writes rows as JSON and replaces what separates fields and rows. Rows of
texts only are joined without escaping, which is faster, and few of them need more: if the block
then has exactly the tabs and newlines that separate fields and rows, and no backslash or carriage
return, no field needs escaping.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, repeat

import msgspec

from schemas.event import Event

_to_json_lines = msgspec.json.Encoder().encode_lines

_HEXADECIMAL = ((rb"\\", rb"\x5c"), (rb"\"", rb"\x22"), (rb"\u00", rb"\x"))
"""Escapes of JSON, and how COPY writes them. The first one goes first: it ends no other escape."""


def encode_events(events: Sequence[tuple[Event, str]]) -> bytes:
    """Return rows of the table `events`.

    Args:
        events: each with the guid of its profile.

    Returns:
        One line per event with the columns of the statement `copy_events`. A missing value is the
        empty string.
    """
    return _escape(
        [
            (
                event["guid"],
                event["producerGuid"] or "",
                event["ipAddress"] or "",
                profile,
                event["createdAt"],
                event["occurredAt"],
                event["type"],
                event["userId"] or "",
                event["anonymousId"] or "",
            )
            for event, profile in events
        ]
    )


def encode_event_data(events: Sequence[Event], guids: Iterator[str]) -> bytes:
    """Return rows of the table `eventData`.

    Args:
        events: with or without data.
        guids: new guids, one is taken for each row.

    Returns:
        One line per key with the columns of the statement `copy_event_data`.
    """
    data = [event["data"] for event in events]
    event_guids = map(repeat, (event["guid"] for event in events), map(len, data))
    # `guids` is the last one, as `zip` takes from those before the one that ends.
    columns = zip(
        chain.from_iterable(event_guids),
        chain.from_iterable(data),
        chain.from_iterable(map(dict.values, data)),
        guids,
        strict=False,
    )
    return _join(list(columns), fields=4)


def _join(rows: Sequence[tuple[str, ...]], fields: int) -> bytes:
    """Return the lines of rows that are likely to need no escaping.

    Args:
        rows: of texts.
        fields: number of fields in a row.
    """
    text = "\n".join(map("\t".join, rows)) + "\n"
    if (
        text.count("\n") == len(rows)
        and text.count("\t") == len(rows) * (fields - 1)
        and "\\" not in text
        and "\r" not in text
    ):
        return text.encode()
    return _escape(rows)


def _escape(rows: Sequence[tuple[str | datetime, ...]]) -> bytes:
    """Return the lines of any rows.

    JSON writes a newline in a text as an escape that COPY has, too. Once the quotes in texts are
    hexadecimal, each quote is around a text. Then a quote, a comma and a quote separate two fields.
    """
    if not rows:
        return b""
    lines = _to_json_lines(rows)[2:-3]
    if b"\\" in lines:
        for escape, hexadecimal in _HEXADECIMAL:
            lines = lines.replace(escape, hexadecimal)
    return lines.replace(b'"]\n["', b"\n").replace(b'","', b"\t") + b"\n"
