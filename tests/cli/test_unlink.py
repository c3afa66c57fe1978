"""`merganser unlink` and `relink`: the preview, the confirmation, and `--all`."""

from merganser.identity.plan import EventIds
from tests.identity.test_trail import PAGES, at, page_views, resolve
from tests.support.command import command
from tests.support.database import Database


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
