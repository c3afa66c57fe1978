"""The table of whole bodies, and the response of a gateway to each."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TRACK, BATCH, SEGMENT = "/api/v1/track", "/api/v1/batch", "/v1/batch"
MAX_BYTES = 1 << 20
"""Maximum size of a body, also after decompression."""

GOOD = b'{"type":"t","userId":"1","data":{"k":"\xc3\xa9"}}'
BOMB = gzip.compress(b" " * 50_000_000)


@dataclass(frozen=True)
class Body:
    """One row of the table."""

    name: str
    raw: bytes
    status: int
    code: str | None
    """None if the body is accepted."""
    path: str = TRACK
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _malformed() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "white space", b" \r\n\t"
    yield "a brace", b"{"
    yield "cut at its end", GOOD[:-1]
    yield "cut in a string", GOOD[:20]
    yield "an extra brace", GOOD + b"}"
    yield "two documents", GOOD + GOOD
    yield "an array", b"[" + GOOD + b"]"
    yield "null", b"null"
    yield "a string", b'"text"'
    yield "a number", b"1"
    yield "NaN", b"NaN"
    yield "500,000 deep", b"[" * 500_000 + b"]" * 500_000
    yield "100,000 deep without an end", b'{"a":' * 100_000
    yield "a form", b"type=t&userId=1"
    yield "a comma at the end", b'{"type":"t","userId":"1",}'
    yield "single quotes", b"{'type':'t','userId':'1'}"
    yield "a comment", GOOD + b"// no"
    yield "an unescaped tab in a string", b'{"type":"a\tb","userId":"1"}'
    yield "an unescaped newline in a string", b'{"type":"a\nb","userId":"1"}'
    yield "an unescaped NUL in a string", b'{"type":"a\0b","userId":"1"}'
    yield "NUL after the document", GOOD + b"\0"
    yield "two byte order marks", b"\xef\xbb\xbf" * 2 + GOOD
    yield "invalid UTF-8 outside of strings", b'{"type":"t",\xff"userId":"1"}'
    for charset in ("utf-16", "utf-16-be", "utf-32"):
        yield charset, GOOD.decode().encode(charset)
    compressed = gzip.compress(GOOD)
    yield "gzip without its last byte", compressed[:-1]
    yield "gzip cut in its header", compressed[:5]
    yield "gzip with bytes after its end", compressed + b"garbage"
    yield "the first bytes of gzip only", b"\x1f\x8b" + b"garbage" * 9
    yield "gzip with a wrong checksum", compressed[:-8] + b"\0" * 8
    yield "gzip in gzip", gzip.compress(compressed)
    yield "a gzip bomb in gzip", gzip.compress(BOMB)
    yield "100,000 gzip members", gzip.compress(b"") * 50_000


def _too_large() -> Iterator[Body]:
    def body(name: str, raw: bytes, path: str = TRACK) -> Body:
        return Body(name, raw, 413, "too_large", path)

    yield body("a byte over 1 MiB", GOOD.ljust(MAX_BYTES + 1))
    yield body("a byte over 1 MiB, compressed", gzip.compress(GOOD.ljust(MAX_BYTES + 1)))
    yield body("a gzip bomb", BOMB)
    yield body("a gzip bomb of many members", gzip.compress(b" " * 100_000) * 90)
    yield body("1,001 events", b'{"events":[%s0]}' % (b"0," * 1000), BATCH)
    yield body("400,001 events", b'{"events":[%s0]}' % (b"0," * 400_000), BATCH)
    yield body("1,001 events of Segment's", b'{"batch":[%s0]}' % (b"0," * 1000), SEGMENT)


def _accepted() -> Iterator[Body]:
    def body(name: str, raw: bytes, path: str = TRACK, **headers: str) -> Body:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Body(name, raw, 200, None, path, named)

    yield body("a byte under 1 MiB", GOOD.ljust(MAX_BYTES - 1))
    yield body("1 MiB", GOOD.ljust(MAX_BYTES))
    yield body("1 MiB, compressed", gzip.compress(GOOD.ljust(MAX_BYTES)))
    yield body("a byte order mark", b"\xef\xbb\xbf" + GOOD)
    yield body("gzip in members", b"".join(gzip.compress(GOOD[n : n + 9]) for n in range(0, 99, 9)))
    yield body("gzip after an empty member", gzip.compress(b"") + gzip.compress(GOOD))
    yield body("gzip under the header identity", gzip.compress(GOOD), content_encoding="identity")
    yield body("plain bytes under the header gzip", GOOD, content_encoding="gzip")
    for kind in (
        *("application/json", "application/json; charset=utf-8", "text/plain", "text/plain;x"),
        *("application/x-www-form-urlencoded", "application/octet-stream", "nonsense", ""),
        *("application/json; charset=utf-16", "multipart/form-data; boundary=x"),
    ):
        yield body(f"the content type {kind!r}", GOOD, content_type=kind)
    thousand = json.dumps({"events": [json.loads(GOOD)] * 1000}, ensure_ascii=False).encode()
    yield body("1,000 events", thousand, BATCH)
    yield body("no events", b'{"events":[]}', BATCH)


BODIES = [
    *(Body(name, raw, 400, "malformed") for name, raw in _malformed()),
    *(
        Body(f"{raw.decode()} to {path}", raw, 422, "invalid", path)
        for raw in (b"{}", b'{"events":null,"batch":null}', b'{"events":{},"batch":{}}')
        for path in (BATCH, SEGMENT)
    ),
    Body("100,000 deep in an unknown field", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 422,
         "invalid"),
    *_too_large(),
    *_accepted(),
]  # fmt: skip
