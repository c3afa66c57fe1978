"""The ledger of erasures is exact after a kill at each step, if scanner or command finish."""

import json
from datetime import UTC, datetime
from typing import Literal

import pytest
from pydantic import SecretStr

from merganser.admin import erasures
from merganser.admin import forget as admin
from merganser.admin.placeholder import find_placeholder
from merganser.identity import forget
from merganser.identity.forget import Request
from merganser.runtime.postgres import connect
from merganser.runtime.settings import Settings
from tests.support.actions import OPERATOR
from tests.support.chunks import erase_some
from tests.support.database import Database
from tests.support.kills import Killed, kill_after, transact_on

Finisher = Literal["the same command", "the scanner"]

REQUEST = Request("ann", "an operator", "a request by letter", "all", 1000, -1)

DATA = """
    INSERT INTO profiles (guid, "userId") VALUES ('pro_ann', 'ann'), ('pro_bob', 'bob');
    INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "userId", "linkEventGuid")
    SELECT 'd' || n, 'pro_ann', 'ann', 'evt_' || n FROM generate_series(1, 5) AS n;
    INSERT INTO events (guid, "createdAt", type, "profileGuid", "userId", "anonymousId")
    SELECT 'evt_' || n, timestamptz '2026-01-01 00:00Z', 't', 'pro_ann', 'ann', 'd' || n
    FROM generate_series(1, 9) AS n
    UNION ALL
    SELECT 'evt_bob_' || n, timestamptz '2026-01-02 00:00Z', 't', 'pro_bob', 'bob', 'd1'
    FROM generate_series(1, 3) AS n;
    INSERT INTO "eventData" ("eventGuid", key, value)
    SELECT guid, key, 'd1' FROM events, (VALUES ('device'), ('other')) AS keys (key);
    INSERT INTO "ignoredLinks" VALUES ('evt_2'), ('evt_3'), ('evt_bob_1');
    INSERT INTO "linkChanges" ("eventGuid", action, reason, actor)
    SELECT 'evt_2', 'unlinked', 'why', 'me' FROM generate_series(1, 3);
    INSERT INTO "profileMerges"
        ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid")
    VALUES
        ('d1', 'evt_1', 'ann', 'merged', 'pro_1', 'pro_ann'),
        ('d2', 'evt_2', 'ann', 'claimed', NULL, 'pro_ann'),
        ('o1', 'evt_o1', 'ann', 'moved', 'pro_x', 'pro_ann'),
        ('o1', 'evt_o2', 'bob', 'unlinked', 'pro_ann', 'pro_bob'),
        ('o2', 'evt_o3', 'bob', 'moved', 'pro_ann', 'pro_bob'),
        ('o3', 'evt_o4', 'bob', 'moved', 'pro_ann', 'pro_bob'),
        ('o4', 'evt_o5', 'bob', 'moved', 'pro_ann', 'pro_bob');
    INSERT INTO "profileProperties" ("profileGuid", key, position, value)
    SELECT 'pro_ann', 'k', n, 'v' FROM generate_series(1, 4) AS n;
    INSERT INTO "propertyStates" ("profileGuid", state, checksum) VALUES ('pro_ann', '{}', 0);
    INSERT INTO "propertyRecounts" ("profileGuid", state, checksum) VALUES ('pro_ann', '{}', 0);
    INSERT INTO "profileDecorations"
    VALUES ('pro_ann', 'crm', now()), ('pro_ann', 'erp', now());
    INSERT INTO events (guid, type, "userId")
    SELECT 'evt_row_' || n, 't', 'ann' FROM generate_series(1, 3) AS n;
    INSERT INTO "setAside" (kind, subject, place, reason)
    VALUES
        ('row', 'evt_row_1', '', 'r'), ('row', 'evt_row_2', '', 'r'), ('row', 'evt_3', '', 'r'),
        ('value', 'pro_ann', 'k', 'r'), ('profile', 'pro_ann', '', 'r'),
        ('profile', 'pro_bob', '', 'r');
"""
"""Ann with all that a person may have, and Bob, who uses her device `d1`."""

JANUARY = "2026-01-02 00:00Z"

CHANGED = {"events": 3, "profileMerges": 3}
"""Rows of Bob that named Ann."""

TABLES = (
    "anonymousIds",
    "eventData",
    "events",
    "ignoredLinks",
    "linkChanges",
    "profileDecorations",
    "profileMerges",
    "profileProperties",
    "profiles",
    "propertyRecounts",
    "propertyStates",
    "setAside",
)

TRUNCATE = """
    TRUNCATE "erasureLedger", erasures, "suppressedIds", events, "eventData", profiles,
        "anonymousIds", "ignoredLinks", "linkChanges", "profileMerges", "profileProperties",
        "propertyStates", "propertyRecounts", "profileDecorations", "setAside" CASCADE
"""


def settings_of(database: Database) -> Settings:
    """Return settings with no Kafka behind them."""
    return Settings(
        database_url=SecretStr(database.url), kafka_bootstrap="127.0.0.1:1", _env_file=None
    )


async def erase(database: Database, profile: str, transactions: int) -> bool:
    """Run the command's steps; return False if it is killed after that many transactions."""
    async with await connect(database.url, "test") as connection:
        transact = kill_after(transactions, transact_on(connection))
        try:
            await admin.erase_profile(transact, profile, REQUEST, lambda _: None)
        except Killed:
            return False
    return True


async def count_rows(database: Database) -> dict[str, int]:
    return {table: await database.count(table) for table in TABLES}


async def read_counts(database: Database, action: str) -> dict[str, int]:
    """Return the ledger's counts by table."""
    return dict(
        await database.rows(
            'SELECT "table", sum(rows)::int FROM "erasureCounts" WHERE action = %s '
            'GROUP BY "table" ORDER BY "table"',
            action,
        )
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "CHUNK", 2)


@pytest.mark.parametrize("finisher", ["the same command", "the scanner"])
@pytest.mark.usefixtures("small_chunks")
async def test_counts_are_the_rows_that_are_gone_whenever_the_command_is_killed(
    database: Database, finisher: Finisher
) -> None:
    workers, transactions, killed = set[str](), 0, True
    while killed:
        await database.execute(TRUNCATE)
        await database.execute(DATA)
        before = await count_rows(database)
        killed = not await erase(database, "pro_ann", transactions)
        if finisher == "the scanner":
            await run_scanner(database)
        if transactions == 0 or await database.count("erasures"):
            person = await admin.find_person(settings_of(database), REQUEST)
            assert bool(person.unfinished) == (transactions > 0)
            assert await erase(database, person.profile, 1000)
        with pytest.raises(admin.PersonNotFound):
            await admin.find_person(settings_of(database), REQUEST)
        await assert_counts_are_exact(database, before)
        workers |= set(await database.column('SELECT "doneBy" FROM "erasureCounts"'))
        transactions += 1
    assert transactions > 20
    assert workers == {"command"} | ({"scanner"} if finisher == "the scanner" else set())


async def run_scanner(database: Database) -> None:
    async with await connect(database.url, "test") as connection:
        while await erase_some(connection, 2) is not None:
            pass


async def assert_counts_are_exact(database: Database, before: dict[str, int]) -> None:
    gone = {table: before[table] - left for table, left in (await count_rows(database)).items()}
    assert await read_counts(database, "deleted") == {t: n for t, n in gone.items() if n}
    assert await read_counts(database, "changed") == CHANGED
    ((finished, newest),) = await database.rows(
        'SELECT "finishedAt" >= "startedAt", "newestEventAt" FROM "erasureLedger"'
    )
    assert (finished, newest) == (True, datetime(2026, 1, 2, tzinfo=UTC))
    assert await database.rows(
        'SELECT kind, count(*), bool_and(suppressed) FROM "erasedIds" GROUP BY 1 ORDER BY 1'
    ) == [("anonymousId", 5, True), ("name", 1, False), ("userId", 1, True)]


@pytest.mark.usefixtures("small_chunks")
async def test_an_unknown_id_fails_while_another_erasure_is_unfinished(database: Database) -> None:
    await database.execute(DATA)
    settings = settings_of(database)
    for transactions in (1, 4, 9):
        assert not await erase(database, "pro_ann", transactions)
        for name in ("anne", "d1", "pro_2"):
            with pytest.raises(admin.PersonNotFound):
                await admin.find_person(settings, Request(name, "me", "why", "all"))
        assert await database.count("erasures") == 1
        for name in ("ann", "pro_ann"):
            person = await admin.find_person(settings, Request(name, "me", "why", "all"))
            assert (person.profile, person.unfinished) == ("pro_ann", "all")


async def test_the_guid_of_a_merged_profile_finishes_its_erasure(database: Database) -> None:
    """The merges are deleted early, so only the ledger knows the name."""
    await database.execute(DATA)
    async with await connect(database.url, "test") as connection:
        name = Request("pro_1", "me", "why", "all")
        async with connection.transaction():
            ids = await forget.suppress_ids(connection, "pro_ann", name, 100)
        async with connection.transaction():
            await forget.forget_anonymous_ids(connection, "pro_ann", ids)
    person = await admin.find_person(settings_of(database), name)
    assert (person.profile, person.events, person.anonymous_ids) == ("pro_ann", 9, 0)


async def test_a_second_command_keeps_the_first_ones_reason_and_suppression(
    database: Database,
) -> None:
    await database.execute(DATA)
    assert not await erase(database, "pro_ann", 1)
    second = Request("ann", "another operator", "another reason", "none")
    person = await admin.find_person(settings_of(database), second)
    erasure = await admin.forget_person(
        settings_of(database), OPERATOR, person, second, lambda _: None
    )
    assert (erasure.requested_by, erasure.reason) == (REQUEST.requested_by, REQUEST.reason)
    assert erasure.suppresses == "all"
    assert await database.count("suppressedIds") == 6


async def test_a_reason_does_not_contain_an_id(database: Database) -> None:
    await database.execute(DATA)
    await database.execute("""
        INSERT INTO "anonymousIds" ("anonymousId", "profileGuid") VALUES ('Tablet-E', 'pro_ann')
    """)
    settings = settings_of(database)
    for reason in ("letter of ann, 2 May", "ANN", "she had d5", "of her tablet-e"):
        for name in ("ann", "pro_ann", "pro_1"):
            with pytest.raises(admin.ReasonNamesPerson):
                await admin.find_person(settings, Request(name, "me", reason, "all"))
        with pytest.raises(admin.ReasonNamesPerson):
            await find_placeholder(settings, Request("ann", "me", reason, "placeholder"))
    for reason in ("letter of Joanna", "annual review", "d55", "d"):
        await admin.find_person(settings, Request("ann", "me", reason, "all"))
        await find_placeholder(settings, Request("ann", "me", reason, "placeholder"))


@pytest.mark.parametrize(
    ("newest", "topic_ms", "dead_topic_ms", "topic", "dead_topic"),
    [
        (JANUARY, 3_600_000, 60_000, "2026-03-01T13:00:00+00:00", "2026-03-01T12:01:00+00:00"),
        (
            "2026-03-01 12:30Z",
            3_600_000,
            0,
            "2026-03-01T13:30:00+00:00",
            "2026-03-01T12:00:00+00:00",
        ),
        (JANUARY, -1, -1, "forever", "forever"),
        (JANUARY, None, None, None, None),
        (None, 3_600_000, None, "2026-03-01T13:00:00+00:00", None),
    ],
    ids=["limited", "an event since the start", "without limit", "unknown", "without events"],
)
async def test_the_ledger_says_until_when_the_topics_hold_records(
    database: Database,
    *,
    newest: str | None,
    topic_ms: int | None,
    dead_topic_ms: int | None,
    topic: str | None,
    dead_topic: str | None,
) -> None:
    await database.execute(
        'INSERT INTO "erasureLedger" ("profileGuid", "requestedBy", reason, suppresses, '
        '"startedAt", "newestEventAt", "topicHoldsMs", "deadTopicHoldsMs") '
        "VALUES ('pro_ann', 'me', 'why', 'all', '2026-03-01 12:00Z', %s, %s, %s)",
        *(newest, topic_ms, dead_topic_ms),
    )
    listed = erasures.list_erasures(settings_of(database), None)
    (stated,) = [json.loads(erasure.json) async for erasure in listed]
    assert stated["topic"] == {"holdsMs": topic_ms, "until": topic}
    assert stated["deadTopic"] == {"holdsMs": dead_topic_ms, "until": dead_topic}


async def test_without_kafka_the_ledger_says_unknown(database: Database) -> None:
    await database.execute(DATA)
    request = Request("ann", "me", "why", "all")
    person = await admin.find_person(settings_of(database), request)
    erasure = await admin.forget_person(
        settings_of(database), OPERATOR, person, request, lambda _: None
    )
    stated = json.loads(erasure.json)
    assert stated["topic"] == stated["deadTopic"] == {"holdsMs": None, "until": None}
