"""The request that dialects parse. Query and JSON are parsed on demand."""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from merganser.http.errors import ErrorKind, HttpError
from schemas import exact_json


@dataclass(slots=True)  # frozen, it would cost twice as much
class Request:
    """A request with its whole body, decompressed."""

    body: bytes = b""
    parts: Sequence[str] = ()
    """The part of the path for each `*` of the route."""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    query_string: bytes = b""

    def query(self) -> dict[str, str]:
        """Return the parameters of the URL. The last one of a repeated parameter counts."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    def json(self) -> Any:
        """Return the JSON of the body. The content type does not matter.

        Raises:
            HttpError: MALFORMED, with the problem and its position.
        """
        return parse(self.body)

    def object(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            HttpError: MALFORMED.
        """
        body = self.json()
        if not isinstance(body, dict):
            raise HttpError(ErrorKind.MALFORMED, "the body must be a JSON object")
        return body


def parse(text: bytes) -> Any:
    """Return the JSON of a text.

    Bytes that are not UTF-8 become lone surrogates: only the event with such a string is refused,
    not the other events of the body.

    Raises:
        HttpError: MALFORMED, with the problem and its position.
    """
    try:
        return exact_json.loads(text.removeprefix(BOM_UTF8).decode(errors="surrogateescape"))
    except ValueError as error:
        raise HttpError(ErrorKind.MALFORMED, f"the body is not JSON in UTF-8: {error}") from None
