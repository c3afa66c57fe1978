"""The demo shop of `make run`. A real browser goes shopping in tests/clients/test_shop.py."""

import httpx

from dev import shop
from dev.stack import StackInfo

INFO = StackInfo("http://ingest", "http://api", "postgresql://", "kafka", "mk_key", {})


def test_the_page_has_one_tag_with_the_stack_s_address_and_key() -> None:
    with shop.opened(INFO) as url:
        page = httpx.get(url, params={"utm_campaign": "my-ad-campaign"}).raise_for_status().text
        assert httpx.get(url + "favicon.ico").status_code == 404
    assert '<script async src="http://ingest/merganser.js" data-api-key="mk_key">' in page
    assert "http://api/api/v1/profiles" in page
    assert "{{" not in page


def test_two_shops_have_two_addresses() -> None:
    with shop.opened(INFO) as one, shop.opened(INFO) as other:
        assert httpx.get(one).text == httpx.get(other).text
        assert one != other
