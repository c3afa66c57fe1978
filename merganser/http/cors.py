"""CORS: on every answer, errors too, for a browser client must be able to read what went wrong."""

from collections.abc import Mapping

Headers = list[tuple[bytes, bytes]]


def answer(headers: Mapping[bytes, bytes], exposed: bytes, *, credentials: bool) -> Headers:
    """What an answer needs besides.

    Args:
        headers: the request's.
        exposed: names of headers of the answer that a page's script may read.
        credentials: whether pages of any origin may have the browser send what it remembers of a
            user, such as a Basic login, and read the answer.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        *([(b"access-control-allow-credentials", b"true")] if credentials else []),
        (b"access-control-expose-headers", exposed),
        (b"vary", b"Origin"),
    ]


def preflight(headers: Mapping[bytes, bytes], methods: bytes, allowed: bytes) -> Headers:
    """What the answer to OPTIONS needs besides: `allowed` headers where the request names none."""
    return [
        (b"access-control-allow-methods", methods),
        (
            b"access-control-allow-headers",
            headers.get(b"access-control-request-headers", allowed),
        ),
        (b"access-control-max-age", b"86400"),
    ]
