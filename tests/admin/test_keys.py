"""API keys: created, listed and revoked without a command."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from merganser.admin import keys
from merganser.http.authentication import Permission
from merganser.runtime.settings import Settings
from tests.support.actions import OPERATOR
from tests.support.database import Database


async def test_a_key_is_listed_without_its_secret_until_it_is_revoked(database: Database) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    secret = await keys.create_key(settings, OPERATOR, "shop", [Permission.WRITE_EVENTS])
    (key,) = await keys.list_keys(settings)
    assert (key.name, key.permissions) == ("shop", [Permission.WRITE_EVENTS])
    assert (key.kind, key.origins, key.rate) == ("secret", [], None)
    assert key.revoked_at is None
    assert secret not in repr(key)
    assert await keys.revoke_keys(settings, OPERATOR, key.guid) == 1
    (key,) = await keys.list_keys(settings)
    assert key.revoked_at is not None
    with pytest.raises(keys.KeyNotFound, match="shop"):
        await keys.revoke_keys(settings, OPERATOR, "shop")


async def test_a_key_in_a_file_is_stored_again_in_an_empty_database(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    file = tmp_path / "key"
    await keys.ensure_key(settings, OPERATOR, "stack", file, [Permission.WRITE_EVENTS])
    secret = file.read_text()
    await database.execute('DELETE FROM "apiKeys"')
    for _ in range(2):
        await keys.ensure_key(settings, OPERATOR, "stack", file, [Permission.WRITE_EVENTS])
    assert file.read_text() == secret
    assert await database.count("apiKeys") == 1


async def test_a_blank_name_is_refused(database: Database) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    with pytest.raises(keys.InvalidKeyName, match="blank"):
        await keys.create_key(settings, OPERATOR, " ", [Permission.WRITE_EVENTS])
    assert await database.count("apiKeys") == 0


async def test_a_publishable_key_is_changed_and_keeps_what_is_not_named(database: Database) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    await keys.create_publishable_key(settings, OPERATOR, "shop", ["https://shop.example"], 50)

    async def change(origins: list[str] | None, rate: float | None) -> tuple[list[str], float]:
        assert await keys.change_publishable_keys(settings, OPERATOR, "shop", origins, rate) == 1
        (key,) = await keys.list_keys(settings)
        return key.origins, key.rate or 0

    assert await change(["https://M.shop.example/"], None) == (["https://m.shop.example"], 50)
    assert await change(None, 0.5) == (["https://m.shop.example"], 0.5)
    assert await change([], None) == ([], 0.5)
    with pytest.raises(keys.InvalidOrigin):
        await change(["shop.example"], None)


async def test_only_a_valid_publishable_key_is_changed(database: Database) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    await keys.create_key(settings, OPERATOR, "server", [Permission.WRITE_EVENTS])
    await keys.create_publishable_key(settings, OPERATOR, "old")
    await keys.revoke_keys(settings, OPERATOR, "old")
    for name in ("server", "old", "none"):
        with pytest.raises(keys.KeyNotFound, match=f"publishable key .*{name}"):
            await keys.change_publishable_keys(settings, OPERATOR, name, rate=5)


async def test_a_publishable_key_has_a_rate_and_its_origins(database: Database) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    origins = ["https://Shop.example/", "https://shop.example:443", "http://localhost:3000"]
    secret = await keys.create_publishable_key(settings, OPERATOR, "shop", origins)
    assert secret.startswith("mk_pub_")
    (key,) = await keys.list_keys(settings)
    assert (key.kind, key.permissions) == ("publishable", ["events:write"])
    assert key.origins == ["http://localhost:3000", "https://shop.example"]
    assert key.rate == keys.PUBLISHABLE_RATE
    with pytest.raises(keys.InvalidOrigin, match=r"such as https://shop\.example"):
        await keys.create_publishable_key(settings, OPERATOR, "shop", ["shop.example"])
    assert await database.count("apiKeys") == 1


async def test_a_file_with_a_key_of_the_other_kind_is_refused(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    secret, publishable = tmp_path / "secret", tmp_path / "publishable"
    for _ in range(2):
        await keys.ensure_key(settings, OPERATOR, "stack", secret, [Permission.WRITE_EVENTS])
        await keys.ensure_publishable_key(settings, OPERATOR, "page", publishable)
    with pytest.raises(keys.OtherKind, match="not a secret key"):
        await keys.ensure_key(settings, OPERATOR, "stack", publishable, list(Permission))
    with pytest.raises(keys.OtherKind, match="not a publishable key"):
        await keys.ensure_publishable_key(settings, OPERATOR, "page", secret)
    listed = [(key.name, key.kind, key.permissions) for key in await keys.list_keys(settings)]
    assert listed == [
        ("stack", "secret", ["events:write"]),
        ("page", "publishable", ["events:write"]),
    ]
