"""Values at the edge of what Postgres and Python hold affect only themselves, on real Postgres."""

import time
from datetime import timedelta

import pytest

from merganser.rulebook.values import MAX_VALUE_BYTES
from properties import incremental, rebuild
from tests.properties.harness import COUNT, LAST, PATHS, PropertyHarness
from tests.support.database import Database


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
async def test_a_number_of_many_digits_affects_only_itself(
    harness: PropertyHarness, price: str, spent: list[str]
) -> None:
    await harness.add_views("pro_2", [1], price=price)
    await harness.add_views("pro_1", [1])
    await harness.add_views("pro_3", [1])
    await harness.run_process()
    assert await harness.read_values("pro_2", "spent") == spent
    assert await harness.read_values("pro_2", "visits") == ["1"]
    await harness.check_other_profiles("1")


@pytest.mark.parametrize("aggregation", ["count", "all values", "distinct count", "most recent"])
async def test_a_window_handles_the_first_and_the_last_time(
    database: Database, aggregation: str
) -> None:
    """A state that expires after the year 9999 never expires."""
    harness = PropertyHarness(database)
    column = {} if aggregation == "count" else {"column": "type"}
    kind = "integer" if "count" in aggregation else "string"
    array = aggregation == "all values"
    events = {"type": "view", "aggregation": aggregation, "window": 30, **column}
    await harness.apply({"key": "windowed", "type": kind, "array": array, "events": events})
    for number, occurred in {
        1: "9999-12-31T23:59:59.999999Z",
        2: "9999-12-01T00:00:00Z",
        3: "0001-01-01T00:00:00Z",
    }.items():
        await harness.add_profile(f"pro_{number}")
        await database.execute(
            'INSERT INTO events (type, "profileGuid", "occurredAt") VALUES (%s, %s, %s)',
            *("view", f"pro_{number}", occurred),
        )
    await harness.run_process()
    counted = {"count": "1", "distinct count": "1"}.get(aggregation, "view")
    none = ["0"] if kind == "integer" else []
    assert [await harness.read_values(f"pro_{n}", "windowed") for n in (1, 2, 3)] == [
        [counted],
        [counted],
        none,
    ]
    assert await harness.find_disagreements() == []


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
async def test_elements_that_postgres_cannot_store_are_skipped(
    harness: PropertyHarness, path: str, paths: list[str]
) -> None:
    await harness.add_views("pro_2", [1], path=path)
    await harness.add_views("pro_1", [1])
    await harness.add_views("pro_3", [1])
    await harness.run_process()
    assert await harness.read_values("pro_2", "paths") == paths
    await harness.check_other_profiles("1")


async def test_a_value_of_256_mib_is_skipped(harness: PropertyHarness) -> None:
    await harness.add_views("pro_2", [1, 2], path="short")
    await harness.database.execute(
        """
        INSERT INTO "eventData" ("eventGuid", key, value)
        SELECT guid, 'path', repeat('x', 256 * 1024 * 1024) FROM events LIMIT 1
        """
    )
    await harness.add_views("pro_1", [1])
    await harness.add_views("pro_3", [1])
    await harness.run_process()
    assert await harness.read_values("pro_2", "paths") == ["short"]
    assert await harness.read_values("pro_2", "visits") == ["2"]
    await harness.check_other_profiles("1")
    await harness.database.execute("DELETE FROM events WHERE guid = 'evt_000000'")
    await harness.run_process()
    await harness.check_other_profiles("1")


async def test_the_last_row_of_a_repeated_key_counts(harness: PropertyHarness) -> None:
    """It counts among 20,000 rows, and also if it is too long for a value."""
    (event, other, _, _) = [
        *await harness.add_views("pro_2", [1, 2]),
        *await harness.add_views("pro_1", [1]),
        *await harness.add_views("pro_3", [1]),
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
    await harness.run_process()
    assert await harness.read_values("pro_2", "paths") == ["20000" + "x" * 16_000]
    assert await harness.find_disagreements() == []


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
    events = {"type": "view", "aggregation": "count", "window": 1}
    await harness.apply(COUNT, PATHS, {"key": "lately", "type": "integer", "events": events})
    for number in range(9):
        await harness.add_profile(f"pro_{number}")
    await harness.run_process()
    expected: dict[str, list[str]] = {f"pro_{number}": [] for number in range(9)}
    for turn in range(4):
        for number in range(9):
            for length in [1, 10 * number, 100 * number][: number % 4]:
                path = f"{turn}" + "x" * length
                await harness.add_views(f"pro_{number}", [turn], path=path)
                expected[f"pro_{number}"].append(path)
        await harness.run_process()
    for guid, paths in expected.items():
        assert sorted(await harness.read_values(guid, "paths")) == sorted(paths)
        if paths:
            assert await harness.read_values(guid, "visits") == [str(len(paths))]
    await harness.apply(COUNT, LAST)
    await harness.run_process()
    harness.now += timedelta(days=1)
    await harness.run_process()
    assert await harness.find_disagreements() == []


async def test_long_events_do_not_delay_other_profiles(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later steps read long events, the longest last; their event changes keep their age."""
    monkeypatch.setattr(incremental, "GROUP_BYTES", 30_000)
    monkeypatch.setattr(incremental, "MAX_LONG_BYTES", 30_000)
    guids = [await harness.add_profile(f"pro_x{number:02}") for number in range(20)]
    for guid in guids:
        await harness.add_views(guid, [1], path="x" * 16_000)
    await harness.add_views("pro_1", [1], path="/")
    await harness.add_views("pro_2", [1], path="y" * 2_000)
    await harness.database.execute(
        """
        UPDATE events SET type = 'view' WHERE "profileGuid" = 'pro_x07';
        UPDATE "eventChanges" SET "createdAt" = now() - interval '1 hour';
        """
    )
    step = await harness.run_step()
    assert step.more
    assert await harness.read_values("pro_1", "paths") == ["/"]
    assert await harness.read_values("pro_2", "paths") == ["y" * 2_000]
    counted = [guid for guid in guids if await harness.read_values(guid, "visits")]
    assert 0 < len(counted) < 5
    age = """SELECT min("createdAt") < now() - interval '59 minutes' FROM "eventChanges" """
    assert await harness.database.value(age)
    steps = await harness.run_process()
    assert 5 < len(steps) < 15
    for guid in guids:
        assert await harness.read_values(guid, "paths") == ["x" * 16_000]
    await harness.add_views("pro_3", [1])
    await harness.run_process()
    assert await harness.find_disagreements() == []


async def test_unchanged_values_of_any_length_are_not_written_again(
    harness: PropertyHarness,
) -> None:
    for number in (2, 3):
        await harness.add_views(f"pro_{number}", [1])
    for path in ("x" * 63, "x" * 64, "x" * MAX_VALUE_BYTES):
        await harness.add_views("pro_1", [1], path=path)
        (first, *_) = await harness.run_process()
        assert first.counts.written > 0
        await harness.database.execute(
            """INSERT INTO "eventChanges" (kind, size, profiles) VALUES ('left', 1, '{pro_1}')"""
        )
        assert sum(step.counts.written for step in await harness.run_process()) == 0
    await harness.database.execute(
        """UPDATE "profileProperties" SET value = repeat('y', 200000) WHERE position = 1"""
    )
    await harness.add_views("pro_1", [2])
    await harness.run_process()
    assert await harness.find_disagreements() == []


async def test_long_urls_are_read_in_linear_time(harness: PropertyHarness) -> None:
    """A naive expression needs time that grows with the square of the length of such a URL."""
    await harness.apply({**LAST, "type": "url"})
    await harness.add_views("pro_2", range(200), path="https://" + "a" * 16_000 + " b")
    start = time.process_time()
    await harness.run_process()
    assert time.process_time() - start < 3
