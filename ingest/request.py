"""A request as dialects see it: what may be needed of it, read when it is asked for."""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from merganser.http.errors import ErrorKind, HttpError
from schemas import exact_json


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, its body read and unpacked."""

    body: bytes = b""
    parts: Sequence[str] = ()
    """What each `*` of the route's path stands for."""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    query_string: bytes = b""

    def query(self) -> dict[str, str]:
        """The parameters of the URL; of a repeated one the last counts."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    def json(self) -> Any:
        """The JSON of the body, whatever content type it came under.

        Raises:
            HttpError: MALFORMED says what and where.
        """
        return parse(self.body)

    def object(self) -> dict[str, Any]:
        """The JSON object that the body is.

        Raises:
            HttpError: MALFORMED.
        """
        body = self.json()
        if not isinstance(body, dict):
            raise HttpError(ErrorKind.MALFORMED, "the body must be a JSON object")
        return body


def parse(text: bytes) -> Any:
    """JSON that a client sent.

    Bytes that are not UTF-8 become lone surrogates: where they are in a string of one event, it is
    refused for them, and the other events are not.

    Raises:
        HttpError: MALFORMED says what and where.
    """
    try:
        return exact_json.loads(text.removeprefix(BOM_UTF8).decode(errors="surrogateescape"))
    except ValueError as error:
        raise HttpError(ErrorKind.MALFORMED, f"the body is not JSON in UTF-8: {error}") from None
