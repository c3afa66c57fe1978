"""Statements from `.sql` files: `-- name --`, a line or more of purpose, then the statement."""

import re
from importlib.resources import files

_HEAD = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load(package: str, file: str) -> dict[str, bytes]:
    """The statements of one file by name, as bytes, which psycopg takes as trusted SQL."""
    parts = _HEAD.split((files(package) / "sql" / file).read_text())
    return {
        name: text.strip().encode() for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }
