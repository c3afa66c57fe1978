"""Bodies: bounds of size and time, gzip by its magic, JSON."""

import gzip
import zlib

import pytest

from ingest import body
from ingest.request import parse
from merganser.http.errors import ErrorKind, HttpError
from schemas.exact_json import as_text

MOST = 10_000


def refused(raw: bytes) -> HttpError:
    with pytest.raises(HttpError) as caught:
        parse(body.unpack(raw, MOST))
    return caught.value


def test_plain_and_gzip_read_alike() -> None:
    plain = b'{"a": 1.50}'
    for raw in (plain, gzip.compress(plain), b"\xef\xbb\xbf" + plain):
        assert as_text(parse(body.unpack(raw, MOST)), 1) == '{"a":1.50}'


def test_gzip_in_several_members() -> None:
    raw = gzip.compress(b'{"a": ') + gzip.compress(b"[]}")
    assert parse(body.unpack(raw, MOST)) == {"a": []}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(gzip.compress(b"{}")[:-1], id="a byte short"),
        pytest.param(gzip.compress(b"{}")[:5], id="cut in its header"),
        pytest.param(gzip.compress(b"{}") + b"rest", id="something after it"),
        pytest.param(b"\x1f\x8b" + b"garbage" * 5, id="magic and garbage"),
        pytest.param(gzip.compress(b"{}")[:-8] + b"\0" * 8, id="wrong checksum"),
        pytest.param(gzip.compress(b"no json"), id="no JSON within"),
        pytest.param(gzip.compress(b"") * 300 + gzip.compress(b"{}"), id="no end of members"),
        pytest.param(zlib.compress(b"{}"), id="zlib"),
    ],
)
def test_broken_gzip_is_malformed(raw: bytes) -> None:
    assert refused(raw).kind is ErrorKind.MALFORMED


def test_a_bomb_is_too_large() -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    assert refused(bomb).kind is ErrorKind.TOO_LARGE
    many = gzip.compress(b" " * (MOST // 2)) * 3
    assert refused(many).kind is ErrorKind.TOO_LARGE


def test_unpacked_bytes_up_to_the_limit_are_read() -> None:
    assert parse(body.unpack(gzip.compress(b" " * (MOST - 2) + b"[]"), MOST)) == []


@pytest.mark.parametrize(
    ("raw", "says"),
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
def test_what_is_no_json_is_malformed_and_says_why(raw: bytes, says: str) -> None:
    refusal = refused(raw)
    assert refusal.kind is ErrorKind.MALFORMED
    assert says in refusal.message
