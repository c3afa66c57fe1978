"""The id of a request: the client's X-Request-Id or one of ours, in the answer and in the log."""

import os
import re
from collections.abc import Mapping

HEADER = b"x-request-id"

_FIT = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
"""What may stand in a header and in a log; another id than this is replaced by one of ours."""


def of(headers: Mapping[bytes, bytes]) -> bytes:
    """The id of the request with these headers."""
    theirs = headers.get(HEADER)
    if theirs is not None and _FIT.fullmatch(theirs):
        return theirs
    return os.urandom(16).hex().encode()
