"""Origins: the web pages that may use a publishable key.

An origin is scheme, host and port of a page, as browsers send them in the header Origin
(https://html.spec.whatwg.org/multipage/browsers.html#origin).
"""

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

MAX_ORIGIN_LENGTH = 300
"""Characters. A longer one is not allowed, so that a request cannot make the comparison slow."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HOST = re.compile(
    r"(\*\.(?=[^.]+\.[^.]))?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*"
)


def normalize_origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without a default port or a slash.

    The host may start with `*.`, which matches one or more labels of a domain name.

    Raises:
        ValueError: the message says what is wrong and how to write it.
    """
    text = text.strip()
    if not _SCHEME.match(text):
        raise ValueError(
            f"{text!r} is not an origin: write scheme and host, such as https://shop.example"
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not an origin: {error}") from None
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            f"{text!r} is not an origin: leave out everything but scheme, host and port"
        )
    if len(text) > MAX_ORIGIN_LENGTH or not _HOST.fullmatch(host):
        raise ValueError(
            f"{text!r} is not an origin: write a host as browsers send it (in ASCII, xn--...), "
            "or a wildcard before a domain, such as https://*.shop.example"
        )
    named_port = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{named_port}"


def request_origin(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the origin of the page that sent a request, or None if no page did.

    A browser sends no Origin with a GET for an image, but by default the page's origin as Referer.
    """
    if (origin := headers.get(b"origin")) is not None:
        return origin.decode("latin-1").lower()
    if referer := headers.get(b"referer"):
        scheme, _, rest = referer.decode("latin-1").lower().partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"
    return None


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Return whether a page's origin is one of the allowed ones, which `normalize_origin` wrote."""
    if origin in allowed:
        return True
    if len(origin) > MAX_ORIGIN_LENGTH:
        return False
    scheme, _, host = origin.partition("://")
    while "." in host:
        host = host.partition(".")[2]
        if f"{scheme}://*.{host}" in allowed:
            return True
    return False
