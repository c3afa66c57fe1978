"""Load `.sql` files: each statement follows a line `-- name --` and lines that say its purpose."""

import re
from collections.abc import Iterable
from importlib.resources import files

_HEAD = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load(package: str, file: str) -> dict[str, bytes]:
    """Return a file's statements by name, as bytes, which psycopg's types accept as trusted SQL."""
    parts = _HEAD.split((files(package) / "sql" / file).read_text())
    return {
        name: text.strip().encode() for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


_NULL, _NEXT = "\ud800", "\x00"
"""Markers for NULL and the next item: Postgres' texts cannot contain either character."""


def texts(items: Iterable[str | None]) -> str:
    """Return the value of a parameter `%(name)s::text[]`.

    psycopg's own arrays take 1.9 us for a guid, as they check each character in Python; this 0.1.

    Args:
        items: texts that Postgres can store, and None for NULL.

    Raises:
        ValueError: a text contains a NUL character.
    """
    parts = [_NULL if item is None else item for item in items]
    if not parts:
        return "{}"
    joined = _NEXT.join(parts)
    if joined.count(_NEXT) >= len(parts):
        raise ValueError("Postgres cannot store NUL characters")
    quoted = joined.replace("\\", "\\\\").replace('"', '\\"').replace(_NEXT, '","')
    return f'{{"{quoted}"}}'.replace(f'"{_NULL}"', "NULL")
