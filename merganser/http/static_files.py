"""Static files: read once, and sent as gzip to clients that accept it."""

import gzip
from collections.abc import Sequence
from importlib.resources.abc import Traversable

from merganser.http.asgi import Headers

_CACHED = [
    # Browsers have a new version within an hour.
    (b"cache-control", b"public, max-age=3600"),
    (b"vary", b"accept-encoding"),
]


class StaticFile:
    """A file, kept in memory plain and compressed.

    Args:
        path: of the file; if it ends in `.gz`, the file is its compressed form.
        media_type: of the uncompressed file.
        headers: of the response, besides those for caches.
    """

    def __init__(
        self, path: Traversable, media_type: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        content = path.read_bytes()
        packed = path.name.endswith(".gz")
        self.media_type = media_type
        self._plain = gzip.decompress(content) if packed else content
        self._packed = content if packed else gzip.compress(content, mtime=0)
        self._headers = [*headers, *_CACHED]

    def encode(self, accept_encoding: bytes) -> tuple[bytes, Headers]:
        """Return the content and the headers of a response, for a request's Accept-Encoding."""
        if b"gzip" in accept_encoding:
            return self._packed, [*self._headers, (b"content-encoding", b"gzip")]
        return self._plain, self._headers
