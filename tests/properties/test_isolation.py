"""What fails costs itself alone: a value, a profile, a rule. On real Postgres."""

import json
import re
import time
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.rulebook.values import MAX_VALUE_BYTES
from properties import audit, incremental, rebuild, step, store
from properties.rules import aggregations
from properties.step import StepCounts
from tests.properties.harness import COUNT, NOW, PATHS, USER_ID, PropertyHarness
from tests.support.database import Database

PRICE: dict[str, Any] = {
    "key": "spent",
    "type": "float",
    "events": {"type": "view", "aggregation": "sum", "column": "data.price"},
}
LAST: dict[str, Any] = {
    "key": "last",
    "type": "string",
    "events": {"type": "view", "aggregation": "most recent", "column": "data.path"},
}


@pytest.fixture
async def harness(database: Database) -> PropertyHarness:
    """Three profiles, pro_2 is the one that fails."""
    harness = PropertyHarness(database)
    await harness.apply(COUNT, PATHS, PRICE)
    await harness.serve()
    for number in range(1, 4):
        await harness.profile(f"pro_{number}")
    return harness


async def innocents_are_right(harness: PropertyHarness, count: str) -> None:
    for profile in ("pro_1", "pro_3"):
        assert await harness.value(profile, "visits") == [count]
    assert await harness.disagreements() == []


@pytest.mark.parametrize(
    ("price", "spent"),
    [
        ("1" * 201, []),
        ("0" * 300 + "1", ["1"]),
        ("1" * 39, []),
        ("1." + "0" * 16_000, ["1"]),
        ("9" * 20_000, []),
    ],
    ids=["201 digits", "leading zeros", "39 digits", "trailing zeros", "too long"],
)
async def test_a_number_of_many_digits(
    harness: PropertyHarness, price: str, spent: list[str]
) -> None:
    await harness.views("pro_2", [1], price=price)
    await harness.views("pro_1", [1])
    await harness.views("pro_3", [1])
    await harness.serve()
    assert await harness.value("pro_2", "spent") == spent
    assert await harness.value("pro_2", "visits") == ["1"]
    await innocents_are_right(harness, "1")


@pytest.mark.parametrize("aggregation", ["count", "all values", "distinct count", "most recent"])
async def test_a_window_and_the_end_of_all_time(database: Database, aggregation: str) -> None:
    """An expiry beyond the year 9999 is none."""
    harness = PropertyHarness(database)
    column = {} if aggregation == "count" else {"column": "type"}
    kind = "integer" if "count" in aggregation else "string"
    array = aggregation == "all values"
    events = {"type": "view", "aggregation": aggregation, "window": 30, **column}
    await harness.apply({"key": "made", "type": kind, "array": array, "events": events})
    for number, occurred in {
        1: "9999-12-31T23:59:59.999999Z",
        2: "9999-12-01T00:00:00Z",
        3: "0001-01-01T00:00:00Z",
    }.items():
        await harness.profile(f"pro_{number}")
        await database.execute(
            'INSERT INTO events (type, "profileGuid", "occurredAt") VALUES (%s, %s, %s)',
            *("view", f"pro_{number}", occurred),
        )
    await harness.serve()
    seen = {"count": "1", "distinct count": "1"}.get(aggregation, "view")
    none = ["0"] if kind == "integer" else []
    assert [await harness.value(f"pro_{n}", "made") for n in (1, 2, 3)] == [[seen], [seen], none]
    assert await harness.disagreements() == []


@pytest.mark.parametrize(
    ("path", "paths"),
    [
        (r'["a\u0000b","ok"]', ["ok"]),
        (r'["\ud800"]', []),
        (r'["\ud800x",["\udfff"],{"\ud800":1},"fine",1]', ["fine", "1"]),
        (r'["\ud83d\ude00"]', ["\U0001f600"]),
        ("[" * 16_000, ["[" * 16_000]),
        ("[" * 8_000 + "]" * 8_000, ["[" * 8_000 + "]" * 8_000]),
    ],
)
async def test_elements_that_postgres_cannot_store(
    harness: PropertyHarness, path: str, paths: list[str]
) -> None:
    await harness.views("pro_2", [1], path=path)
    await harness.views("pro_1", [1])
    await harness.views("pro_3", [1])
    await harness.serve()
    assert await harness.value("pro_2", "paths") == paths
    await innocents_are_right(harness, "1")


async def test_a_row_with_a_value_of_256_mib(harness: PropertyHarness) -> None:
    await harness.views("pro_2", [1, 2], path="short")
    await harness.database.execute(
        """
        INSERT INTO "eventData" ("eventGuid", key, value)
        SELECT guid, 'path', repeat('x', 256 * 1024 * 1024) FROM events LIMIT 1
        """
    )
    await harness.views("pro_1", [1])
    await harness.views("pro_3", [1])
    await harness.serve()
    assert await harness.value("pro_2", "paths") == ["short"]
    assert await harness.value("pro_2", "visits") == ["2"]
    await innocents_are_right(harness, "1")
    await harness.database.execute("DELETE FROM events WHERE guid = 'evt_000000'")
    await harness.serve()
    await innocents_are_right(harness, "1")


async def test_of_a_key_that_is_there_often_the_last_row_counts(harness: PropertyHarness) -> None:
    """However many there are, and also where it is too long."""
    (event, other, _, _) = [
        *await harness.views("pro_2", [1, 2]),
        *await harness.views("pro_1", [1]),
        *await harness.views("pro_3", [1]),
    ]
    await harness.database.execute(
        """
        INSERT INTO "eventData" (guid, "eventGuid", key, value)
        SELECT format('edt_%%s', to_char(n, 'FM00000')), %s, 'path', n || repeat('x', 16000)
        FROM generate_series(1, 20000) AS n
        """,
        event,
    )
    await harness.database.execute(
        """
        INSERT INTO "eventData" (guid, "eventGuid", key, value)
        VALUES ('edt_a', %s, 'path', 'short'), ('edt_b', %s, 'path', repeat('x', 20000))
        """,
        other,
        other,
    )
    await harness.serve()
    assert await harness.value("pro_2", "paths") == ["20000" + "x" * 16_000]
    assert await harness.disagreements() == []


HOSTILE_STATES = {
    "no JSON": "{",
    "nested": "[" * 100_000 + "]" * 100_000,
    "a list": "[1, 2]",
    "empty": "{}",
    "text": '"x"',
    "null": "null",
    "huge": '{"x": "' + "y" * 5_000_000 + '"}',
    "another revision": '{"999": 1}',
}


@pytest.mark.parametrize("state", HOSTILE_STATES.values(), ids=HOSTILE_STATES)
async def test_a_state_that_somebody_wrote_costs_its_profile_a_new_count(
    harness: PropertyHarness, state: str
) -> None:
    for number in range(1, 4):
        await harness.views(f"pro_{number}", range(3), path="/a")
    await harness.serve()
    await harness.database.execute(
        """UPDATE "propertyStates" SET state = %s WHERE "profileGuid" = 'pro_2'""", state
    )
    for number in range(1, 4):
        await harness.views(f"pro_{number}", [9], path="/b")
    steps = await harness.serve()
    assert sum(step.counts.rebuilt for step in steps) == 1
    assert await harness.value("pro_2", "paths") == ["/a"] * 3 + ["/b"]
    assert await harness.set_aside() == {}
    await innocents_are_right(harness, "4")


async def test_a_state_of_the_right_shape_that_is_wrong_is_noticed(
    harness: PropertyHarness,
) -> None:
    await harness.views("pro_2", range(3))
    await harness.serve()
    changed = await harness.database.execute(
        """
        UPDATE "propertyStates" SET state = regexp_replace(state, '":3', '":7')
        WHERE state LIKE '%%":3%%'
        """
    )
    assert changed == 1
    await harness.views("pro_2", [9])
    await harness.serve()
    assert await harness.value("pro_2", "visits") == ["4"]


@pytest.mark.parametrize("state", ["{", "null", '{"1": "x"}', "[" * 100_000])
async def test_a_count_under_way_that_somebody_changed_begins_again(
    database: Database, state: str
) -> None:
    harness = PropertyHarness(database, batch=2)
    await harness.apply(COUNT)
    await harness.profile("pro_1")
    (gone, *_) = await harness.views("pro_1", range(6))
    await harness.serve()
    await database.execute("DELETE FROM events WHERE guid = %s", gone)
    while await database.column('SELECT "reachedAt" IS NOT NULL FROM "propertyRecounts"') != [True]:
        await harness.step()
    await database.execute('UPDATE "propertyRecounts" SET state = %s', state)
    await harness.views("pro_1", [0])
    await harness.serve()
    assert await harness.value("pro_1", "visits") == ["6"]
    assert await harness.set_aside() == {}


async def test_a_state_that_cannot_be_read_is_noticed_at_midnight_too(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 1}})  # type: ignore[dict-item]
    for number in range(3):
        await harness.views(await harness.profile(f"pro_{number}"), [0])
    await harness.serve()
    await database.execute(
        """UPDATE "propertyStates" SET state = '{' WHERE "profileGuid" = 'pro_1'"""
    )
    harness.now += timedelta(days=1)
    await harness.serve()
    assert [await harness.value(f"pro_{n}", "visits") for n in range(3)] == [["0"]] * 3
    assert await harness.disagreements() == []


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A defect of ours: the sum fails for the price 13."""
    plus = aggregations.add_numbers

    def failing(one: str, other: str) -> str:
        if "13" in (one, other):
            raise ZeroDivisionError("content: 13")
        return plus(one, other)

    monkeypatch.setattr(aggregations, "add_numbers", failing)
    return monkeypatch


async def test_a_profile_that_fails_is_set_aside_until_it_is_retried(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        await harness.views(f"pro_{number}", [1], price="2")
    await harness.serve()
    await harness.views("pro_2", [2], price="13")
    for number in range(1, 4):
        await harness.views(f"pro_{number}", [3], price="2")
    steps = await harness.serve()
    assert sum(step.counts.set_aside for step in steps) == 1
    (reason,) = (await harness.set_aside()).values()
    assert reason.startswith("ZeroDivisionError at properties/test_isolation.py:")
    assert reason.endswith(", rule spent")
    await innocents_are_right(harness, "2")
    for key, value in {"visits": "1", "spent": "2"}.items():
        assert await harness.value("pro_2", key) == [value], "its properties stay as they are"

    await harness.views("pro_2", [4], price="1")
    await harness.database.execute('DELETE FROM events WHERE "occurredAt" = %s', NOW)
    steps = await harness.serve()
    assert await harness.database.count("eventChanges") == 0
    assert await harness.value("pro_2", "visits") == ["1"], "it is left out"
    assert list(await harness.set_aside()) == ["pro_2"]

    await harness.retry()
    await harness.serve()
    assert list(await harness.set_aside()) == ["pro_2"]
    attempts = 'SELECT attempts FROM "setAside"'
    assert await harness.database.value(attempts) == 2

    defect.undo()
    await harness.retry()
    await harness.serve()
    assert await harness.database.count("setAside") == 0
    assert await harness.value("pro_2", "visits") == ["4"]
    assert await harness.value("pro_2", "spent") == ["18"]
    await innocents_are_right(harness, "2")


async def test_a_profile_that_is_set_aside_and_goes_leaves_nothing(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    await harness.views("pro_2", [1, 2], price="13")
    await harness.serve()
    assert list(await harness.set_aside()) == ["pro_2"]
    defect.undo()
    async with harness.database.connection.transaction():
        await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_1'""")
        await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_2'")
    await harness.serve()
    assert await harness.database.count("setAside") == 0
    assert await harness.value("pro_1", "spent") == ["26"]


async def test_a_new_rule_passes_over_who_is_set_aside(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    await harness.views("pro_2", [1, 2], price="13")
    await harness.views("pro_1", [1], path="/a")
    await harness.serve()
    await harness.apply(COUNT, PATHS, PRICE, LAST)
    await harness.serve()
    assert await harness.value("pro_1", "last") == ["/a"]
    assert await harness.value("pro_2", "visits") == []
    assert await harness.database.value(
        'SELECT bool_and("backfilledTo" IS NULL) FROM "profilePropertyRules"'
    )
    del defect


REFUSED = """
ALTER TABLE "profileProperties" ADD CONSTRAINT refused CHECK (value <> 'refused') NOT VALID
"""


async def test_what_postgres_refuses_costs_one_profile_of_many(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At bounded cost: the profiles of a step are halved, the others commit."""
    await harness.database.execute(REFUSED)
    calls = _counted_calls(monkeypatch, incremental, "update_profiles")
    guids = [await harness.profile(f"pro_x{number:03}") for number in range(200)]
    for guid in [*guids, "pro_1", "pro_2", "pro_3"]:
        await harness.views(guid, [1], path="refused" if guid == "pro_x077" else "/")
    await harness.serve()
    # Once as a whole, then twice for each time that the part with the profile at fault is halved.
    assert len(calls) <= 2 + 2 * 8
    assert list(await harness.set_aside()) == ["pro_x077"]
    (reason,) = (await harness.set_aside()).values()
    assert reason.startswith("CheckViolation 23514 at rulebook/property_store.py:")
    for guid in guids:
        expected = [] if guid == "pro_x077" else ["/"]
        assert await harness.value(guid, "paths") == expected
    assert await harness.disagreements() == []
    await harness.database.execute('ALTER TABLE "profileProperties" DROP CONSTRAINT refused')
    await harness.retry()
    await harness.serve()
    assert await harness.value("pro_x077", "paths") == ["refused"]
    assert await harness.database.count("setAside") == 0


async def test_what_postgres_refuses_in_a_backfill_costs_one_profile(database: Database) -> None:
    harness = PropertyHarness(database)
    await database.execute(REFUSED)
    for number in range(20):
        path = "refused" if number in (3, 4, 11) else "/"
        await harness.views(await harness.profile(f"pro_{number:02}"), [1], path=path)
    await harness.apply(PATHS)
    await harness.serve()
    assert sorted(await harness.set_aside()) == ["pro_03", "pro_04", "pro_11"]
    assert await database.count("profileProperties") == 17
    assert await harness.disagreements() == []


async def test_what_postgres_refuses_at_midnight_costs_one_profile(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 1}})  # type: ignore[dict-item]
    for number in range(5):
        await harness.views(await harness.profile(f"pro_{number}"), [0])
    await harness.serve()
    await database.execute(
        """
        ALTER TABLE "profileProperties" ADD CONSTRAINT refused
        CHECK ("profileGuid" <> 'pro_3' OR value <> '0') NOT VALID
        """
    )
    harness.now += timedelta(days=1)
    await harness.serve()
    assert list(await harness.set_aside()) == ["pro_3"]
    values = [await harness.value(f"pro_{n}", "visits") for n in range(5)]
    assert values == [["0"], ["0"], ["0"], ["1"], ["0"]]


async def test_long_states_and_events_are_counted_in_groups_and_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental, "SHORT_STATE_BYTES", 100)
    monkeypatch.setattr(incremental, "SHORT_EVENT_BYTES", 10)
    monkeypatch.setattr(incremental, "GROUP_BYTES", 500)
    monkeypatch.setattr(incremental, "MAX_LONG_BYTES", 800)
    monkeypatch.setattr(rebuild, "MAX_BYTES", 500)
    monkeypatch.setattr(rebuild, "FETCH_ROWS", 2)
    harness = PropertyHarness(database)
    lately = {"type": "view", "aggregation": "count", "window": 1}
    await harness.apply(COUNT, PATHS, {"key": "lately", "type": "integer", "events": lately})
    for number in range(9):
        await harness.profile(f"pro_{number}")
    await harness.serve()
    expected: dict[str, list[str]] = {f"pro_{number}": [] for number in range(9)}
    for turn in range(4):
        for number in range(9):
            for length in [1, 10 * number, 100 * number][: number % 4]:
                path = f"{turn}" + "x" * length
                await harness.views(f"pro_{number}", [turn], path=path)
                expected[f"pro_{number}"].append(path)
        await harness.serve()
    for guid, paths in expected.items():
        assert sorted(await harness.value(guid, "paths")) == sorted(paths)
        if paths:
            assert await harness.value(guid, "visits") == [str(len(paths))]
    await harness.apply(COUNT, LAST)
    await harness.serve()
    harness.now += timedelta(days=1)
    await harness.serve()
    assert await harness.disagreements() == []


async def test_who_sends_much_does_not_keep_others_waiting(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is long is left to later steps, the longest last; the staleness is that of the notes."""
    monkeypatch.setattr(incremental, "GROUP_BYTES", 30_000)
    monkeypatch.setattr(incremental, "MAX_LONG_BYTES", 30_000)
    guids = [await harness.profile(f"pro_x{number:02}") for number in range(20)]
    for guid in guids:
        await harness.views(guid, [1], path="x" * 16_000)
    await harness.views("pro_1", [1], path="/")
    await harness.views("pro_2", [1], path="y" * 2_000)
    await harness.database.execute(
        """
        UPDATE events SET type = 'view' WHERE "profileGuid" = 'pro_x07';
        UPDATE "eventChanges" SET "createdAt" = now() - interval '1 hour';
        """
    )
    step = await harness.step()
    assert step.more
    assert await harness.value("pro_1", "paths") == ["/"]
    assert await harness.value("pro_2", "paths") == ["y" * 2_000]
    done = [guid for guid in guids if await harness.value(guid, "visits")]
    assert 0 < len(done) < 5
    age = """SELECT min("createdAt") < now() - interval '59 minutes' FROM "eventChanges" """
    assert await harness.database.value(age)
    steps = await harness.serve()
    assert 5 < len(steps) < 15
    for guid in guids:
        assert await harness.value(guid, "paths") == ["x" * 16_000]
    await harness.views("pro_3", [1])
    await harness.serve()
    assert await harness.disagreements() == []


async def test_stored_values_are_compared_however_long_they_are(harness: PropertyHarness) -> None:
    for number in (2, 3):
        await harness.views(f"pro_{number}", [1])
    for path in ("x" * 63, "x" * 64, "x" * MAX_VALUE_BYTES):
        await harness.views("pro_1", [1], path=path)
        (first, *_) = await harness.serve()
        assert first.counts.written > 0
        await harness.database.execute(
            """INSERT INTO "eventChanges" (kind, size, profiles) VALUES ('left', 1, '{pro_1}')"""
        )
        assert sum(step.counts.written for step in await harness.serve()) == 0
    await harness.database.execute(
        """UPDATE "profileProperties" SET value = repeat('y', 200000) WHERE position = 1"""
    )
    await harness.views("pro_1", [2])
    await harness.serve()
    assert await harness.disagreements() == []


async def test_hours_of_work_for_one_profile_are_not_needed(harness: PropertyHarness) -> None:
    """A URL that a naive expression reads in a time that grows with the square of its length."""
    await harness.apply({**LAST, "type": "url"})
    await harness.views("pro_2", range(200), path="https://" + "a" * 16_000 + " b")
    start = time.process_time()
    await harness.serve()
    assert time.process_time() - start < 3


async def test_a_rule_that_somebody_broke_costs_itself_alone(harness: PropertyHarness) -> None:
    for number in range(1, 4):
        await harness.views(f"pro_{number}", [1], path="/a")
    await harness.serve()
    for definition in (
        '{"key": "paths", "type": "no such type"}',
        '"x"',
        "[" * 3_000 + "]" * 3_000,
        '{"key": "visits", "type": "string", "events": {"type": "view", "aggregation": "count"}}',
        '{"key": "paths", "type": "float", "events": {"filters": [{"value": {"x": 1}}]}}',
    ):
        await harness.database.execute(
            """UPDATE "profilePropertyRules" SET definition = %s WHERE key = 'paths'""", definition
        )
        applied = await rule_store.read_all_rules(harness.database.connection)
        assert [one.key for one in applied.broken] == ["paths"]
    await harness.views("pro_1", [2], path="/b")
    await harness.serve()
    assert await harness.value("pro_1", "visits") == ["2"]
    assert await harness.value("pro_1", "paths") == ["/a"], "its values stay as they are"
    assert await harness.disagreements() == []

    # What came meanwhile is not counted: only to apply it again makes it right.
    await harness.database.execute(
        """
        UPDATE "profilePropertyRules" SET definition = other.definition FROM (VALUES (%s::jsonb))
        AS other(definition) WHERE key = 'paths'
        """,
        json.dumps(PATHS),
    )
    await harness.serve()
    assert await harness.value("pro_1", "paths") == ["/a"]
    await harness.apply(COUNT, PATHS, PRICE)
    await harness.serve()
    assert await harness.value("pro_1", "paths") == ["/a", "/b"]
    assert await rule_store.count_broken_rules(harness.database.connection) == 0


async def test_a_broken_rule_that_a_file_does_not_have_goes(harness: PropertyHarness) -> None:
    await harness.views("pro_1", [1], path="/a")
    await harness.serve()
    await harness.database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'paths'"""
    )
    await harness.apply(COUNT, PRICE)
    await harness.serve()
    assert await harness.value("pro_1", "paths") == []


async def test_a_source_that_somebody_broke_costs_itself_alone(database: Database) -> None:
    sources = {name: {"url": "URL", "refresh": 1} for name in ("good", "bad")}
    file = RuleFile.model_validate({"sources": sources, "rules": [USER_ID]})
    await rule_store.apply_file(database.connection, file)
    await database.execute("""UPDATE "propertySources" SET definition = '3' WHERE name = 'bad'""")
    assert list(await rule_store.read_sources(database.connection)) == ["good"]
    found, broken = await rule_store.read_all_sources(database.connection)
    assert ([*found], [one.key for one in broken]) == (["good"], ["bad"])
    assert (await rule_store.apply_file(database.connection, file)).sources
    assert list(await rule_store.read_sources(database.connection)) == ["bad", "good"]


def failing(_: Any, __: Any) -> str:
    raise ZeroDivisionError


async def test_a_rule_that_fails_for_everyone_is_suspended_and_nobody_is_set_aside(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for guid in ("pro_1", "pro_2", "pro_3"):
        await harness.views(guid, [1])
    for number in range(120):
        await harness.views(await harness.profile(f"pro_x{number}"), [1, 2], price="1")
    await harness.serve()
    with monkeypatch.context() as patched:
        patched.setattr(aggregations, "add_numbers", failing)
        await harness.database.execute(
            """
            INSERT INTO events (type, "profileGuid", "occurredAt") SELECT 'view', guid, now()
            FROM profiles WHERE guid LIKE 'pro_x%';
            INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'price', '1'
            FROM events WHERE "createdAt" = (SELECT max("createdAt") FROM events)
            """
        )
        await harness.serve()
    assert await harness.set_aside() == {}
    (broken,) = (await rule_store.read_all_rules(harness.database.connection)).broken
    assert broken.key == "spent"
    assert re.fullmatch(r"ZeroDivisionError at properties/test_isolation.py:\d+", broken.problem)
    assert await harness.value("pro_x7", "visits") == ["3"]
    assert await harness.value("pro_x7", "spent") == ["2"]
    assert await harness.disagreements() == []
    await harness.apply(COUNT, PATHS, PRICE)
    await harness.serve()
    assert await harness.value("pro_x7", "spent") == ["3"]
    assert await harness.disagreements() == []


async def test_a_rule_that_fails_for_one_after_the_other_is_suspended_after_some(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MAX_FAILURE_LEAD", 5)
    monkeypatch.setattr(aggregations, "add_numbers", failing)
    for number in range(12):
        await harness.views(await harness.profile(f"pro_x{number:02}"), [1, 2], price="1")
        await harness.serve()
    assert len(await harness.set_aside()) <= 5
    assert await harness.value("pro_x11", "visits") == ["2"]


async def test_a_rule_that_works_for_others_is_not_suspended(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    defect.setattr(step, "MAX_FAILURE_LEAD", 3)
    for number in range(12):
        await harness.views(await harness.profile(f"pro_x{number:02}"), [1, 2], price="13")
        await harness.views("pro_1", [number], price="1")
        await harness.serve()
    assert len(await harness.set_aside()) == 12
    assert await harness.value("pro_1", "spent") == ["12"]


async def test_contention_sets_nobody_aside(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that always meets a newer snapshot is tried until it does not."""
    put_states = store.write_states
    tries: list[int] = []

    async def contended(connection: AsyncConnection[Any], states: Any) -> None:
        if len(tries) < 30:
            tries.append(1)
            await connection.execute("DO $$ BEGIN RAISE serialization_failure; END $$")
        await put_states(connection, states)

    monkeypatch.setattr(store, "write_states", contended)
    monkeypatch.setattr("merganser.runtime.postgres.backoff", lambda: iter([0.001] * 1000))
    await harness.views("pro_1", [1])
    await harness.serve()
    assert await harness.value("pro_1", "visits") == ["1"]
    assert await harness.set_aside() == {}


async def test_a_step_that_takes_too_long_is_made_smaller(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres ends sessions whose transactions take too long, so that savepoints do not help."""
    harness = PropertyHarness(database, batch=1000)
    await harness.apply(COUNT)
    await harness.serve()
    for number in range(20):
        await harness.views(await harness.profile(f"pro_{number}"), [1])
    handle = step.Step.for_profiles

    async def slow(self: step.Step, profiles: Any, work: Any, fault: Any) -> None:
        if len(profiles) > 3:
            await self.connection.execute(
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '25P04'; END $$"
            )
        await handle(self, profiles, work, fault)

    monkeypatch.setattr(step.Step, "for_profiles", slow)
    monkeypatch.setattr("merganser.runtime.postgres.backoff", lambda: iter([0.001] * 1000))
    await harness.serve()
    assert await harness.value("pro_19", "visits") == ["1"]
    assert await harness.set_aside() == {}


async def test_an_audit_counts_who_is_set_aside_and_what_is_broken(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        await harness.views(f"pro_{number}", [1, 2], price="13" if number == 2 else "1")
    await harness.serve()
    await harness.database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'paths'"""
    )
    defect.undo()
    report = await audit.audit(harness.database.connection, harness.now, lambda _: None)
    assert (report.set_aside, report.broken, report.disagreements) == (1, 1, [])
    assert (report.profiles, report.pending) == (2, 0)


def _counted_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """How many profiles each call of a function is about."""
    calls: list[int] = []
    function = getattr(module, name)

    async def counting(*arguments: Any) -> StepCounts:
        calls.append(len(arguments[1]))
        tally: StepCounts = await function(*arguments)
        return tally

    monkeypatch.setattr(module, name, counting)
    return calls
