"""`merganser prune` deletes old events and changes no profile."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from merganser.admin import prune as admin
from merganser.identity import store
from merganser.identity.audit import audit
from merganser.identity.plan import EventIds
from merganser.runtime import sql
from merganser.runtime.postgres import BY_KEY, connect
from merganser.runtime.settings import Settings
from schemas.ids import NOBODY
from tests.properties.harness import COUNT, PropertyHarness
from tests.support.actions import OPERATOR
from tests.support.command import CommandResult, command
from tests.support.database import Database

NOW = datetime.now(UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


async def store_events(database: Database, *events: EventIds, kind: str = "view") -> None:
    """Resolve events and store them with a row of data each."""
    async with await connect(database.url, "test") as connection, connection.transaction():
        plan = await store.resolve(connection, events, 100)
        for event, profile in zip(events, plan.event_profiles, strict=True):
            await connection.execute(
                'INSERT INTO events (guid, type, "occurredAt", "userId", "anonymousId", '
                '"profileGuid") VALUES (%s, %s, %s, %s, %s, %s)',
                (event.guid, kind, *event[1:4], profile),
            )
            await connection.execute(
                'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
                (event.guid, "k", "v"),
            )


async def prune(database: Database, *options: str, **settings: str) -> CommandResult:
    env = {f"MERGANSER_{name.upper()}": value for name, value in settings.items()}
    env["MERGANSER_DATABASE_URL"] = database.url
    result = await command(env, "prune", "--older-than", "30d", *options)
    assert result.status == 0, result.err
    return result


async def read_guids(database: Database) -> list[str]:
    return await database.column("SELECT guid FROM events ORDER BY guid")


async def audit_identity(database: Database) -> list[str]:
    report = await audit(database.connection, NOBODY, lambda _: None)
    return [disagreement.problem for disagreement in report.disagreements]


OLD_LINK = EventIds("evt_1", ago(50), "ann", "phone")
LATER_LINK = EventIds("evt_2", ago(5), "bob", "phone")
PAGE = EventIds("evt_3", ago(4), None, "phone")


async def test_an_owner_stays_when_the_link_is_deleted(database: Database) -> None:
    await store_events(database, OLD_LINK)
    await store_events(database, LATER_LINK, PAGE)
    ann = await database.profile_of("ann")
    assert "deleted 1 events" in (await prune(database)).err
    assert await read_guids(database) == ["evt_2", "evt_3"]
    assert await database.column('SELECT "eventGuid" FROM "eventData" ORDER BY 1') == [
        "evt_2",
        "evt_3",
    ]
    assert await audit_identity(database) == []

    await store_events(database, EventIds("evt_4", ago(1), None, "phone"))
    assert await database.value("SELECT \"profileGuid\" FROM events WHERE guid = 'evt_4'") == ann
    assert await audit_identity(database) == []
    assert (await command({"MERGANSER_DATABASE_URL": database.url}, "audit")).status == 0


@pytest.mark.parametrize("moved", [10, 60], ids=["after the horizon", "to another time before"])
async def test_an_audit_of_pruned_events_still_finds_wrong_owners(
    database: Database, moved: int
) -> None:
    """A trusted link must be from before the pruned time and earlier than all stored links."""
    await store_events(database, LATER_LINK, PAGE)
    await store_events(database, EventIds("evt_0", ago(40), "cy", "other"))
    await prune(database)
    await database.execute('UPDATE "anonymousIds" SET "linkedAt" = %s', ago(moved))
    found = await audit_identity(database)
    assert ("the earliest link of this anonymousId is another event" in found) == (moved == 10)


@pytest.mark.parametrize(
    ("retention", "remembered"), [("7", ["evt_new"]), ("50", ["evt_new", "evt_old"]), ("0", None)]
)
async def test_only_deleted_events_that_the_topic_may_hold_are_remembered(
    database: Database, retention: str, remembered: list[str] | None
) -> None:
    """The topic still holds old events that arrived recently."""
    created = {"evt_new": 10, "evt_old": 40, "evt_older": 99}  # a segment of the topic adds a week
    await store_events(database, *(EventIds(guid, ago(40), "ann", None) for guid in created))
    for guid, days in created.items():
        await database.execute(
            'UPDATE events SET "createdAt" = %s WHERE guid = %s', ago(days), guid
        )
    await prune(database, topic_retention=retention)
    assert await read_guids(database) == []
    found = await database.column(
        """SELECT guid FROM unnest(%s::text[]) AS guids (guid)
        JOIN "deletedEvents" ON hash = "suppressionHash"('event', guid)
        ORDER BY guid""",
        list(created),
    )
    assert found == (list(created) if remembered is None else remembered)


async def test_a_dry_run_deletes_nothing(database: Database) -> None:
    await store_events(database, OLD_LINK, PAGE)
    result = await prune(database, "--dry-run")
    assert "would delete 1 events" in result.err
    assert await read_guids(database) == ["evt_1", "evt_3"]
    assert await database.count("retention") == 0


async def test_unresolved_rows_stay(database: Database) -> None:
    await database.execute(
        "INSERT INTO events (type, \"userId\", \"occurredAt\") VALUES ('row', 'ann', %s)", ago(99)
    )
    assert "1 stay" in (await prune(database)).err
    assert await database.unresolved() == 1


async def test_events_are_deleted_in_chunks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "CHUNK", 3)
    events = [EventIds(f"evt_{n:02}", ago(40), None, f"d{n % 4}") for n in range(10)]
    await store_events(database, *events, PAGE)
    read_counts: list[int] = []
    result = await admin.prune_events(
        Settings(database_url=SecretStr(database.url), _env_file=None),
        OPERATOR,
        30,
        NOW,
        lambda read, _estimate: read_counts.append(read),
        include_counted=False,
        dry_run=False,
    )
    assert read_counts == [3, 6, 9, 10]
    assert (result.deleted, result.kept) == (10, 0)
    assert await read_guids(database) == ["evt_3"]


async def test_events_that_rules_count_stay(database: Database) -> None:
    harness = PropertyHarness(database)
    harness.now = NOW
    windowed = {**COUNT, "key": "lately", "events": {**COUNT["events"], "window": 7}}  # type: ignore[dict-item]
    clicks = {
        **windowed,
        "key": "clicks",
        "events": {"type": "click", "aggregation": "count", "window": 7},
    }
    await harness.apply(COUNT, windowed, clicks)
    await store_events(database, OLD_LINK, PAGE)
    await store_events(database, EventIds("evt_5", ago(60), "ann", None), kind="click")
    await harness.run_steps()
    ann = await database.profile_of("ann")
    result = await prune(database)
    assert "1 stay: rules count them (visits;" in result.err
    assert await read_guids(database) == ["evt_1", "evt_3"]
    assert await database.count("eventChanges") == 0  # the properties process has nothing to do
    assert await harness.read_values(ann, "visits") == ["2"]
    assert await harness.find_disagreements() == []

    await prune(database, "--counted")
    await harness.run_steps()
    assert await read_guids(database) == ["evt_3"]
    assert await harness.read_values(ann, "visits") == ["1"]
    assert await harness.find_disagreements() == []
    assert await audit_identity(database) == []


async def test_a_broken_rule_blocks_pruning(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply(COUNT)
    await store_events(database, OLD_LINK, PAGE)
    await harness.run_steps()
    await database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'visits'"""
    )
    result = await command({"MERGANSER_DATABASE_URL": database.url}, "prune", "--older-than", "30d")
    assert result.status == 1
    assert "the rule visits is broken" in " ".join(result.err.split())
    assert await read_guids(database) == ["evt_1", "evt_3"]
    await prune(database, "--counted")
    assert await read_guids(database) == ["evt_3"]


async def test_each_chunk_reads_an_index_from_its_cursor(database: Database) -> None:
    await database.execute(
        'INSERT INTO events (guid, type, "profileGuid", "occurredAt") '
        "SELECT 'evt_' || n, 't', 'pro_1', now() - n * interval '1 minute' "
        "FROM generate_series(1, 20000) AS n"
    )
    await database.execute("ANALYZE events")
    statement = sql.load("merganser.admin", "prune.sql")["next_old_events"]
    chunk = {
        "before": NOW,
        "after_time": ago(5),
        "after_guid": "evt_9",
        "needed": ["x"],
        "at_most": 100,
    }
    async with (
        await connect(database.url, "test", BY_KEY) as connection,
        connection.transaction(),
    ):
        cursor = await connection.execute(b"EXPLAIN " + statement, chunk)
        plan = [line.strip() for (line,) in await cursor.fetchall()]
    (index_condition,) = [line for line in plan if line.startswith("Index Cond")]
    assert '(ROW("occurredAt", guid) > ROW(' in index_condition
    assert not [line for line in plan if "Sort" in line]


@pytest.mark.parametrize("text", ["0d", "30", "-1d", "9999999d", "30 days"])
async def test_an_invalid_age_is_refused(database: Database, text: str) -> None:
    result = await command(
        {"MERGANSER_DATABASE_URL": database.url}, "prune", f"--older-than={text}"
    )
    assert result.status == 1
