"""One `track` event as a client sends it to us: the shape, before limits and identity rules.

Source: the events table and the web client of the Grouparoo event system; the client spells
`ocurredAt` and adds `sessionId`.
"""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticKnownError

from schemas.exact_json import NotANumber, Number
from schemas.moment import in_utc

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?")
"""Sign, digits before and after the point, sign and digits of the exponent."""

MOST_DIGITS = 100
"""Of an id that is a number with an exponent: `1e999999999` is not written out."""

_LONGEST_EXPONENT = 9
"""Digits. The digits of a body can never compensate an exponent with more digits than this."""


def _number_as_text(value: Any) -> Any:
    """Times may be JSON numbers."""
    if isinstance(value, Number) and not isinstance(value, NotANumber):
        return value.text
    return value


def _id_as_text(value: Any) -> Any:
    """Ids may be JSON numbers. An integer is the same id however it is written.

    `123` is the id "123", and so are `123.0` and `1.23e2`, which some encoders write for it. Any
    other number stays as it is written.
    """
    if isinstance(value, Number) and not isinstance(value, NotANumber):
        return _integer(value.text) or value.text
    return value


def _integer(text: str) -> str | None:
    """The digits of a JSON number that is an integer; None if it is not one.

    Raises:
        ValueError: it has an exponent and more than MOST_DIGITS digits.
    """
    number = _NUMBER.fullmatch(text)
    if number is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = number.groups("")
    digits = (whole + fraction).rstrip("0")
    if not digits.strip("0"):
        return "0"
    if not exponent:
        return f"{sign}{whole}" if len(digits) <= len(whole) else None
    if len(exponent) > _LONGEST_EXPONENT:
        exponent = "9" * _LONGEST_EXPONENT
    # The number is 0.digits, with the point moved by so many places.
    point = len(whole) + int(exponent_sign + exponent)
    if len(digits) > point:
        return None
    if point - len(digits) + len(digits.lstrip("0")) > MOST_DIGITS:
        raise ValueError(f"is a number of more than {MOST_DIGITS} digits: send it as a string")
    return sign + digits.ljust(point, "0").lstrip("0")


def _check_not_empty(text: str) -> str:
    if not text:
        raise PydanticKnownError("string_too_short", {"min_length": 1})
    return text


def _no_data(value: Any) -> Any:
    return {} if value is None else value


def _or_none(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


_TEXT_OR_NUMBER = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}
)

_NotEmpty = Annotated[
    str, AfterValidator(_check_not_empty), WithJsonSchema({"type": "string", "minLength": 1})
]
"""pydantic's own constraint would refuse a lone surrogate, with another message than other fields.
"""

Id = Annotated[str | None, BeforeValidator(_id_as_text), _TEXT_OR_NUMBER]

Moment = Annotated[
    datetime | None,
    AfterValidator(lambda moment: None if moment is None else in_utc(moment)),
    BeforeValidator(_number_as_text),
    _TEXT_OR_NUMBER,
]
"""ISO 8601, or a number since 1970: seconds up to 2e10 (the year 2603), milliseconds above."""


SentAt = Annotated[Moment, WrapValidator(_or_none), WithJsonSchema({})]
"""A time that cannot be read is ignored, because the event is complete without it."""


class Track(BaseModel):
    """An event as a client sends it. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    type: _NotEmpty = Field(
        description="The named type of the event: pageview, item-added-to-cart, purchase, ...",
    )
    user_id: Id = Field(
        None,
        validation_alias="userId",
        description="Your own id of the user. Takes precedence over anonymousId.",
    )
    anonymous_id: Id = Field(
        None,
        validation_alias="anonymousId",
        description="The client's id of the visitor. Required unless userId is present.",
    )
    occurred_at: Moment = Field(
        None,
        validation_alias=AliasChoices("occurredAt", "ocurredAt", "timestamp"),
        description="When it happened: ISO 8601 or epoch seconds or milliseconds.",
    )
    sent_at: SentAt = Field(
        None,
        validation_alias="sentAt",
        description="When the client sent it, by the same clock as occurredAt: corrects a clock "
        "that is up to 30 days wrong.",
    )
    message_id: Annotated[str | None, BeforeValidator(_number_as_text), _TEXT_OR_NUMBER] = Field(
        None,
        validation_alias="messageId",
        description="The client's id of the event: sent again, it is the same event.",
    )
    data: Annotated[
        dict[str, Any],
        BeforeValidator(_no_data),
        WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]}),
    ] = Field(
        default_factory=dict,
        description="Properties of the event. Values are stored as strings.",
    )
    session_id: Id = Field(
        None,
        validation_alias="sessionId",
        description="Kept as event data, as Grouparoo's web client sends it.",
    )
