"""JSON read so that nothing is lost: a number stays the text it was written as.

`19.990`, `1e400` and `9007199254740993` come out of a parser that makes floats as something else.
Event data is stored as strings (design §3), so a number never needs to become one. What only one
event of a batch got wrong (a lone surrogate, `NaN`) is let through here as a value that this
event's validation then refuses: a bad event must not cost its neighbours.
"""

import json
from typing import Any


class Number:
    """A JSON number as the sender wrote it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class NotANumber(Number):
    """`NaN`, `Infinity` or `-Infinity`: no JSON, though many encoders write it."""


class Unfit(ValueError):
    """A value that cannot be event data."""


_decoder = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=NotANumber, strict=True
)


def loads(text: str) -> Any:
    """Python values of a JSON text, numbers as `Number`; of a repeated key the last one counts.

    Raises:
        ValueError: not JSON; the message says what and where.
    """
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def as_text(value: Any, depth: int) -> str:
    """A value as event data keeps it: strings as they are, all else as compact JSON (design §3).

    Args:
        value: what `loads` gave, but not None, which leaves the data row out.
        depth: levels of nesting allowed; a scalar is level 0.

    Raises:
        Unfit: nested deeper than `depth`, or `NaN` or an infinity.
    """
    return value if isinstance(value, str) else _write(value, depth)


def _write(value: Any, depth: int) -> str:
    if isinstance(value, Number):
        if isinstance(value, NotANumber):
            raise Unfit(f"{value.text} is not a JSON number")
        return value.text
    if isinstance(value, dict | list) and depth == 0:
        raise Unfit("nested too deeply")
    if isinstance(value, dict):
        members = (f"{_write(key, 0)}:{_write(v, depth - 1)}" for key, v in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(item, depth - 1) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
