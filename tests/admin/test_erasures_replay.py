"""After a restore, a file of the ledger erases again everyone who was erased since the backup."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import pytest
from pydantic import SecretStr

from merganser.admin import erasures, forget, placeholder
from merganser.identity import forget as identity
from merganser.identity.audit import audit
from merganser.identity.forget import Request, SuppressionScope
from merganser.runtime import postgres
from merganser.runtime.postgres import connect
from merganser.runtime.settings import Settings
from scanner.scan import SCAN_START, RowScanner
from schemas.ids import NOBODY
from tests.support.actions import OPERATOR
from tests.support.database import Cluster, opened
from tests.support.events import NOON
from tests.support.kills import Killed

Stored = list[tuple[str, str | None, str | None, int]]
"""Events: guid without its prefix, userId, anonymousId, second."""

BACKUP: Stored = [
    ("ann_1", "ann", "phone", 10),
    ("ann_2", "ann", "laptop", 11),
    ("ann_3", None, "phone", 12),
    ("bob_1", "bob", "shared", 20),
    ("shared_1", None, "shared", 21),
    ("bob_2", "bob", None, 22),
    ("bob_3", "bob", "phone", 23),
    ("tablet_1", None, "tablet", 30),
    ("cat_1", "cat", "cats", 40),
    ("dan_1", "dan", "dans", 50),
    ("visitor_1", None, "visitor", 60),
    ("tester_1", "tester", "device", 70),
    ("device_1", None, "device", 71),
    ("eve_1", "eve", "eves", 80),
    ("fay_1", "fay", "fays", 81),
    ("gus_1", "gus", "guses", 90),
]
"""Events in the backup, in which Eve is erased and Fay's erasure has begun."""

SINCE: Stored = [
    ("ann_4", "ann", "tablet", 31),
    ("ann_5", "ann", "shared", 5),
]
"""Ann signs in on a tablet, and an earlier link shows that the shared device is hers."""


class Place:
    """A database with functions that do what processes and commands do."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.settings = Settings(
            database_url=SecretStr(url), kafka_bootstrap="127.0.0.1:1", _env_file=None
        )

    async def store(self, events: Stored) -> None:
        """Insert events and resolve them."""
        async with await connect(self.url, "test") as connection:
            async with connection.cursor() as cursor:
                await cursor.executemany(
                    'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt") '
                    "VALUES ('evt_' || %s, 't', %s, %s, %s)",
                    [(*ids, NOON + timedelta(seconds=second)) for *ids, second in events],
                )
            async with connection.transaction():
                await RowScanner(NOBODY, 100, 100).resolve_next(connection, SCAN_START)

    async def forget(self, name: str, suppresses: SuppressionScope = "all") -> None:
        request = Request(name, "an officer", "a request", suppresses)
        if suppresses == "placeholder":
            found = await placeholder.find_placeholder(self.settings, request)
            await placeholder.remove_placeholder(
                self.settings, OPERATOR, found, request, lambda _: None
            )
        else:
            person = await forget.find_person(self.settings, request)
            await forget.forget_person(self.settings, OPERATOR, person, request, lambda _: None)

    async def begin_to_forget(self, user_id: str) -> None:
        """Run the first transaction of the command."""
        profile = await self.value('SELECT guid FROM profiles WHERE "userId" = %s', user_id)
        request = Request(user_id, "an officer", "a request", "all")
        async with await connect(self.url, "test") as connection, connection.transaction():
            await identity.suppress_ids(connection, profile, request, 100)

    async def replay(self, path: Path) -> erasures.Replay:
        return await erasures.replay_erasures(self.settings, OPERATOR, path, lambda _: None)

    async def rows(self, query: LiteralString, *values: object) -> set[tuple[Any, ...]]:
        async with opened(self.url) as database:
            return set(await database.rows(query, *values))

    async def value(self, query: LiteralString, *values: object) -> Any:
        ((value,),) = await self.rows(query, *values)
        return value

    async def groups(self) -> set[frozenset[tuple[str, str | None, str | None]]]:
        """Return the events of each profile, each with its ids."""
        groups: dict[str, set[tuple[str, str | None, str | None]]] = {}
        for profile, *event in await self.rows(
            'SELECT "profileGuid", guid, "userId", "anonymousId" FROM events'
        ):
            groups.setdefault(profile, set()).add((event[0], event[1], event[2]))
        return {frozenset(group) for group in groups.values()}

    async def disagreements(self) -> list[Any]:
        async with await connect(self.url, "test") as connection:
            return list((await audit(connection, NOBODY, lambda _: None)).disagreements)


@pytest.fixture
async def places(cluster: Cluster, template: str) -> AsyncIterator[tuple[Place, Place]]:
    """The database in which people are erased, and one restored from a backup of before."""
    with cluster.database(template) as name:
        live = Place(name, cluster.url_of(name))
        await live.store(BACKUP)
        await live.forget("eve")
        await live.begin_to_forget("fay")
        with cluster.database(live.name) as restored:
            await live.store(SINCE)
            for user_id in ("ann", "dan", "fay"):
                await live.forget(user_id)
            await live.forget("cat", "none")
            await live.forget("tester", "placeholder")
            visitor = """SELECT "profileGuid" FROM "anonymousIds" WHERE "anonymousId" = 'visitor'"""
            await live.forget(await live.value(visitor))
            for readmitted in ("dan", "dans", "eves"):
                await forget.readmit_id(live.settings, OPERATOR, readmitted)
            yield live, Place(restored, cluster.url_of(restored))


async def test_a_replay_leaves_what_the_erasures_left(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    live, restored = places
    path = tmp_path / "erasures"
    assert await erasures.export_to_file(live.settings, path) == 7
    ids = {name for _, *names, _ in BACKUP + SINCE for name in names}
    assert ids.isdisjoint(re.findall(r"\w+", path.read_text()))
    replayed = await restored.replay(path)

    assert await restored.groups() == await live.groups()
    remaining = {frozenset(guid for guid, *_ in group) for group in await restored.groups()}
    assert remaining == {
        frozenset({"evt_bob_1", "evt_bob_2", "evt_bob_3"}),
        frozenset({"evt_tester_1", "evt_device_1"}),
        frozenset({"evt_gus_1"}),
    }
    for table in ('SELECT hash FROM "suppressedIds"', 'SELECT "userId" FROM profiles'):
        assert await restored.rows(table) == await live.rows(table), table
    assert await restored.disagreements() == []
    erased = """SELECT guid, "profileGuid", reason, suppresses, "startedAt", "finishedAt" IS NULL
        FROM "erasureLedger" WHERE "requestedBy" <> 'an operator'"""
    assert await restored.rows(erased) == await live.rows(erased)
    assert replayed.imported == 5  # not Eve and Fay, whom the backup knows
    # Ann, Fay, Dan, Cat, the placeholder; the tablet, the shared device, the visitor
    assert replayed.profiles == 8
    deleted = """SELECT sum(rows)::int FROM "erasureCounts"
        JOIN "erasureLedger" AS ledger ON ledger.guid = "erasureGuid"
        WHERE "table" = 'events' AND action = 'deleted' AND "requestedBy" = 'an operator'"""
    assert await restored.value(deleted) + 1 == replayed.events  # Fay's erasure is the officer's
    assert await restored.value("SELECT count(*) FROM erasures") == 0

    again = await restored.replay(path)
    assert (again.imported, again.profiles) == (0, 0)
    assert await restored.rows('SELECT hash FROM "suppressedIds"') == await live.rows(
        'SELECT hash FROM "suppressedIds"'
    )


async def test_later_events_are_stored_as_after_the_erasures(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    """The topic delivers again what was sent since the backup."""
    live, restored = places
    path = tmp_path / "erasures"
    await erasures.export_to_file(live.settings, path)
    await restored.replay(path)
    later: Stored = [
        ("dan_2", "dan", "dans", 100),
        ("bob_4", "bob", "shared", 101),
        ("ann_6", "ann", "phone", 102),
        ("tablet_2", None, "tablet", 103),
        ("tester_2", "tester", "device", 104),
    ]
    await live.store(later)
    await restored.store([*SINCE, *later])
    assert await restored.groups() == await live.groups()
    assert await restored.disagreements() == []


async def test_a_killed_replay_continues(
    places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, restored = places
    path = tmp_path / "erasures"
    await erasures.export_to_file(live.settings, path)
    assert await replay_with_kills(restored, path, monkeypatch) > 10
    assert await restored.groups() == await live.groups()
    hashes: LiteralString = 'SELECT hash FROM "suppressedIds"'
    assert await restored.rows(hashes) == await live.rows(hashes)
    assert await restored.disagreements() == []


async def replay_with_kills(place: Place, path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kill the command after one transaction, then after two, until it ends; return the kills."""
    work = postgres.Database.transact
    transactions, limit, kills = 0, 0, 0

    async def transact(self: postgres.Database, *arguments: Any) -> Any:
        nonlocal transactions
        transactions += 1
        if transactions > limit:
            raise Killed
        return await work(self, *arguments)

    monkeypatch.setattr(postgres.Database, "transact", transact)
    while True:
        transactions, limit = 0, limit + 1
        try:
            await place.replay(path)
        except Killed:
            kills += 1
        else:
            return kills


async def test_devices_that_left_a_person_before_the_erasure_stay(
    cluster: Cluster, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the backup they are still the person's."""
    backup: Stored = [
        ("ann_1", "ann", "phone", 10),
        ("phone_1", None, "phone", 11),
        ("ann_2", "ann", "kiosk", 12),
        ("kiosk_1", None, "kiosk", 13),
        ("ann_3", "ann", "tablet", 14),
        ("tablet_1", None, "tablet", 15),
        ("bob_1", "bob", "tablet", 20),
    ]
    earlier: Stored = [("bob_2", "bob", "kiosk", 5), ("bob_3", "bob", "tablet", 6)]
    path = tmp_path / "erasures"
    with cluster.database(template) as name:
        live = Place(name, cluster.url_of(name))
        await live.store(backup)
        with cluster.database(name) as copy:
            restored = Place(copy, cluster.url_of(copy))
            await live.store(earlier)
            await live.forget("ann")
            await erasures.export_to_file(live.settings, path)
            assert await replay_with_kills(restored, path, monkeypatch) > 5
            groups = {frozenset(guid for guid, *_ in group) for group in await restored.groups()}
            assert groups == {
                frozenset({"evt_kiosk_1"}),
                frozenset({"evt_tablet_1", "evt_bob_1"}),
            }
            assert await restored.disagreements() == []
            assert await restored.rows('SELECT * FROM "eventMoves"') == set()
            await restored.store(earlier)
            assert await restored.groups() == await live.groups()
            assert await restored.disagreements() == []


async def test_a_person_who_cannot_be_erased_does_not_stop_the_others(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    """Of Ann an event cannot be deleted, of the visitor the device; neither comes last."""
    live, restored = places
    path = tmp_path / "erasures"
    await erasures.export_to_file(live.settings, path)
    ann = await restored.value("""SELECT guid FROM profiles WHERE "userId" = 'ann'""")
    visitor = await restored.value(
        """SELECT "profileGuid" FROM "anonymousIds" WHERE "anonymousId" = 'visitor'"""
    )
    async with opened(restored.url) as database:
        await database.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'the row of ann'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON events FOR EACH ROW
            WHEN (OLD.guid = 'evt_ann_1') EXECUTE FUNCTION refuse();
            CREATE TRIGGER refuse BEFORE DELETE ON "anonymousIds" FOR EACH ROW
            WHEN (OLD."anonymousId" = 'visitor') EXECUTE FUNCTION refuse();"""
        )
    for profiles in (6, 0):
        replayed = await restored.replay(path)
        assert replayed.failures.keys() == {ann, visitor}
        assert "RaiseException P0001" in replayed.failures[ann]
        assert "the row" not in replayed.failures[ann]
        assert replayed.profiles == profiles
        assert await restored.value("SELECT count(*) FROM erasures") == 2
        assert await restored.value('SELECT count("replayedAt") FROM "erasureLedger"') == 0
    async with opened(restored.url) as database:
        await database.execute(
            'DROP TRIGGER refuse ON events; DROP TRIGGER refuse ON "anonymousIds"'
        )
    assert not (await restored.replay(path)).failures
    assert await restored.groups() == await live.groups()
    assert await restored.value("SELECT count(*) FROM erasures") == 0
    assert await restored.value('SELECT count("replayedAt") FROM "erasureLedger"') == 5


async def test_a_file_that_is_not_complete_changes_nothing(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    live, restored = places
    path = tmp_path / "erasures"
    await erasures.export_to_file(live.settings, path)
    lines = path.read_text().splitlines(keepends=True)
    before = await restored.groups()
    for damaged in (
        lines[:-1],
        [*lines[:3], *lines[4:]],
        lines[1:],
        [*lines[:2], "{}\n", *lines[2:]],
        [],
        ["\xff"],
        [json.dumps({"kind": "header", "format": "another"})],
    ):
        path.write_bytes("".join(damaged).encode("latin-1"))
        with pytest.raises(erasures.InvalidFile):
            await restored.replay(path)
    with pytest.raises(erasures.InvalidFile):
        await restored.replay(tmp_path / "missing")
    assert await restored.groups() == before
    assert await restored.value('SELECT count(*) FROM "erasureLedger"') == 2


@pytest.fixture
def other(cluster: Cluster) -> Iterator[Place]:
    """A database with another salt."""
    with cluster.template() as name:
        yield Place(name, cluster.url_of(name))


async def test_a_file_of_another_database_changes_nothing(
    places: tuple[Place, Place], other: Place, tmp_path: Path
) -> None:
    live, _ = places
    path = tmp_path / "erasures"
    await erasures.export_to_file(live.settings, path)
    with pytest.raises(erasures.InvalidFile, match="another salt"):
        await other.replay(path)
    assert await other.value('SELECT count(*) FROM "erasureLedger"') == 0
