"""CORS headers. Every response has them, so that a browser client can read errors too."""

from collections.abc import Mapping

from merganser.http.asgi import Headers

_PREFLIGHT_SECONDS = b"86400"
"""How long a browser may remember the response to OPTIONS."""


def response_headers(
    request_headers: Mapping[bytes, bytes], exposed: bytes, *, credentials: bool
) -> Headers:
    """Return the CORS headers of any response.

    Args:
        request_headers: without an Origin, no CORS headers are needed.
        exposed: names of response headers that a page's script may read.
        credentials: whether a browser may send what it stores for this host, such as a Basic login,
            from pages of any origin.
    """
    origin = request_headers.get(b"origin")
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        *([(b"access-control-allow-credentials", b"true")] if credentials else []),
        (b"access-control-expose-headers", exposed),
        (b"vary", b"Origin"),
    ]


def preflight_headers(
    request_headers: Mapping[bytes, bytes], methods: bytes, allowed: bytes
) -> Headers:
    """Return the headers that only the response to OPTIONS has.

    Args:
        request_headers: all headers that the browser asks for are allowed.
        methods: allowed methods.
        allowed: allowed headers, where the browser does not say which it will send.
    """
    requested = request_headers.get(b"access-control-request-headers", allowed)
    return [
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", requested),
        (b"access-control-max-age", _PREFLIGHT_SECONDS),
    ]
