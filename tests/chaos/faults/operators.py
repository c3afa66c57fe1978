"""An operator corrects links while events arrive."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg

from merganser.identity.unlink import Direction, LinkChange, NotALink, Unlinker
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from schemas.ids import NOBODY
from tests.chaos.deployment import Deployment
from tests.chaos.faults.fault import Injected, fault

LINKS = 10
"""Links that are ignored at a time; about as many are taken back."""

_PICK = """
SELECT guid FROM events
WHERE "userId" IS NOT NULL AND "anonymousId" IS NOT NULL AND "profileGuid" IS NOT NULL
    AND NOT starts_with(guid, 'evt_hostile-')
ORDER BY random() LIMIT %s
"""


@fault("links ignored and taken back", "operator", weight=2)
async def links(deployment: Deployment) -> AsyncIterator[Injected]:
    yield Injected(f"{LINKS} links are ignored, some others are links again")
    await change_links(deployment)


async def change_links(deployment: Deployment) -> None:
    """Ignore some links, take some back, and remember which are ignored."""
    async with await deployment.reconnect() as connection:
        cursor = await connection.execute(_PICK, (LINKS,))
        picked = [guid for (guid,) in await cursor.fetchall()]
    database = Database(deployment.system.database.url, "operator")
    unlinker = Unlinker(NOBODY, deployment.random.choice([0, 5, 5000]))
    try:
        for guid in picked:
            if await _change(database, unlinker, "unlink", guid):
                deployment.ignored_links.add(guid)
        for guid in deployment.random.sample(sorted(deployment.ignored_links), len(picked) // 2):
            if await _change(database, unlinker, "relink", guid):
                deployment.ignored_links.remove(guid)
    finally:
        await database.close()


async def _change(database: Database, unlinker: Unlinker, direction: Direction, guid: str) -> bool:
    """Return False if the event cannot be changed, such as one whose row is being corrected."""

    async def work(connection: psycopg.AsyncConnection[Any]) -> LinkChange:
        return await unlinker.change(connection, direction, guid, "chaos", "a test")

    try:
        await database.transact(work, Stop())
    except NotALink:
        return False
    return True
