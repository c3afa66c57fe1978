"""Reads the fields of a form that a page sent by POST."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from merganser.http.errors import ErrorKind, HttpError

MAX_FIELDS = 50


async def read_form(request: Request, max_bytes: int = 8 << 10) -> dict[str, str]:
    """Return the fields by name.

    Raises:
        HttpError: MALFORMED; TOO_LARGE.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise HttpError(ErrorKind.TOO_LARGE, f"the form has more than {max_bytes:,} bytes")
    invalid = HttpError(ErrorKind.MALFORMED, "the form is not valid: try again")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:  # not ASCII, not UTF-8 once decoded, or too many fields
        raise invalid from None
    fields = dict(pairs)
    if any("\0" in value for value in fields.values()):  # which Postgres refuses
        raise invalid
    return fields
