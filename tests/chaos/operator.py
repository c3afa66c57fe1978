"""An operator corrects links and forgets people while events arrive."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, LiteralString

import psycopg

from merganser.identity.unlink import Direction, LinkChange, NotALink, Unlinker
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from schemas.ids import NOBODY
from tests.chaos.corrections import Forgotten
from tests.chaos.deployment import Deployment
from tests.support.command import KILLED, CommandResult, command

LINKS = 10
"""Links that are ignored at a time; about as many are taken back."""

BY_COMMAND = 0.07
"""Share of the links that a command changes, in a separate process."""

KILLED_SHARE = 0.4
"""Share of the commands that are killed and run again."""

COMMAND_SECONDS = 180.0
"""How long a command is run again while servers are away."""

_PICK_LINKS = """
SELECT guid, "anonymousId" FROM events
WHERE "userId" IS NOT NULL AND "anonymousId" IS NOT NULL AND "profileGuid" IS NOT NULL
    AND NOT starts_with(guid, 'evt_hostile-')
ORDER BY random() LIMIT %s
"""

_PICK_PERSON = """
SELECT guid, "userId", anonymous_ids
FROM profiles CROSS JOIN LATERAL (
    SELECT coalesce(array_agg("anonymousId"), '{}') FROM "anonymousIds" WHERE "profileGuid" = guid
) AS ids(anonymous_ids)
WHERE coalesce("userId", '') NOT LIKE 'hostile %'
    AND NOT EXISTS (SELECT FROM unnest(anonymous_ids) AS id WHERE id LIKE 'hostile %')
ORDER BY random()
    * CASE WHEN "userId" IS NULL THEN 3 ELSE 1 END
    / CASE WHEN EXISTS (
        SELECT FROM "profileMerges" AS merges
        WHERE merges."anonymousId" = ANY(anonymous_ids) AND merges."survivorGuid" <> profiles.guid
    ) THEN 10 ELSE 1 END
LIMIT 1
"""
"""More often a user than a visitor, and more often one whose anonymousIds had another owner."""

_MOVED = """
SELECT "anonymousId"
FROM "anonymousIds" JOIN profiles ON profiles.guid = "profileGuid"
WHERE "anonymousId" = ANY(%s) AND profiles."userId" <> %s
"""


async def correct(
    deployment: Deployment, longest_pause: float, stopped: Callable[[], bool]
) -> None:
    """Change links and forget people, at random, until stopped.

    Args:
        deployment: on which the operator works.
        longest_pause: between two corrections, in seconds.
        stopped: whether to return; a correction that has begun is finished.
    """
    while not stopped():
        await deployment.random.choice([change_links, forget_person])(deployment)
        await asyncio.sleep(deployment.random.uniform(0, longest_pause))


async def change_links(deployment: Deployment) -> None:
    """Ignore some links, take some back, and remember which are ignored."""
    corrections = deployment.corrections
    picked = dict(await _rows(deployment, _PICK_LINKS, LINKS))
    changer = _LinkChanger(deployment)
    try:
        for guid, anonymous_id in picked.items():
            if await changer.change("unlink", guid, anonymous_id):
                corrections.ignored_links[guid] = anonymous_id
                corrections.unlinks += 1
        ignored = sorted(corrections.ignored_links)
        for guid in deployment.random.sample(ignored, min(len(ignored), len(picked) // 2)):
            if await changer.change("relink", guid, corrections.ignored_links[guid]):
                del corrections.ignored_links[guid]
                corrections.relinks += 1
    finally:
        await changer.database.close()


class _LinkChanger:
    """Changes links, some by the function that the command calls, some by the command."""

    def __init__(self, deployment: Deployment) -> None:
        self.database = Database(deployment.system.database.url, "operator")
        self._deployment = deployment
        self._unlinker = Unlinker(NOBODY, deployment.random.choice([0, 5, 5000]))

    async def change(self, direction: Direction, guid: str, anonymous_id: str) -> bool:
        """Return False if the event cannot be changed, such as one whose row is being corrected."""
        by_command = self._deployment.random.random() < BY_COMMAND
        work = self._change_by_command if by_command else self._change_by_function
        try:
            return await work(direction, guid)
        finally:
            self._deployment.corrections.changed_anonymous_ids.append(anonymous_id)

    async def _change_by_function(self, direction: Direction, guid: str) -> bool:
        async def work(connection: psycopg.AsyncConnection[Any]) -> LinkChange:
            return await self._unlinker.change(connection, direction, guid, "chaos", "a test")

        try:
            await self.database.transact(work, Stop())
        except NotALink:
            return False
        return True

    async def _change_by_command(self, direction: Direction, guid: str) -> bool:
        deployment, refusal = self._deployment, f"cannot {direction}"
        arguments = direction, guid, "--reason", "a test", "--yes"
        ended, kills = await _run(deployment, refusal, *arguments)
        if ended.status and kills:
            deployment.corrections.unknown_links.add(guid)
        return ended.status == 0


async def forget_person(deployment: Deployment) -> None:
    """Forget a person, and remember the ids."""
    corrections = deployment.corrections
    for profile, user_id, anonymous_ids in await _rows(deployment, _PICK_PERSON):
        link_changes = len(corrections.changed_anonymous_ids)
        await _forget(deployment, user_id or profile)
        rows = await _rows(deployment, _MOVED, anonymous_ids, user_id)
        moved = frozenset(name for (name,) in rows)
        corrections.forgotten.append(
            Forgotten(profile, user_id, frozenset(anonymous_ids), moved, link_changes)
        )


async def _forget(deployment: Deployment, name: str) -> None:
    """Run `merganser forget`, again if a visitor became a user while it looked for the person."""
    arguments = ("forget", name, "--reason", "chaos", "--yes")
    for _ in range(3):
        ended, kills = await _run(deployment, "no profile has this", *arguments)
        if ended.status == 0 or kills:  # a killed command may have left the rest to the scanner
            return
    raise AssertionError(f"{arguments}: {ended.err[-500:]}")


async def _rows(deployment: Deployment, query: LiteralString, *values: object) -> list[Any]:
    """Return the rows of a query; try again until Postgres answers."""
    while True:
        with suppress(psycopg.Error):
            async with await deployment.reconnect() as connection:
                cursor = await connection.execute(query, values or None)
                return await cursor.fetchall()
        await asyncio.sleep(0.2)


async def _run(deployment: Deployment, refusal: str, *arguments: str) -> tuple[CommandResult, int]:
    """Run a command, again if it is killed or a server is away.

    Args:
        deployment: on which it runs.
        refusal: part of the error message of a command that must not run again.
        arguments: of the command.

    Returns:
        How it ended at last, and how often it was killed before.
    """
    random, kills, end = deployment.random, 0, time.monotonic() + COMMAND_SECONDS
    while True:
        kill_after = random.uniform(0.02, 0.6) if random.random() < KILLED_SHARE else None
        ended = await command(deployment.system.env, *arguments, kill_after=kill_after)
        if ended.status == 0 or refusal in " ".join(ended.err.split()):
            return ended, kills
        if ended.status == KILLED:
            kills += 1
            deployment.corrections.killed += 1
        elif "Traceback" in ended.err or time.monotonic() > end:
            raise AssertionError(f"{arguments} ended with {ended.status}: {ended.err[-1000:]}")
        await asyncio.sleep(0.2)
