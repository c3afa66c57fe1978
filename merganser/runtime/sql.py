"""Statements from `.sql` files: `-- name --`, a line or more of purpose, then the statement."""

import re
from collections.abc import Iterable
from importlib.resources import files

_HEAD = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load(package: str, file: str) -> dict[str, bytes]:
    """The statements of one file by name, as bytes, which psycopg takes as trusted SQL."""
    parts = _HEAD.split((files(package) / "sql" / file).read_text())
    return {
        name: text.strip().encode() for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


_NULL, _NEXT = "\ud800", "\x00"
"""Neither can be in a text of Postgres, so they may stand for what cannot be in an array's text."""


def texts(items: Iterable[str | None]) -> str:
    """The value of a parameter `%(name)s::text[]`.

    psycopg's own arrays look at each character in Python: 1.9 us for a guid, this 0.1.

    Args:
        items: texts that Postgres can store, and None for NULL.

    Raises:
        ValueError: a text has a NUL.
    """
    parts = [_NULL if item is None else item for item in items]
    if not parts:
        return "{}"
    joined = _NEXT.join(parts)
    if joined.count(_NEXT) >= len(parts):
        raise ValueError("Postgres stores no NUL")
    quoted = joined.replace("\\", "\\\\").replace('"', '\\"').replace(_NEXT, '","')
    return f'{{"{quoted}"}}'.replace(f'"{_NULL}"', "NULL")
