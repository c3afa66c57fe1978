"""Map validation errors to HTTP errors."""

from typing import Any

from merganser.http.errors import ErrorKind, HttpError
from schemas.event import InvalidEvent
from schemas.validation import (
    EventLimits,
    EventTooLarge,
    ServerFields,
    ValidEvent,
    validate_event,
)


def validate(raw: Any, limits: EventLimits, server_fields: ServerFields) -> ValidEvent:
    """Validate one event and encode its record.

    Raises:
        HttpError: INVALID, with each invalid field and the reason; TOO_LARGE.
    """
    try:
        return validate_event(raw, limits, server_fields)
    except InvalidEvent as error:
        raise HttpError(ErrorKind.INVALID, str(error), error.fields) from None
    except EventTooLarge as error:
        raise HttpError(ErrorKind.TOO_LARGE, str(error)) from None
