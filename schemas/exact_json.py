"""JSON read so that nothing is lost: a number stays the text it was written as.

`19.990`, `1e400` and `9007199254740993` come out of a parser that makes floats as something else.
Event data is stored as strings, so a number never needs to become one. What only one
event of a batch got wrong (a lone surrogate, `NaN`) is let through here as a value that this
event's validation then refuses: a bad event must not affect others.
"""

import json
import re
from typing import Any

DEEPEST = 100
"""Levels of nesting that event data may be allowed at most: what reads it back is recursive."""

_CUT = 2 * DEEPEST
"""Levels read of what is nested too deeply for the parser: more than data and what is around it."""


class Number:
    """A JSON number as the sender wrote it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class NotANumber(Number):
    """`NaN`, `Infinity` or `-Infinity`: no JSON, though many encoders write it."""


_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]+|[\]}]+', re.DOTALL)
"""What matters for nesting: strings, which may hold brackets, and runs of brackets. A string that
never ends is one too, and nothing is tried twice: time stays linear whatever the text."""


class UnstorableValue(ValueError):
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
        return _decoder.decode(_shallow(text))


def _shallow(text: str) -> str:
    """The text without what lies deeper than any data may: one event's nesting is its own fault.

    What is left is still deeper than is allowed, so that the event is refused for it.

    Raises:
        ValueError: the nesting never ends.
    """
    kept, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        run = token[0]
        if run[0] in "[{":
            if depth <= _CUT < depth + len(run):
                kept.append(text[start : token.start() + _CUT - depth])
            depth += len(run)
        elif run[0] in "]}":
            if depth - len(run) <= _CUT < depth:
                kept.append("[]")
                start = token.start() + depth - _CUT
            depth -= len(run)
    if depth > _CUT:
        raise ValueError("nested too deeply, without an end")
    kept.append(text[start:])
    return "".join(kept)


def as_text(value: Any, depth: int) -> str:
    """A value as event data keeps it: strings as they are, all else as compact JSON.

    Args:
        value: what `loads` gave, but not None, which leaves the data row out.
        depth: levels of nesting allowed; a scalar is level 0.

    Raises:
        UnstorableValue: nested deeper than `depth`, or `NaN` or an infinity.
    """
    return value if isinstance(value, str) else _write(value, depth)


def _write(value: Any, depth: int) -> str:
    if isinstance(value, Number):
        if isinstance(value, NotANumber):
            raise UnstorableValue(f"{value.text} is not a JSON number")
        return value.text
    if isinstance(value, dict | list) and depth == 0:
        raise UnstorableValue("nested too deeply")
    if isinstance(value, dict):
        members = (f"{_write(key, 0)}:{_write(v, depth - 1)}" for key, v in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(item, depth - 1) for item in value) + "]"
    if type(value) is int:  # usual in data, and `json.dumps` takes ten times as long
        return str(value)
    return json.dumps(value, ensure_ascii=False)
