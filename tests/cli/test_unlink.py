"""`merganser unlink` and `relink`: the preview, the confirmation, and `--all`."""

from merganser.identity.plan import EventIds
from tests.identity.test_trail import PAGES, at, page_views, resolve
from tests.support.command import command
from tests.support.database import Database
from tests.support.system import System


async def test_all_links_are_previewed_then_ignored_then_links_again(database: Database) -> None:
    links = [EventIds(f"evt_{number}", at(number), "ann", "phone") for number in range(3)]
    await resolve(database, *page_views("phone"), *links)
    env = {"MERGANSER_DATABASE_URL": database.url, "COLUMNS": "200"}

    async def run(name: str, *options: str) -> tuple[int, str]:
        result = await command(env, name, "evt_1", "--reason", "wrong tablet", *options)
        return result.status, result.err

    status, shown = await run("unlink", "--all")
    assert (status, "add --yes" in shown) == (1, True)
    assert "3 events link anonymousId phone to user ann" in shown
    assert f"{PAGES} events of phone go from" in shown
    assert await database.count("ignoredLinks") == 0
    status, shown = await run("unlink", "--yes")
    assert (status, "evt_1 links anonymousId phone to user ann" in shown) == (0, True)
    assert await database.count("ignoredLinks") == 1
    assert (await run("unlink", "--all", "--yes"))[0] == 0
    assert await database.count("ignoredLinks") == 3
    status, shown = await run("unlink", "--all", "--yes")
    assert (status, "nothing to do" in shown) == (0, True)
    assert (await run("relink", "--all", "--yes"))[0] == 0
    assert await database.count("ignoredLinks") == 0


async def test_the_reason_contains_no_id(database: Database) -> None:
    await resolve(
        database,
        EventIds("evt_link", at(1), "ann", "phone"),
        EventIds("evt_next", at(2), "bob", "phone"),
    )
    env = {"MERGANSER_DATABASE_URL": database.url}
    for reason, status in (("not Ann", 1), ("a Phone", 1), ("it is Bob's", 1), ("announced", 0)):
        result = await command(env, "unlink", "evt_link", "--reason", reason, "--yes")
        assert result.status == status, result.err
    assert await database.column('SELECT reason FROM "linkChanges"') == ["announced"]


async def test_an_export_has_what_operators_did_with_links(system: System) -> None:
    await resolve(
        system.database,
        EventIds("evt_kept", at(1), "ann", "phone"),
        EventIds("evt_pruned", at(2), "ann", "tablet"),
        EventIds("evt_of_bob", at(3), "bob", "laptop"),
    )
    for name, event in (
        ("unlink", "evt_kept"),
        ("unlink", "evt_pruned"),
        ("relink", "evt_pruned"),
        ("unlink", "evt_of_bob"),
    ):
        result = await command(system.env, name, event, "--reason", f"{name} it", "--yes")
        assert result.status == 0, result.err
    await system.database.execute("DELETE FROM events WHERE guid = 'evt_pruned'")
    expected = {
        "ann": [
            ("ignoredLink", "evt_kept", None, None),
            ("linkChange", "evt_kept", "unlinked", "unlink it"),
            ("linkChange", "evt_pruned", "relinked", "relink it"),
            ("linkChange", "evt_pruned", "unlinked", "unlink it"),
        ],
        "bob": [
            ("ignoredLink", "evt_of_bob", None, None),
            ("linkChange", "evt_of_bob", "unlinked", "unlink it"),
        ],
    }
    for user_id, links in expected.items():
        exported = await command(system.env, "export", user_id)
        assert exported.status == 0, exported.err
        assert (
            sorted(
                (line["kind"], line["eventGuid"], line.get("action"), line.get("reason"))
                for line in exported.lines
                if line["kind"] in {"linkChange", "ignoredLink"}
            )
            == links
        )
