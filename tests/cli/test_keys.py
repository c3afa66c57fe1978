"""`merganser keys`: options of both kinds of keys, and what `list` shows."""

import json

import pytest

from tests.support.command import command
from tests.support.database import Database


async def test_list_shows_kind_origins_and_rate(database: Database) -> None:
    env = {"MERGANSER_DATABASE_URL": database.url}
    create = ("keys", "create")
    web = ("web", "--publishable", "--origin=https://Shop.example/", "--rate=50")
    for arguments in (("server",), web):
        assert (await command(env, *create, *arguments)).status == 0
    await command(env, "keys", "revoke", "server")
    guids = await database.column('SELECT guid FROM "apiKeys" ORDER BY "createdAt"')
    await database.execute(
        """INSERT INTO "keyUsage" VALUES (%s, date_trunc('hour', now()), 1204, 3, now())""",
        guids[1],
    )
    listed = json.loads((await command(env, "keys", "list", "--json")).out)
    assert [key.pop("guid") for key in listed] == guids
    assert all(key.pop("createdAt").endswith("+00:00") for key in listed)
    assert listed[0].pop("revokedAt").endswith("+00:00")
    assert listed[1].pop("lastUsedAt").endswith("+00:00")
    assert listed == [
        {
            "name": "server",
            "kind": "secret",
            "permissions": ["events:write"],
            "origins": [],
            "rate": None,
            "eventsLastDay": 0,
            "refusedLastDay": 0,
            "lastUsedAt": None,
        },
        {
            "name": "web",
            "kind": "publishable",
            "permissions": ["events:write"],
            "origins": ["https://shop.example"],
            "rate": 50,
            "eventsLastDay": 1204,
            "refusedLastDay": 3,
            "revokedAt": None,
        },
    ]
    table = (await command(env, "keys", "list")).out
    # The table folds longer cells.
    for cell in ("secret", "publishable", "https", "50", "1,204", "created"):
        assert cell in table


async def test_change_needs_options_that_go_together(database: Database) -> None:
    env = {"MERGANSER_DATABASE_URL": database.url, "COLUMNS": "200"}
    for options in ([], ["--any-origin", "--origin=https://shop.example"], ["--rate=0"]):
        result = await command(env, "keys", "change", "web", *options)
        assert (result.status, "Traceback" in result.err) == (2, False), options
    result = await command(env, "keys", "change", "web", "--rate=5")
    assert (result.status, "no valid publishable key" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--publishable", "--permission=events:read"], "only has events:write"),
        (["--publishable", "--permission=events:write", "--permission=events:delete"], "only has"),
        (["--origin=https://shop.example"], "--publishable"),
        (["--publishable", "--origin=shop.example"], "https://shop.example"),
        (["--publishable", "--origin=*"], "not an origin"),
        (["--publishable", "--rate=0"], "--rate"),
        (["--publishable", "--rate=-1"], "--rate"),
        (["--rate=much"], "--rate"),
    ],
)
async def test_invalid_options_create_no_key(
    database: Database, options: list[str], problem: str
) -> None:
    env = {"MERGANSER_DATABASE_URL": database.url, "COLUMNS": "200"}
    result = await command(env, "keys", "create", "web", *options)
    assert result.status == 2
    assert problem in result.err
    assert "Traceback" not in result.err
    assert await database.count("apiKeys") == 0


async def test_the_user_of_the_system_is_in_the_log_of_actions(database: Database) -> None:
    env = {"MERGANSER_DATABASE_URL": database.url}
    for arguments in (("create", "web", "--publishable"), ("change", "web", "--rate=5")):
        assert (await command(env, "keys", *arguments)).status == 0
    assert (await command(env, "keys", "revoke", "web")).status == 0
    logged = await database.rows('SELECT source, action FROM actions ORDER BY "createdAt"')
    assert logged == [("cli", "key created"), ("cli", "key changed"), ("cli", "key revoked")]
    assert await database.value("SELECT count(DISTINCT actor) FROM actions") == 1
    assert await database.column("SELECT actor FROM actions WHERE actor = ''") == []
