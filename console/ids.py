"""Checks ids of requests: Postgres refuses NUL, and a longer text cannot be an id."""

from starlette.requests import Request

from merganser.http.errors import ErrorKind, HttpError
from merganser.queries.parameters import MAX_GUID_LENGTH, MAX_ID_LENGTH


def can_be_id(text: str) -> bool:
    """Return whether a text has the form of an id: at most `MAX_ID_LENGTH` characters, no NUL."""
    return "\0" not in text and len(text) <= MAX_ID_LENGTH


def read_guid(request: Request, what: str) -> str:
    """Return the guid in the path.

    Args:
        request: its route has `{guid}`.
        what: the guid is of, such as `an event`.

    Raises:
        HttpError: NOT_FOUND, it cannot be a guid.
    """
    guid: str = request.path_params["guid"]
    if "\0" in guid or len(guid) > MAX_GUID_LENGTH:
        raise HttpError(ErrorKind.NOT_FOUND, f"this is not the guid of {what}")
    return guid
