"""How values look on pages. What clients sent is text, also where it looks like markup."""

import codecs
import json
import re
from datetime import UTC, datetime

from markupsafe import Markup

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
"""Control characters, marks of direction and other characters that are invisible."""

_GUID_START, _GUID_END = 12, 6
_FULL_GUID = _GUID_START + _GUID_END + 4


def show_hidden(text: object) -> str:
    """Return a text with the code point of each character that is invisible or turns the text."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))


def shorten_guid(guid: str) -> str:
    """Return the start and the end of a guid, enough to tell two of one page apart."""
    text = show_hidden(guid)
    return text if len(text) <= _FULL_GUID else f"{text[:_GUID_START]}…{text[-_GUID_END:]}"


def shorten(text: object, length: int) -> str:
    """Return the start of a text."""
    visible = show_hidden(text)
    return visible if len(visible) <= length else f"{visible[: length - 1]}…"


def show_bytes(data: bytes, length: int) -> str:
    """Return the start of bytes as text, or of their hexadecimal form if they are not UTF-8."""
    start = data[:length]
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(start, final=len(data) <= length)
    except UnicodeDecodeError:
        return start[: length // 64].hex(" ")


def escape_hidden(text: str) -> str:
    """Return a text of JSON with escapes in place of the characters that `show_hidden` shows."""
    return _HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def format_time(time: datetime | None, *, exact: bool = False) -> Markup:
    """Return a `time` element in UTC; the script of the console shows the viewer's zone instead.

    Args:
        time: to show; None if there is none.
        exact: with milliseconds.
    """
    if time is None:
        return Markup('<span class="none">—</span>')
    utc = time.astimezone(UTC)
    text = utc.isoformat(" ", "milliseconds" if exact else "seconds").removesuffix("+00:00")
    return Markup(
        '<time datetime="{iso}" title="{full} UTC"{exact}>{text}<i> UTC</i></time>'
    ).format(
        iso=utc.isoformat(timespec="microseconds"),
        full=f"{utc:%Y-%m-%d %H:%M:%S.%f}",
        exact=Markup(" data-exact") if exact else "",
        text=text,
    )


def format_number(number: float) -> str:
    """Return a number with separators of thousands."""
    return f"{number:,}"


def format_decimal(number: float) -> str:
    """Return a number with its decimals, if it has any, and separators of thousands."""
    return f"{number:,.10g}"


def format_ago(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
