"""The pages of API keys."""

import re
from collections.abc import Mapping

import pytest

from ingest.usage import KeyUsage
from merganser.http.authentication import Permission, hash_key
from merganser.runtime import postgres
from merganser.runtime.lifecycle import Stop
from tests.console.viewer import Viewer, text_of

SECRET_KEY = {"name": "importer", "kind": "secret", "events:write": "on", "rate": ""}
PUBLISHABLE_KEY = {
    "name": "shop",
    "kind": "publishable",
    "origins": "https://Shop.example/\r\nhttps://*.shop.example\r\n",
    "rate": "50",
}


async def create(viewer: Viewer, fields: Mapping[str, str]) -> str:
    """Create a key and return it, as the page shows it."""
    response = await viewer.post("/keys", dict(fields))
    assert response.status_code == 200, text_of(response.text)
    (key,) = re.findall(r'<pre id="key">(mk_[\w-]+)</pre>', response.text)
    return str(key)


async def guid_of(viewer: Viewer, name: str) -> str:
    """Return the guid of the key with a name."""
    return str(await viewer.database.value('SELECT guid FROM "apiKeys" WHERE name = %s', name))


async def count(viewer: Viewer, guid: str, accepted: int, refused: int) -> None:
    """Count events of a key, as ingest does."""
    database = postgres.Database(viewer.database.url, "usage")
    usage = KeyUsage(database, Stop())
    usage.add(guid, accepted, refused)
    await usage.close()
    await database.close()


async def test_a_new_key_is_shown_once_and_works(viewer: Viewer) -> None:
    key = await create(viewer, SECRET_KEY)
    row = 'SELECT "keyHash", kind, permissions, rate FROM "apiKeys" WHERE name = %s'
    assert await viewer.database.rows(row, "importer") == [
        (hash_key(key), "secret", ["events:write"], None)
    ]
    page = await viewer.page("/keys")
    assert "importer" in text_of(page)
    assert key not in page


async def test_a_publishable_key_has_its_origins_and_rate(viewer: Viewer) -> None:
    key = await create(viewer, {**PUBLISHABLE_KEY, "events:read": "on"})
    assert key.startswith("mk_pub_")
    row = 'SELECT kind, permissions, origins, rate FROM "apiKeys" WHERE name = %s'
    assert await viewer.database.rows(row, "shop") == [
        ("publishable", ["events:write"], ["https://*.shop.example", "https://shop.example"], 50)
    ]
    text = await viewer.text("/keys")
    assert "https://*.shop.example https://shop.example at most 50 events/s" in text


async def test_the_page_of_a_new_key_has_a_command_that_uses_it(viewer: Viewer) -> None:
    for permission, command in (
        ("events:write", "curl http://127.0.0.1:8080/api/v1/track"),
        ("events:read", "curl &#34;http://127.0.0.1:8081/api/v1/events?limit=10&#34;"),
        ("profiles:read", "curl &#34;http://127.0.0.1:8081/api/v1/profiles?userId=ann&#34;"),
    ):
        response = await viewer.post("/keys", {"name": "n", "kind": "secret", permission: "on"})
        assert command in response.text
        (key,) = re.findall(r'<pre id="key">(.*)</pre>', response.text)
        assert f"Authorization: Bearer {key}" in text_of(response.text)
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": " "}, "The name of a key is blank"),
        ({"name": "x" * 192}, "at most 191 are allowed"),
        ({"name": "a\x07"}, "has control characters"),
        ({"kind": "secret"}, "Choose at least one permission"),
        ({"origins": "shop.example"}, "https://shop.example"),
        ({"rate": "many"}, "The rate is not a number"),
        ({"rate": "0"}, "0 events/s is not a rate of a key"),
        ({"rate": "nan"}, "Nan events/s is not a rate of a key"),
    ],
    ids=str,
)
async def test_an_error_keeps_what_was_typed(
    viewer: Viewer, changes: dict[str, str], problem: str
) -> None:
    fields = {**PUBLISHABLE_KEY, **changes}
    before = await viewer.database.count("apiKeys")
    response = await viewer.post("/keys", fields)
    assert response.status_code == 422
    assert problem in text_of(response.text)
    for value in (fields["origins"].split("\r\n")[0], fields["rate"]):
        assert value in response.text
    checked = f'value="{fields["kind"]}" id="{fields["kind"]}" checked'
    assert checked in response.text
    assert await viewer.database.count("apiKeys") == before
    assert await viewer.database.count("actions") == 0


async def test_a_key_cannot_have_permissions_that_its_creator_lacks(stranger: Viewer) -> None:
    await stranger.log_in("console:write", "events:read")
    form = await stranger.page("/keys/new")
    for permission in Permission:
        disabled = f'name="{permission}" disabled' in form
        assert disabled == (permission not in ("console:write", "events:read"))
    assert 'id="publishable" disabled' in form
    for fields in (
        SECRET_KEY,
        PUBLISHABLE_KEY,
        {"name": "admin", "kind": "secret", **{str(permission): "on" for permission in Permission}},
    ):
        response = await stranger.post("/keys", dict(fields))
        assert response.status_code == 422
        assert "You have no permission" in text_of(response.text)
    await create(stranger, {"name": "equal", "kind": "secret", "events:read": "on"})
    created = await stranger.database.column("SELECT left(subject, 6) FROM actions")
    assert created == ["equal "]


async def test_a_reader_sees_keys_and_changes_none(stranger: Viewer) -> None:
    await stranger.log_in("console:read", "events:write")
    page = await stranger.page("/keys")
    assert "Create a key" not in text_of(page)
    assert "/revoke" not in page
    guid = await guid_of_any(stranger)
    responses = [
        await stranger.get("/keys/new"),
        await stranger.get(f"/keys/{guid}/revoke"),
        await stranger.post("/keys", SECRET_KEY),
        await stranger.post(f"/keys/{guid}/revoke", {}),
    ]
    for response in responses:
        assert response.status_code == 403
        assert "you have no permission console:write" in text_of(response.text).lower()
    assert await stranger.database.count("actions") == 0


async def guid_of_any(viewer: Viewer) -> str:
    """Return the guid of some key."""
    return str(await viewer.database.value('SELECT min(guid) FROM "apiKeys"'))


async def test_revoking_a_key_is_confirmed_and_logged(viewer: Viewer) -> None:
    await create(viewer, PUBLISHABLE_KEY)
    guid = await guid_of(viewer, "shop")
    await count(viewer, guid, 1204, 3)
    preview = await viewer.text(f"/keys/{guid}/revoke")
    assert "Revoke shop" in preview
    assert "ingest accepted 1,204 events with it and refused 3" in preview
    assert "you are logged in with this key" not in preview.lower()
    revoked = 'SELECT "revokedAt" IS NOT NULL FROM "apiKeys" WHERE guid = %s'
    assert await viewer.database.value(revoked, guid) is False

    response = await viewer.post(f"/keys/{guid}/revoke", {})
    assert (response.status_code, response.headers["location"]) == (303, f"/keys?revoked={guid}")
    assert await viewer.database.value(revoked, guid) is True
    text = await viewer.text(response.headers["location"])
    assert "shop is revoked. Processes refuse it within seconds." in text
    valid, below = text.split(" Revoked Key ")
    assert "shop" in below
    assert guid[-6:] not in valid.split("seconds.")[1]

    again = await viewer.post(f"/keys/{guid}/revoke", {})
    assert again.status_code == 303
    assert "It is revoked already" in await viewer.text(f"/keys/{guid}/revoke")
    for unknown in ("key_none", "shop", "%00"):
        assert (await viewer.get(f"/keys/{unknown}/revoke")).status_code == 404
        assert (await viewer.post(f"/keys/{unknown}/revoke", {})).status_code == 404
    actor = await viewer.database.column("SELECT DISTINCT actor FROM actions")
    logged = await viewer.database.rows(
        'SELECT source, action, subject FROM actions ORDER BY "createdAt"'
    )
    assert logged == [
        ("console", "key created", f"shop ({guid})"),
        ("console", "key revoked", f"shop ({guid})"),
    ]
    assert re.fullmatch(r"test \(key_[\w-]+\)", actor[0])


async def test_a_notice_names_only_a_key_that_is_revoked(viewer: Viewer) -> None:
    guid = await guid_of_any(viewer)
    for noticed in (guid, "key_none", "<b>"):
        assert "is revoked" not in await viewer.text("/keys", revoked=noticed)


async def test_the_preview_warns_before_a_person_logs_themselves_out(stranger: Viewer) -> None:
    await stranger.send_key(stranger.key)
    guid = await stranger.database.value(
        'SELECT guid FROM "apiKeys" WHERE "keyHash" = %s', hash_key(stranger.key)
    )
    assert "You are logged in with this key" in await stranger.text(f"/keys/{guid}/revoke")
    assert "test you" in await stranger.text("/keys")


async def test_the_page_shows_what_each_key_sent(viewer: Viewer) -> None:
    for fields in (SECRET_KEY, PUBLISHABLE_KEY, {**SECRET_KEY, "name": "unused"}):
        await create(viewer, fields)
    await count(viewer, await guid_of(viewer, "importer"), 10_000, 0)
    await count(viewer, await guid_of(viewer, "shop"), 12, 1_500)
    page = await viewer.page("/keys")
    assert page.count('<svg class="hours"') == 2
    text = text_of(page)
    assert "10,000 accepted 20" in text  # nothing is refused; the time of the last use follows
    assert "12 accepted, 1,500 refused" in text
    assert "none in 30 days" in text
    (chart,) = re.findall(r"<svg[^>]*10,000 events accepted, 0 refused.*?</svg>", page, re.DOTALL)
    assert chart.count('class="base"') == 24
    assert 'height="28.0"' in chart
    assert 'class="refused"' not in chart


async def test_a_key_with_a_hostile_name_is_text(viewer: Viewer) -> None:
    name = "<script>alert(1)</script>\u202e' onfocus='x"
    await create(viewer, {**SECRET_KEY, "name": name})
    guid = await guid_of(viewer, name)
    for path in ("/keys", f"/keys/{guid}/revoke"):
        page = await viewer.page(path)
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "⟨U+202E⟩" in page
