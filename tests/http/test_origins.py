"""Origins as operators write them, and as browsers send them."""

import pytest

from merganser.http.origins import (
    MAX_ORIGIN_LENGTH,
    is_allowed,
    normalize_origin,
    request_origin,
)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        (" HTTPS://Shop.EXAMPLE/ ", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80/", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:8082/", "http://127.0.0.1:8082"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://xn--mnchen-3ya.de", "https://xn--mnchen-3ya.de"),
        ("https://*.Shop.example:8443/", "https://*.shop.example:8443"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_an_origin_is_stored_as_browsers_send_it(text: str, origin: str) -> None:
    assert normalize_origin(text) == origin
    assert normalize_origin(origin) == origin
    assert is_allowed(origin.replace("*", "www"), [origin])


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "shop.example", "//shop.example", "https:shop.example", "https://"),
        *("https://shop.example/path", "https://shop.example?q", "https://me@shop.example"),
        *("https://shop.example:99999", "https://shop.example:x", "https://münchen.de"),
        *(
            "https://shop example",
            "https://*",
            "https://*.",
            "https://*.com",
            "https://*shop.example",
        ),
        *("https://a.*.example", "https://*.*.example", "https://[::1", "file://"),
        "https://" + "a" * MAX_ORIGIN_LENGTH + ".example",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        normalize_origin(text)


@pytest.mark.parametrize(
    ("origin", "allows"),
    [
        ("https://shop.example", True),
        ("https://www.shop.example", False),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://shop.example.evil.example", False),
        ("https://a.blog.example", True),
        ("https://a.b.blog.example", True),
        ("https://blog.example", False),
        ("https://evilblog.example", False),
        ("http://a.blog.example", False),
        ("https://a.blog.example:8443", False),
        ("https://*.blog.example", True),
        ("null", False),
        ("", False),
        ("https://" + "a." * 40_000 + "blog.example", False),
    ],
)
def test_which_pages_may_use_a_key(origin: str, *, allows: bool) -> None:
    assert is_allowed(origin, {"https://shop.example", "https://*.blog.example"}) is allows


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, None),
        ({b"origin": b"https://Shop.example"}, "https://shop.example"),
        ({b"origin": b"null", b"referer": b"https://shop.example/"}, "null"),
        ({b"origin": b""}, ""),
        ({b"referer": b"https://shop.example/cart?x=://y"}, "https://shop.example"),
        ({b"referer": b"https://shop.example"}, "https://shop.example"),
        ({b"referer": b"nonsense"}, "nonsense://"),
        ({b"origin": b"\xff"}, "ÿ"),
    ],
)
def test_the_origin_of_a_request(headers: dict[bytes, bytes], origin: str | None) -> None:
    assert request_origin(headers) == origin
