"""Ids that mean nobody.

Clients send these when they have no id: an unset variable, a default, a stringified object. Taken
as ids they would put thousands of strangers on one profile.
"""

import string

NOBODY = frozenset(
    {
        "",
        "null",
        "(null)",
        "undefined",
        "none",
        "nil",
        "nan",
        "0",
        "-1",
        "true",
        "false",
        "unknown",
        "n/a",
        "anonymous",
        "guest",
        "00000000-0000-0000-0000-000000000000",
        "00000000000000000000000000000000",
        "[object object]",
        "{}",
    }
)
"""Ids that always mean nobody, in lower case: comparison ignores ASCII's case, and white space
around. MERGANSER_NOBODY_IDS names more."""


def _characters(*ranges: str) -> str:
    """The characters of ranges, each written as its first and its last one."""
    bounds = ((ord(both[0]), ord(both[1])) for both in ranges)
    return "".join(chr(code) for first, last in bounds for code in range(first, last + 1))


WHITE_SPACE = _characters(
    "\t\r",  # tab, newline, vertical tab, form feed, carriage return
    "\x1c\x20",  # ASCII's separators, space
    "\x85\x85",  # next line
    "\xa0\xa0",  # no-break space
    "\xad\xad",  # soft hyphen
    "\u061c\u061c",  # arabic mark of direction
    "\u1680\u1680",  # ogham space mark
    "\u180e\u180e",  # mongolian vowel separator
    "\u2000\u200f",  # spaces of all widths, zero-width ones, marks of direction
    "\u2028\u202f",  # line and paragraph separator, marks of direction, narrow no-break space
    "\u205f\u2064",  # mathematical space, word joiner, invisible operators
    "\u2066\u206f",  # marks of direction and shape
    "\u3000\u3000",  # ideographic space
    "\ufeff\ufeff",  # zero-width no-break space, the byte order mark
)
"""What is cut off before comparing: all of Unicode's white space, and what has no width. The SQL
that asks the same question is given it, too."""

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def folded(raw: str) -> str:
    """An id as it is compared with the list: as Postgres does it on columns of collation "C"."""
    bare = raw.strip(WHITE_SPACE)
    return bare.lower() if bare.isascii() else bare.translate(_LOWER)


def somebody(raw: str | None, nobody: frozenset[str]) -> str | None:
    """Return the id unchanged, or None if it is missing or means nobody."""
    if raw is None or folded(raw) in nobody:
        return None
    return raw
