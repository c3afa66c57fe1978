"""Users whom a reverse proxy names: who may name one, and what such a user may do."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import get_args

import httpx
import pytest
from pydantic import SecretStr

from console.proxy_users import ProxyUsers
from merganser.http.authentication import Permission
from merganser.runtime.settings import ConsoleSettings, UserPermission
from tests.console.viewer import FROM_PAGE, ORIGIN, Viewer, text_of, viewing
from tests.support.database import Database
from tests.support.system import System

HEADER = "X-Forwarded-User"
PROXY, CLIENT = "10.1.2.3", "203.0.113.7"
USERS = ProxyUsers(HEADER, (ip_network("10.0.0.0/8"),), frozenset({"console:read"}))

Headers = Sequence[tuple[str, str | bytes]]


@pytest.fixture
async def console(database: Database) -> AsyncIterator[Viewer]:
    """A console behind a proxy of 10.0.0.0/8, whose users may only look."""
    async with viewing(database, users=USERS) as viewer:
        yield viewer


@asynccontextmanager
async def connected(console: Viewer, peer: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client whose connections come from an address."""
    transport = httpx.ASGITransport(console.app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


async def get(
    console: Viewer, peer: str, headers: Headers, path: str = "/profiles"
) -> tuple[int, str]:
    """Return status and text of a page, for a connection from an address."""
    async with connected(console, peer) as client:
        raw = [
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in headers
        ]
        response = await client.get(path, headers=raw)
    return response.status_code, text_of(response.text)


@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}"])
async def test_a_user_of_a_trusted_proxy_needs_no_login(console: Viewer, peer: str) -> None:
    status, text = await get(console, peer, [(HEADER.lower(), "ann@shop.example")])
    assert status == 200
    assert "ann@shop.example" in text
    assert "Log out" not in text, "the proxy logs the user in again"
    assert await console.database.count("consoleSessions") == 0


async def test_a_name_may_have_any_letters(console: Viewer) -> None:
    status, text = await get(console, PROXY, [(HEADER, "Zoë Müller 李".encode())])
    assert (status, "Zoë Müller 李" in text) == (200, True)


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        pytest.param(CLIENT, [(HEADER, "ann")], id="from another address"),
        pytest.param("11.1.2.3", [(HEADER, "ann")], id="from an address beside the network"),
        pytest.param(
            CLIENT,
            [(HEADER, "ann"), ("X-Forwarded-For", PROXY), ("Forwarded", f"for={PROXY}")],
            id="from another address that names the proxy",
        ),
        pytest.param(
            CLIENT,
            [(HEADER, "ann"), ("X-Real-IP", PROXY), ("Via", f"1.1 {PROXY}"), ("Host", PROXY)],
            id="from another address with other headers of a proxy",
        ),
        pytest.param(PROXY, [], id="no header"),
        pytest.param(PROXY, [(HEADER, "")], id="an empty header"),
        pytest.param(PROXY, [(HEADER, "  ")], id="a blank header"),
        pytest.param(PROXY, [("X_Forwarded_User", "ann")], id="a header with another spelling"),
        pytest.param(PROXY, [("Cookie", f"{HEADER}=ann")], id="a cookie with the name"),
        pytest.param("testclient", [(HEADER, "ann")], id="a peer without an address"),
    ],
)
async def test_other_requests_need_a_login(console: Viewer, peer: str, headers: Headers) -> None:
    status, _ = await get(console, peer, headers)
    assert status == 303


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(HEADER, "admin"), (HEADER, "ann")], id="twice"),
        pytest.param([(HEADER, "admin"), (HEADER.lower(), "")], id="twice, once empty"),
        pytest.param([(HEADER, "admin, ann")], id="joined by a proxy"),
        pytest.param([(HEADER, "admin\u202e".encode())], id="a mark of direction"),
        pytest.param([(HEADER, b"ann\x85")], id="not UTF-8"),
        pytest.param([(HEADER, "a" * 192)], id="too long"),
    ],
)
async def test_a_header_that_may_be_a_client_s_is_refused(
    console: Viewer, headers: Headers
) -> None:
    status, text = await get(console, PROXY, headers)
    assert status == 403
    assert "proxy must send the header X-Forwarded-User once" in text


async def test_without_the_setting_no_header_logs_in(stranger: Viewer) -> None:
    for peer in (PROXY, "127.0.0.1"):
        assert (await get(stranger, peer, [(HEADER, "ann")]))[0] == 303


async def test_a_user_has_the_permissions_of_the_setting(database: Database) -> None:
    async with viewing(database, users=USERS) as console:
        _, text = await get(console, PROXY, [(HEADER, "ann")])
        assert "Property" not in text, "the search by a property's value needs profiles:read"
    allowed = ProxyUsers(HEADER, USERS.proxies, frozenset({"console:read", "profiles:read"}))
    async with viewing(database, users=allowed) as console:
        _, text = await get(console, PROXY, [(HEADER, "ann")])
        assert "Property" in text


async def test_the_user_of_the_proxy_wins_over_a_session(console: Viewer) -> None:
    await console.log_in(*Permission)
    cookie = f"merganser={console.client.cookies['merganser']}"
    _, text = await get(console, PROXY, [(HEADER, "ann"), ("Cookie", cookie)])
    assert "ann" in text
    assert "Property" not in text, "the session's key has profiles:read"
    status, _ = await get(console, PROXY, [("Cookie", cookie)])
    assert status == 200, "without a user, the session counts"


async def test_the_user_is_the_actor_in_the_log_of_actions(database: Database) -> None:
    acting = ProxyUsers(HEADER, USERS.proxies, frozenset({"console:write", "events:write"}))
    async with viewing(database, users=acting) as console, connected(console, PROXY) as client:
        key = {"name": "shop", "kind": "secret", "events:write": "on"}
        headers = {HEADER: "ann@shop.example", **FROM_PAGE}
        response = await client.post("/keys", data=key, headers=headers)
        assert response.status_code == 200, text_of(response.text)
        more = await client.post("/keys", data={**key, "events:read": "on"}, headers=headers)
        assert more.status_code == 422
    logged = await database.rows("SELECT source, actor, action FROM actions")
    assert logged == [("console", f"ann@shop.example ({HEADER})", "key created")]


async def test_a_user_who_may_only_look_changes_nothing(console: Viewer) -> None:
    async with connected(console, PROXY) as client:
        headers = {HEADER: "ann", **FROM_PAGE}
        response = await client.post("/keys", data={"name": "shop"}, headers=headers)
    assert response.status_code == 403
    assert await console.database.count("actions") == 0


async def test_another_site_cannot_send_forms_of_a_user(console: Viewer) -> None:
    async with connected(console, PROXY) as client:
        user = {HEADER: "ann"}
        refused = await client.post("/logout", headers={**user, "sec-fetch-site": "cross-site"})
        assert refused.status_code == 403
        allowed = await client.post("/logout", headers={**user, **FROM_PAGE})
        assert allowed.status_code == 303


def settings(**values: object) -> ConsoleSettings:
    """Return settings as the environment gives them."""
    return ConsoleSettings(
        database_url=SecretStr("postgresql://merganser@127.0.0.1/merganser"),
        _env_file=None,
        **values,  # type: ignore[arg-type] # texts, as in the environment
    )


def test_by_default_no_proxy_names_users() -> None:
    assert ProxyUsers.from_settings(settings()) is None


def test_the_settings_name_proxies_and_permissions() -> None:
    users = ProxyUsers.from_settings(
        settings(
            console_user_header="Remote-User",
            console_trusted_proxies="127.0.0.1, fd00::/8",
            console_user_permissions="console:write, events:read",
        )
    )
    assert users == ProxyUsers(
        "Remote-User",
        (ip_network("127.0.0.1/32"), ip_network("fd00::/8")),
        frozenset({"console:write", "events:read"}),
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"console_user_header": "Remote-User"}, "MERGANSER_CONSOLE_TRUSTED_PROXIES"),
        ({"console_user_permissions": "events:read"}, "MERGANSER_CONSOLE_USER_PERMISSIONS"),
        ({"console_user_permissions": "console:read,everything"}, "console_user_permissions"),
        ({"console_user_header": "Remote_User"}, "console_user_header"),
        ({"console_user_header": ""}, "console_user_header"),
        ({"console_trusted_proxies": "proxy.example"}, "console_trusted_proxies"),
    ],
    ids=str,
)
def test_settings_that_would_trust_anyone_are_refused(
    values: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        settings(**values)


def test_every_permission_may_be_given_to_users() -> None:
    assert set(get_args(UserPermission)) == set(Permission)


async def test_a_process_reads_the_settings(system: System) -> None:
    _, url = await system.console(
        console_user_header=HEADER,
        console_trusted_proxies="127.0.0.2",
        console_user_permissions="console:read",
    )
    for own_address, status in (("127.0.0.2", 200), ("127.0.0.1", 303)):
        transport = httpx.AsyncHTTPTransport(local_address=own_address)
        async with httpx.AsyncClient(transport=transport, headers={HEADER: "ann"}) as client:
            assert (await client.get(f"{url}/profiles")).status_code == status
