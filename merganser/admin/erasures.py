"""The ledger of erasures: list it, write it to a file, and erase again after a restore.

The file has lines of JSON: a header, the erasures, the hashes of their ids, the numbers of both.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from psycopg import AsyncConnection, DataError, IntegrityError

from merganser.admin import forget, placeholder
from merganser.admin.actions import Actor, record_action
from merganser.admin.database import Result, Transact, open_connection, open_transactions
from merganser.admin.errors import AdminError
from merganser.admin.placeholder import OWNER_CHUNK
from merganser.identity import erasures as ledger
from merganser.identity import placeholder as identity
from merganser.identity.erasures import Erasure, Search
from merganser.identity.forget import Request
from merganser.identity.placeholder import Placeholder
from merganser.runtime import isolation
from merganser.runtime.settings import Settings

FORMAT = "merganser erasures"
VERSION = 1

CHUNK = 1000
"""Lines of the file, or found people, in memory at a time."""

REPLAY_REASON = "merganser erasures replay"

Write = Callable[[str], object]


class InvalidFile(AdminError):
    """The file is not a complete export of this database's ledger."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay did."""

    imported: int
    """Number of erasures that the ledger did not have."""
    profiles: int
    """Number of profiles that were erased again."""
    events: int
    """Number of events that were erased again."""
    failures: Mapping[str, str]
    """Why profiles could not be erased, by guid. If there are any, the replay is not finished."""


async def list_erasures(settings: Settings, name: str | None) -> AsyncIterator[Erasure]:
    """Yield the erasures of the ledger, oldest first.

    Args:
        settings: the database's URL.
        name: only those of this userId, anonymousId or guid.
    """
    async with _open_snapshot(settings) as connection:
        async for erasure in ledger.read_erasures(connection, name):
            yield erasure


async def export_erasures(settings: Settings, write: Write) -> int:
    """Write the whole ledger, as `replay_erasures` reads it; return the number of erasures.

    Args:
        settings: the database's URL.
        write: receives each line, with its line feed.
    """
    erasures = ids = 0
    async with _open_snapshot(settings) as connection:
        fingerprint = await ledger.read_fingerprint(connection)
        write(_to_line(kind="header", format=FORMAT, version=VERSION, fingerprint=fingerprint))
        async for erasure in ledger.read_erasures(connection):
            write(erasure.json + "\n")
            erasures += 1
        async for line in ledger.read_ids(connection):
            write(line + "\n")
            ids += 1
    write(_to_line(kind="end", erasures=erasures, ids=ids))
    return erasures


async def export_to_file(settings: Settings, path: Path) -> int:
    """Write the whole ledger to a file, which is complete or as it was before.

    Raises:
        InvalidFile: the file cannot be written.
    """
    part = path.with_name(path.name + ".partial")
    try:
        with part.open("w", encoding="utf-8") as file:
            erasures = await export_erasures(settings, file.write)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InvalidFile(f"cannot write {path}: {error.strerror}") from None
    return erasures


async def replay_erasures(
    settings: Settings, actor: Actor, path: Path, progress: Callable[[int], None]
) -> Replay:
    """Erase again everyone whom the file says was erased, and suppress their ids as the file says.

    Erasures that the restored database has finished are not repeated. If it is interrupted, run it
    again: it continues. A person whom it cannot erase does not stop it: the next run tries again.

    Args:
        settings: the database's URL, how to reach Kafka, and the ids that mean nobody.
        actor: who does it, also for the ledger.
        path: of the file.
        progress: called with the number of profiles that were erased.

    Raises:
        InvalidFile: the file is not complete, or of another database. Nothing is changed.
    """
    with _open_file(path) as file:
        async with open_connection(settings, "replay") as connection:
            _check_file(path, file, await ledger.read_fingerprint(connection))
        request = await forget.add_retention(
            settings, Request("", actor.name, REPLAY_REASON, "none")
        )
        async with open_transactions(settings, "replay") as transact:
            try:
                imported = await _import_file(transact, file)
            except (DataError, IntegrityError) as error:
                raise InvalidFile(f"{path}: {error.diag.message_primary}") from None
            eraser = _Eraser(transact, settings.nobody_ids, request, progress)
            await eraser.erase_all()
            if not eraser.failures:
                await transact(ledger.finish_replay)
            counts = {
                "imported": imported,
                "profiles": eraser.profiles,
                "events": eraser.events,
                "failures": len(eraser.failures),
            }
            await transact(
                lambda connection: record_action(
                    connection, actor, "erasures replayed", counts=counts
                )
            )
    return Replay(imported, eraser.profiles, eraser.events, eraser.failures)


class _Eraser:
    """Erases again whom the restored database has."""

    def __init__(
        self,
        transact: Transact,
        nobody_ids: Collection[str],
        request: Request,
        progress: Callable[[int], None],
    ) -> None:
        self._transact = transact
        self._nobody_ids = nobody_ids
        self._request = request
        self._progress = progress
        self.profiles = 0
        self.events = 0
        self.failures: dict[str, str] = {}
        """Why profiles could not be erased, by guid."""

    async def erase_all(self) -> None:
        """Erase users and placeholders, then devices, which may be those of another user here."""
        searches: tuple[Search, ...] = ("find_begun", "find_users")
        for search in searches:
            async for profile in self._find(search):
                await self._attempt(profile, self._erase(profile))
        async for user_id in self._find("find_placeholders"):
            found = await self._transact(partial(identity.find_placeholder, user_id=user_id))
            if found:
                await self._attempt(found.profile, self._remove_placeholder(found))
        async for anonymous_id in self._find("find_anonymous_ids"):
            owner = await self._transact(partial(ledger.read_profile, anonymous_id=anonymous_id))
            # A user who could not be erased keeps the devices until the next run.
            if owner and owner not in self.failures:
                begun = await self._attempt(owner, self._begin(anonymous_id))
                if begun:
                    await self._attempt(begun, self._erase(begun))

    async def _attempt(self, profile: str, work: Awaitable[Result]) -> Result | None:
        """Return the result of work on a profile; if it fails, note why and return None."""
        try:
            return await work
        except Exception as error:
            if not isolation.blames_items(error):
                raise
            self.failures[profile] = isolation.reason(error)
            return None

    async def _find(self, search: Search) -> AsyncIterator[str]:
        after = ""

        async def find_next(connection: AsyncConnection[Any]) -> list[str]:
            return await ledger.find_next(connection, search, after, CHUNK)

        while found := await self._transact(find_next):
            for text in found:
                yield text
            after = found[-1]

    async def _begin(self, anonymous_id: str) -> str | None:
        async def begin(connection: AsyncConnection[Any]) -> str | None:
            return await ledger.begin(connection, anonymous_id, self._request)

        return await self._transact(begin)

    async def _erase(self, profile: str) -> None:
        request = replace(self._request, name=profile)

        async def keep_other_ids(connection: AsyncConnection[Any]) -> bool:
            return await ledger.keep_other_ids(
                connection, profile, request, self._nobody_ids, OWNER_CHUNK
            )

        while await self._transact(keep_other_ids):
            pass
        self._count(await forget.erase_profile(self._transact, profile, request, lambda _: None))

    async def _remove_placeholder(self, found: Placeholder) -> None:
        request = replace(self._request, name=found.user_id, suppresses="placeholder")
        await placeholder.run_steps(
            self._transact, found, request, self._nobody_ids, forget.CHUNK, lambda _: None
        )
        self._count(await forget.read_erasure(self._transact, found.profile))

    def _count(self, erasure: Erasure) -> None:
        self.profiles += 1
        self.events += erasure.deleted.get("events", 0)
        self._progress(self.profiles)


@asynccontextmanager
async def _open_snapshot(settings: Settings) -> AsyncIterator[AsyncConnection[Any]]:
    """Yield a connection in a transaction that sees one state of the tables."""
    async with open_connection(settings, "erasures") as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


@contextmanager
def _open_file(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror}") from None
    with file:
        yield file


def _check_file(path: Path, file: TextIO, fingerprint: str) -> None:
    """Read the whole file.

    Raises:
        InvalidFile: it is not a complete export of this database's ledger.
    """
    counts = dict.fromkeys(("erasure", "id"), 0)
    lines = _parse(path, file)
    header = next(lines, {})
    if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise InvalidFile(f"{path} is not a file of `merganser erasures export`")
    if header.get("fingerprint") != fingerprint:
        raise InvalidFile(
            f"{path} is of another database: its hashes have another salt. Restore a backup of the "
            "database that the file is of"
        )
    last: dict[str, Any] = {}
    for last in lines:
        if last["kind"] in counts:
            counts[last["kind"]] += 1
    if last != {"kind": "end", "erasures": counts["erasure"], "ids": counts["id"]}:
        raise InvalidFile(f"{path} is not complete: its end is missing")


def _parse(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, each with its `kind`."""
    invalid = InvalidFile(f"{path} has a line that is not an object of JSON with a kind")
    try:
        for line in file:
            parsed = json.loads(line)
            if not isinstance(parsed, dict) or "kind" not in parsed:
                raise invalid
            yield parsed
    except (ValueError, RecursionError):  # also bytes that are not UTF-8
        raise invalid from None


async def _import_file(transact: Transact, file: TextIO) -> int:
    """Write the erasures and ids of a checked file to the ledger; return how many erasures."""
    imported = 0
    for lines in _read_chunks(file, "erasure"):
        imported += await transact(partial(ledger.import_erasures, lines=lines))
    for lines in _read_chunks(file, "id"):
        await transact(partial(ledger.import_ids, lines=lines))
    return imported


def _read_chunks(file: TextIO, kind: str) -> Iterator[list[str]]:
    """Yield the lines of a kind, some at a time."""
    file.seek(0)
    lines = (line for line in file if json.loads(line)["kind"] == kind)
    while chunk := list(islice(lines, CHUNK)):
        yield chunk


def _to_line(**values: object) -> str:
    return json.dumps(values) + "\n"
