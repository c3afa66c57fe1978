"""Static files: read at the first request, and sent as gzip to clients that accept it."""

import gzip
from collections.abc import Sequence
from functools import cached_property
from importlib.resources.abc import Traversable

from merganser.http.asgi import Headers

_CACHED = [
    # Browsers have a new version within an hour.
    (b"cache-control", b"public, max-age=3600"),
    (b"vary", b"accept-encoding"),
]


class StaticFile:
    """A file, kept in memory in the forms that clients have asked for.

    Args:
        path: of the file; if it ends in `.gz`, the file is its compressed form.
        media_type: of the uncompressed file.
        headers: of the response, besides those for caches.
    """

    def __init__(
        self, path: Traversable, media_type: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        self.media_type = media_type
        self._path = path
        self._headers = [*headers, *_CACHED]

    @cached_property
    def _plain(self) -> bytes:
        content = self._path.read_bytes()
        return gzip.decompress(content) if self._is_packed else content

    @cached_property
    def _packed(self) -> bytes:
        content = self._path.read_bytes()
        return content if self._is_packed else gzip.compress(content, mtime=0)

    @property
    def _is_packed(self) -> bool:
        return self._path.name.endswith(".gz")

    def encode(self, accept_encoding: bytes) -> tuple[bytes, Headers]:
        """Return the content and the headers of a response, for a request's Accept-Encoding."""
        if b"gzip" in accept_encoding:
            return self._packed, [*self._headers, (b"content-encoding", b"gzip")]
        return self._plain, self._headers
