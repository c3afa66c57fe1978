"""API keys: created, listed and revoked without a command."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from merganser.admin import key_terms, keys
from merganser.admin.actions import Actor
from merganser.admin.key_terms import publishable_terms, secret_terms
from merganser.http.authentication import Permission
from merganser.runtime import postgres
from merganser.runtime.postgres import Connection
from tests.support.actions import OPERATOR
from tests.support.database import Database

SENDS = secret_terms([Permission.WRITE_EVENTS])


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    """A connection of an operation."""
    async with await postgres.connect(database.url, "keys") as connection:
        yield connection


async def test_a_key_is_listed_without_its_secret_until_it_is_revoked(
    connection: Connection,
) -> None:
    guid, secret = await keys.create_key(connection, OPERATOR, "shop", SENDS)
    (key,) = await keys.list_keys(connection)
    assert key.guid == guid
    assert (key.name, key.permissions) == ("shop", [Permission.WRITE_EVENTS])
    assert (key.kind, key.origins, key.rate) == ("secret", [], None)
    assert key.revoked_at is None
    assert secret not in repr(key)
    assert await keys.revoke_keys(connection, OPERATOR, key.guid) == 1
    (key,) = await keys.list_keys(connection)
    assert key.revoked_at is not None
    with pytest.raises(keys.KeyNotFound, match="shop"):
        await keys.revoke_keys(connection, OPERATOR, "shop")


async def test_a_key_in_a_file_is_stored_again_in_an_empty_database(
    database: Database, connection: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    await keys.ensure_key(connection, OPERATOR, "stack", file, SENDS)
    secret = file.read_text()
    await database.execute('DELETE FROM "apiKeys"')
    for _ in range(2):
        await keys.ensure_key(connection, OPERATOR, "stack", file, SENDS)
    assert file.read_text() == secret
    assert await database.count("apiKeys") == 1
    assert await database.column("SELECT action FROM actions") == ["key created"] * 2


async def test_a_blank_name_is_refused(database: Database, connection: Connection) -> None:
    with pytest.raises(key_terms.InvalidKeyName, match="blank"):
        await keys.create_key(connection, OPERATOR, " ", SENDS)
    assert await database.count("apiKeys") == 0
    assert await database.count("actions") == 0


async def test_a_publishable_key_is_changed_and_keeps_what_is_not_named(
    connection: Connection,
) -> None:
    terms = publishable_terms(["https://shop.example"], 50)
    await keys.create_key(connection, OPERATOR, "shop", terms)

    async def change(origins: list[str] | None, rate: float | None) -> tuple[list[str], float]:
        assert await keys.change_publishable_keys(connection, OPERATOR, "shop", origins, rate) == 1
        (key,) = await keys.list_keys(connection)
        return key.origins, key.rate or 0

    assert await change(["https://M.shop.example/"], None) == (["https://m.shop.example"], 50)
    assert await change(None, 0.5) == (["https://m.shop.example"], 0.5)
    assert await change([], None) == ([], 0.5)
    with pytest.raises(key_terms.InvalidOrigin):
        await change(["shop.example"], None)


async def test_only_a_valid_publishable_key_is_changed(connection: Connection) -> None:
    await keys.create_key(connection, OPERATOR, "server", SENDS)
    await keys.create_key(connection, OPERATOR, "old", publishable_terms())
    await keys.revoke_keys(connection, OPERATOR, "old")
    for name in ("server", "old", "none"):
        with pytest.raises(keys.KeyNotFound, match=f"publishable key .*{name}"):
            await keys.change_publishable_keys(connection, OPERATOR, name, rate=5)


async def test_a_publishable_key_has_a_rate_and_its_origins(connection: Connection) -> None:
    origins = ["https://Shop.example/", "https://shop.example:443", "http://localhost:3000"]
    _, secret = await keys.create_key(connection, OPERATOR, "shop", publishable_terms(origins))
    assert secret.startswith("mk_pub_")
    (key,) = await keys.list_keys(connection)
    assert (key.kind, key.permissions) == ("publishable", ["events:write"])
    assert key.origins == ["http://localhost:3000", "https://shop.example"]
    assert key.rate == key_terms.PUBLISHABLE_RATE
    with pytest.raises(key_terms.InvalidOrigin, match=r"such as https://shop\.example"):
        publishable_terms(["shop.example"])


async def test_a_file_with_a_key_of_the_other_kind_is_refused(
    connection: Connection, tmp_path: Path
) -> None:
    secret, publishable = tmp_path / "secret", tmp_path / "publishable"
    for _ in range(2):
        await keys.ensure_key(connection, OPERATOR, "stack", secret, SENDS)
        await keys.ensure_key(connection, OPERATOR, "page", publishable, publishable_terms())
    with pytest.raises(keys.OtherKind, match="not a secret key"):
        await keys.ensure_key(connection, OPERATOR, "stack", publishable, SENDS)
    with pytest.raises(keys.OtherKind, match="not a publishable key"):
        await keys.ensure_key(connection, OPERATOR, "page", secret, publishable_terms())
    listed = [(key.name, key.kind, key.permissions) for key in await keys.list_keys(connection)]
    assert listed == [
        ("stack", "secret", ["events:write"]),
        ("page", "publishable", ["events:write"]),
    ]


async def test_each_change_of_keys_is_in_the_log_of_actions(
    database: Database, connection: Connection
) -> None:
    first, _ = await keys.create_key(connection, OPERATOR, "shop", publishable_terms())
    second, _ = await keys.create_key(connection, Actor("console", "bob"), "shop", SENDS)
    await keys.change_publishable_keys(connection, OPERATOR, "shop", rate=5)
    assert await keys.revoke_keys(connection, OPERATOR, "shop") == 2
    logged = await database.rows("SELECT source, actor, action, subject FROM actions")
    assert sorted(logged) == sorted(
        [
            (*OPERATOR, "key created", f"shop ({first})"),
            ("console", "bob", "key created", f"shop ({second})"),
            (*OPERATOR, "key changed", f"shop ({first})"),
            (*OPERATOR, "key revoked", f"shop ({first})"),
            (*OPERATOR, "key revoked", f"shop ({second})"),
        ]
    )


async def test_a_name_that_looks_like_the_guid_of_another_key_is_only_a_name(
    connection: Connection,
) -> None:
    guid, _ = await keys.create_key(connection, OPERATOR, "shop", publishable_terms(rate=1))
    decoy, _ = await keys.create_key(connection, OPERATOR, guid, publishable_terms(rate=1))
    assert await keys.change_publishable_keys(connection, OPERATOR, guid, rate=5) == 1
    assert await keys.revoke_keys(connection, OPERATOR, guid) == 1
    listed = {
        key.guid: (key.rate, key.revoked_at is None) for key in await keys.list_keys(connection)
    }
    assert listed == {guid: (5, False), decoy: (1, True)}


async def test_a_creator_gives_only_permissions_that_they_have(
    database: Database, connection: Connection
) -> None:
    held = {Permission.WRITE_CONSOLE, Permission.READ_EVENTS}
    for terms in (secret_terms(list(Permission)), SENDS, publishable_terms()):
        with pytest.raises(keys.PermissionNotHeld, match="events:write"):
            await keys.create_key(connection, OPERATOR, "more", terms, held)
    assert await database.count("apiKeys") == 0
    await keys.create_key(connection, OPERATOR, "equal", secret_terms(held), held)
    assert await database.count("apiKeys") == 1


async def test_a_key_needs_a_permission_and_a_rate_within_bounds(connection: Connection) -> None:
    with pytest.raises(key_terms.NoPermission):
        secret_terms([])
    for rate in (0, -1, float("nan"), float("inf"), 1e7):
        with pytest.raises(key_terms.InvalidRate):
            await keys.create_key(connection, OPERATOR, "fast", publishable_terms(rate=rate))


async def test_keys_are_listed_with_their_use(database: Database, connection: Connection) -> None:
    used, _ = await keys.create_key(connection, OPERATOR, "used", SENDS)
    await keys.create_key(connection, OPERATOR, "unused", SENDS)
    await database.execute(
        """INSERT INTO "keyUsage" ("keyGuid", hour, events, refused, "lastUsedAt")
        SELECT %s, date_trunc('hour', now()) - make_interval(hours => age), events, age, now()
        FROM (VALUES (0, 5), (1, 0), (23, 7), (24, 100)) AS hours (age, events)""",
        used,
    )
    first, second = await keys.list_keys(connection)
    assert first.events == [7, *[0] * 22, 5]
    assert first.refused == [23, *[0] * 21, 1, 0]
    assert first.last_used_at == await database.value('SELECT max("lastUsedAt") FROM "keyUsage"')
    assert (second.events, second.refused, second.last_used_at) == ([0] * 24, [0] * 24, None)


async def test_the_newest_valid_keys_come_before_others(connection: Connection) -> None:
    for name in ("a", "b", "c"):
        await keys.create_key(connection, OPERATOR, name, SENDS)
    await keys.revoke_keys(connection, OPERATOR, "b")
    names = [[key.name for key in await keys.list_keys(connection, limit)] for limit in (1, 2, 3)]
    assert names == [["c"], ["a", "c"], ["a", "b", "c"]]
