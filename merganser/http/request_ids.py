"""Request ids: the client's X-Request-Id, or a new one. Response and log have the same id."""

import os
import re
from collections.abc import Mapping

HEADER = b"x-request-id"

_SAFE_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
"""Ids that are safe in a header and in a log. A new id replaces any other."""


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the id of the request with these headers."""
    client_id = headers.get(HEADER)
    if client_id is not None and _SAFE_ID.fullmatch(client_id):
        return client_id
    return os.urandom(16).hex().encode()
