"""Bodies: limits of size, detection of gzip, JSON."""

import gzip
import zlib

import pytest

from ingest import body
from ingest.request import parse
from merganser.http.errors import ErrorKind, HttpError
from schemas.exact_json import as_text

MAX_BYTES = 10_000


def parse_refused(raw: bytes) -> HttpError:
    with pytest.raises(HttpError) as caught:
        parse(body.unpack(raw, MAX_BYTES))
    return caught.value


def test_plain_and_gzip_bodies_are_read() -> None:
    plain = b'{"a": 1.50}'
    for raw in (plain, gzip.compress(plain), b"\xef\xbb\xbf" + plain):
        assert as_text(parse(body.unpack(raw, MAX_BYTES)), 1) == '{"a":1.50}'


def test_gzip_can_have_several_members() -> None:
    raw = gzip.compress(b'{"a": ') + gzip.compress(b"[]}")
    assert parse(body.unpack(raw, MAX_BYTES)) == {"a": []}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(gzip.compress(b"{}")[:-1], id="a byte short"),
        pytest.param(gzip.compress(b"{}")[:5], id="cut in its header"),
        pytest.param(gzip.compress(b"{}") + b"rest", id="bytes after the end"),
        pytest.param(b"\x1f\x8b" + b"garbage" * 5, id="magic and garbage"),
        pytest.param(gzip.compress(b"{}")[:-8] + b"\0" * 8, id="wrong checksum"),
        pytest.param(gzip.compress(b"no json"), id="not JSON inside"),
        pytest.param(gzip.compress(b"") * 300 + gzip.compress(b"{}"), id="no end of members"),
        pytest.param(zlib.compress(b"{}"), id="zlib"),
    ],
)
def test_broken_gzip_is_malformed(raw: bytes) -> None:
    assert parse_refused(raw).kind is ErrorKind.MALFORMED


def test_a_gzip_bomb_is_too_large() -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    assert parse_refused(bomb).kind is ErrorKind.TOO_LARGE
    many = gzip.compress(b" " * (MAX_BYTES // 2)) * 3
    assert parse_refused(many).kind is ErrorKind.TOO_LARGE


def test_unpacked_bytes_up_to_the_limit_are_read() -> None:
    assert parse(body.unpack(gzip.compress(b" " * (MAX_BYTES - 2) + b"[]"), MAX_BYTES)) == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b'{"a": 1', "JSON"),
        (b"apiKey=k&type=t", "JSON"),
        (b'{"a": \xff}', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b"[" * 5000, "nested too deeply, without an end"),
    ],
)
def test_a_body_that_is_not_json_is_malformed(raw: bytes, message: str) -> None:
    refusal = parse_refused(raw)
    assert refusal.kind is ErrorKind.MALFORMED
    assert message in refusal.message
