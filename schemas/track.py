"""One `track` event as a client sends it to us: the shape, before limits and identity rules.

Source: the seed's events table and its web client, which spells `ocurredAt` and adds `sessionId`.
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
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from schemas.exact_json import NotANumber, Number
from schemas.moment import in_utc

_WHOLE = re.compile(r"(-?\d+)(\.0+)?")


def _number_as_text(value: Any) -> Any:
    """Times may be JSON numbers."""
    if isinstance(value, Number) and not isinstance(value, NotANumber):
        return value.text
    return value


def _id_as_text(value: Any) -> Any:
    """Ids may be JSON numbers: `123` is the id "123", and so is `123.0`, from some encoders."""
    text = _number_as_text(value)
    if isinstance(value, Number) and isinstance(text, str) and (whole := _WHOLE.fullmatch(text)):
        return "0" if whole[1] == "-0" else whole[1]
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

Id = Annotated[str | None, BeforeValidator(_id_as_text), _TEXT_OR_NUMBER]

Moment = Annotated[
    datetime | None,
    AfterValidator(lambda moment: None if moment is None else in_utc(moment)),
    BeforeValidator(_number_as_text),
    _TEXT_OR_NUMBER,
]
"""ISO 8601, or a number since 1970: seconds up to 2e10 (the year 2603), milliseconds above."""


SentAt = Annotated[Moment, WrapValidator(_or_none), WithJsonSchema({})]
"""What cannot be read corrects nothing: the event has all that it needs without it."""


class Track(BaseModel):
    """What a client may say of one event. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    type: Annotated[str, StringConstraints(min_length=1)] = Field(
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
        description="When the client sent it, by the same clock as occurredAt: corrects a wrong "
        "clock.",
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
        description="Kept as event data, as the seed's web client sends it.",
    )
