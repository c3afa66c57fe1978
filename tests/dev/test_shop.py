"""The demo shop of `make run`. A real browser uses it in tests/clients/test_shop.py."""

import httpx

from dev import shop
from dev.stack import StackInfo

INFO = StackInfo(
    "http://ingest",
    "http://api",
    "http://console",
    "postgresql://",
    "kafka",
    "mk_secret",
    "mk_pub_key",
    {},
)


def test_the_page_has_a_script_tag_with_the_address_and_key_of_the_stack() -> None:
    with shop.serve_shop(INFO) as url:
        page = httpx.get(url, params={"utm_campaign": "my-ad-campaign"}).raise_for_status().text
        assert httpx.get(url + "favicon.ico").status_code == 404
    assert '<script async src="http://ingest/merganser.js" data-api-key="mk_pub_key">' in page
    assert "mk_secret" not in page
    assert 'href="http://console/profiles"' in page
    assert "http://api" not in page
    assert "{{" not in page


def test_two_shops_get_two_ports() -> None:
    with shop.serve_shop(INFO) as first, shop.serve_shop(INFO) as second:
        assert httpx.get(first).text == httpx.get(second).text
        assert first != second
