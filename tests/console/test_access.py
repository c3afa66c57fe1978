"""Who may open the console, and for how long."""

import asyncio
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import AnyHttpUrl, SecretStr

from console.sessions import Lifetime
from merganser.admin.login_links import NoConsoleKey, create_login_link
from merganser.http.authentication import Permission, hash_key
from merganser.runtime.settings import ConsoleSettings
from tests.api.reader import new_key
from tests.console.viewer import ORIGIN, Viewer, text_of, viewing
from tests.support.actions import OPERATOR
from tests.support.database import Database

PATHS = [
    *("/", "/profiles", "/profiles/pro_1", "/events/evt_1", "/nothing", "/actions"),
    *("/dead-letters", "/dead-letters/0:0", "/privacy", "/privacy/export/pro_1"),
    *("/operations", "/operations/replay", "/operations/audits"),
    *("/keys", "/keys/new", "/keys/key_1/revoke"),
]


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_needs_a_login(stranger: Viewer, path: str) -> None:
    response = await stranger.get(path)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/login")


@pytest.mark.parametrize("permission", [Permission.READ_CONSOLE, Permission.WRITE_CONSOLE])
async def test_a_key_with_a_permission_for_the_console_logs_in(
    stranger: Viewer, permission: Permission
) -> None:
    await stranger.log_in(permission)
    assert (await stranger.get("/profiles")).status_code == 200


async def test_other_keys_do_not_log_in(stranger: Viewer) -> None:
    others = set(Permission) - {Permission.READ_CONSOLE, Permission.WRITE_CONSOLE}
    response = await stranger.send_key(await new_key(stranger.database, *others))
    assert response.status_code == 403
    assert "this API key has no permission console:read" in text_of(response.text)
    assert (await stranger.send_key("guessed")).status_code == 401
    assert (await stranger.get("/profiles")).status_code == 303


async def test_a_publishable_key_never_logs_in(stranger: Viewer) -> None:
    key = await new_key(stranger.database, Permission.WRITE_EVENTS, kind="publishable")
    assert (await stranger.send_key(key)).status_code == 403


async def test_the_login_returns_to_the_page_that_was_asked_for(stranger: Viewer) -> None:
    response = await stranger.get("/profiles", q="person_1")
    login = response.headers["location"]
    assert login == "/login?next=%2Fprofiles%3Fq%3Dperson_1"
    response = await stranger.post(login, {"key": stranger.key})
    assert response.headers["location"] == "/profiles?q=person_1"


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example"]
)
async def test_the_login_never_leads_to_another_host(stranger: Viewer, target: str) -> None:
    query = urlencode({"next": target})
    response = await stranger.post(f"/login?{query}", {"key": stranger.key})
    assert response.headers["location"] == "/"


async def test_the_cookie_is_not_for_scripts_or_other_sites(stranger: Viewer) -> None:
    cookie: SimpleCookie = SimpleCookie()
    cookie.load((await stranger.send_key(stranger.key)).headers["set-cookie"])
    morsel = cookie["merganser"]
    assert morsel["httponly"]
    assert morsel["samesite"] == "Strict"
    assert not morsel["secure"]
    assert stranger.key not in morsel.value


async def test_behind_tls_the_cookie_is_secure(database: Database) -> None:
    async with viewing(database, url="https://console.example") as viewer:
        response = await viewer.send_key(viewer.key, origin="https://console.example")
        assert response.headers["set-cookie"].startswith("__Host-merganser=")
        assert response.headers["set-cookie"].endswith("; Secure")
        assert (await viewer.get("/profiles")).status_code == 200


async def test_a_strange_cookie_of_another_program_does_not_matter(viewer: Viewer) -> None:
    token = viewer.client.cookies["merganser"]
    headers = {"cookie": f"a[b]={{1, 2}}; =; ;; x; merganser={token}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(viewer.app), base_url=ORIGIN
    ) as other:
        assert (await other.get("/profiles", headers=headers)).status_code == 200


async def test_the_database_does_not_have_the_token(viewer: Viewer) -> None:
    token = viewer.client.cookies["merganser"]
    stored = await viewer.database.column('SELECT "tokenHash" FROM "consoleSessions"')
    assert stored == [hash_key(token)]


async def test_revoking_the_key_ends_its_sessions(stranger: Viewer) -> None:
    async with viewing(stranger.database) as other:  # whose copy of the keys is new
        await stranger.log_in(Permission.READ_CONSOLE)
        await stranger.database.execute('UPDATE "apiKeys" SET "revokedAt" = now()')
        other.client.cookies = stranger.client.cookies
        assert (await other.get("/profiles")).status_code == 303


async def test_taking_the_permission_away_ends_the_sessions_of_a_key(stranger: Viewer) -> None:
    async with viewing(stranger.database) as other:  # whose copy of the keys is new
        await stranger.log_in(Permission.READ_CONSOLE)
        await stranger.database.execute("""UPDATE "apiKeys" SET permissions = '{events:read}'""")
        other.client.cookies = stranger.client.cookies
        assert (await other.get("/profiles")).status_code == 303


async def test_logging_out_ends_the_session(viewer: Viewer) -> None:
    cookies = dict(viewer.client.cookies)
    response = await viewer.post("/logout", {})
    assert response.headers["location"] == "/login"
    assert "merganser" not in viewer.client.cookies
    viewer.client.cookies.update(cookies)
    assert (await viewer.get("/profiles")).status_code == 303


@pytest.mark.parametrize("column", ["createdAt", "lastUsedAt"])
async def test_a_session_ends_after_its_lifetime(database: Database, column: str) -> None:
    async with viewing(database, Lifetime(idle=600, longest=600)) as viewer:
        await viewer.log_in(Permission.READ_CONSOLE)
        assert (await viewer.get("/profiles")).status_code == 200
        await database.execute(
            f"""UPDATE "consoleSessions" SET "{column}" = now() - interval '11 minutes'"""
        )
        assert (await viewer.get("/profiles")).status_code == 303
        await viewer.log_in(Permission.READ_CONSOLE)
        assert await database.count("consoleSessions") == 1, "the expired one is still there"


async def test_only_requests_of_a_person_keep_a_session(viewer: Viewer) -> None:
    age = """SELECT now() - "lastUsedAt" > interval '2 minutes' FROM "consoleSessions" """
    await viewer.database.execute(
        """UPDATE "consoleSessions" SET "lastUsedAt" = now() - interval '5 minutes'"""
    )
    await viewer.client.get("/profiles", headers={"x-background": "true"})
    assert await viewer.database.value(age) is True
    await viewer.get("/profiles")
    assert await viewer.database.value(age) is False


async def new_link(database: Database, key: str = "test") -> str:
    """Return the path of a link that logs in as a key; the keys of the tests have this name."""
    settings = ConsoleSettings(
        database_url=SecretStr(database.url), console_url=AnyHttpUrl("http://console")
    )
    return (await create_login_link(settings, OPERATOR, key)).removeprefix("http://console")


async def test_a_link_needs_a_key_for_the_console(stranger: Viewer) -> None:
    await new_key(stranger.database, Permission.READ_EVENTS)
    await stranger.database.execute(
        """UPDATE "apiKeys" SET permissions = '{events:read}', name = 'other'"""
    )
    for name in ("other", "unknown"):
        with pytest.raises(NoConsoleKey, match=name):
            await new_link(stranger.database, name)


async def test_a_link_logs_in_once(stranger: Viewer) -> None:
    link = await new_link(stranger.database)
    response = await stranger.get(link)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert (await stranger.get("/profiles")).status_code == 200
    second = await stranger.get(link)
    assert second.status_code == 401
    assert "this link was used already" in text_of(second.text)


async def test_of_two_uses_of_a_link_at_the_same_time_one_logs_in(stranger: Viewer) -> None:
    link = await new_link(stranger.database)
    responses = await asyncio.gather(stranger.get(link), stranger.get(link))
    assert sorted(response.status_code for response in responses) == [303, 401]


async def test_a_link_expires(stranger: Viewer) -> None:
    link = await new_link(stranger.database)
    await stranger.database.execute('UPDATE "consoleLoginLinks" SET "expiresAt" = now()')
    assert (await stranger.get(link)).status_code == 401
    assert await stranger.database.count("consoleLoginLinks") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example"},
        {"origin": "https://console"},
        {"origin": "http://console:8080"},
        {"origin": "null"},
        {"origin": "http://console.evil.example", "sec-fetch-site": "same-origin"},
        {},
    ],
    ids=str,
)
async def test_another_site_cannot_send_forms(viewer: Viewer, headers: dict[str, str]) -> None:
    response = await viewer.client.post("/logout", headers=headers)
    assert response.status_code == 403
    assert (await viewer.get("/profiles")).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"origin": "http://console"}], ids=str
)
async def test_one_of_both_headers_is_enough(viewer: Viewer, headers: dict[str, str]) -> None:
    assert (await viewer.client.post("/logout", headers=headers)).status_code == 303


async def test_a_link_on_another_site_opens_the_page(viewer: Viewer) -> None:
    cookies, viewer.client.cookies = viewer.client.cookies, {}
    response = await viewer.client.get(
        "/profiles?q=a&property=b", headers={"sec-fetch-site": "cross-site"}
    )
    assert response.status_code == 200
    assert 'content="0; url=/profiles?q=a&amp;property=b"' in response.text
    viewer.client.cookies = cookies


async def test_failed_logins_are_limited(stranger: Viewer) -> None:
    statuses = [(await stranger.send_key("guessed")).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    response = await stranger.send_key(stranger.key)
    assert response.status_code == 429
    assert 0 < int(response.headers["retry-after"]) <= 61


async def test_a_large_form_is_refused(stranger: Viewer) -> None:
    response = await stranger.send_key("x" * 10_000)
    assert response.status_code == 413


async def test_a_partial_request_without_a_session_opens_the_login(stranger: Viewer) -> None:
    response = await stranger.client.get("/profiles", headers={"hx-request": "true"})
    assert response.status_code == 401
    assert response.headers["hx-redirect"] == "/login?next=%2Fprofiles"
