"""Ids that mean nobody (design §4).

Clients send these when they have no id: an unset variable, a default, a stringified object. Taken
as ids they would put thousands of strangers on one profile.
"""

import string

NOBODY = frozenset(
    {
        "",
        "null",
        "undefined",
        "none",
        "nil",
        "0",
        "anonymous",
        "guest",
        "00000000-0000-0000-0000-000000000000",
        "[object object]",
    }
)
"""The default list, in lower case: comparison ignores ASCII's case and surrounding white space."""


WHITE_SPACE = string.whitespace
"""What is cut off before comparing. The SQL that asks the same question is given it, too."""

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def folded(raw: str) -> str:
    """An id as it is compared with the list: as Postgres does it on columns of collation "C"."""
    bare = raw.strip(WHITE_SPACE)
    return bare.lower() if bare.isascii() else bare.translate(_LOWER)


def somebody(raw: str | None, nobody: frozenset[str]) -> str | None:
    """The id as it came, or None if it is missing or means nobody."""
    if raw is None or folded(raw) in nobody:
        return None
    return raw
