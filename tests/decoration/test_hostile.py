"""What sources say that nobody can read or store costs its user that property, and nobody else."""

import os
import sqlite3
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decoration import dialects, source_client
from merganser.runtime import metrics
from tests.decoration.fake_source import FakeSource
from tests.decoration.harness import SQL, DecorationHarness, query
from tests.decoration.other_users import GOOD, INNOCENT, PLANS, items
from tests.support.counters import read_counter
from tests.support.database import Database
from tests.support.memory import grown

MIB = 2**20


# What a user of PostgreSQL can say -> the value of a text property, or None if it has none.
SAYABLE: dict[str, tuple[str, str | None]] = {
    "a time that Python has none for": ("'infinity'::timestamptz", "infinity"),
    "a day that Python has none for": ("'-infinity'::date", "-infinity"),
    "a day of the year 294276": ("'294276-12-31'::timestamp", "294276-12-31 00:00:00"),
    "a day before Christ": ("'0044-03-15 BC'::date", "0044-03-15 BC"),
    "a long time": ("'178000000 years 1 mon'::interval", "178000000 years 1 mon"),
    "JSON nested deeply": (
        "(repeat('[', 5000) || repeat(']', 5000))::json",
        "[" * 5000 + "]" * 5000,
    ),
    "a number of 5,000 digits in JSON": ("repeat('7', 5000)::jsonb", "7" * 5000),
    "a number of 300 digits": ("repeat('7', 300)::numeric", "7" * 300),
    "a number of 100,000 digits": ("10::numeric ^ 100000", None),
    "no number": ("'NaN'::numeric", "NaN"),
    "NUL in JSON": (r"""'{"a":"\u0000"}'::json""", r'{"a":"\u0000"}'),
    "bytes with NUL": (r"'\x0041'::bytea", None),
    "bytes that are not text": (r"'\xff'::bytea", None),
    "a text of 20 MB": ("repeat('x', 20000000)", None),
    "a text as long as it may be": ("repeat('x', 16384)", "x" * 16384),
    "an array of arrays": ("'{{a,b},{c,d}}'::text[]", '[["a","b"],["c","d"]]'),
    "an array of 100,000": ("array_fill('x'::text, '{100000}')", None),
    "times in an array": ("'{infinity}'::date[]", '["infinity"]'),
    "a row": ("ROW(1, NULL, 'x')", '["1",null,"x"]'),
    "a range": ("'[2026-01-01,infinity)'::daterange", "[2026-01-01, infinity)"),
    "nothing": ("pg_sleep(0)", ""),
}


@pytest.mark.parametrize(("said", "value"), SAYABLE.values(), ids=list(SAYABLE))
async def test_what_postgres_can_say(
    harness: DecorationHarness, crowd: Database, said: str, value: str | None
) -> None:
    """It stands beside a good one of the same user."""
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', NULL)")
    odd = (
        f"SELECT id, email, CASE id WHEN 'odd' THEN {said} END AS plan FROM users WHERE id = 'odd'"
    )
    sql = f"SELECT id, email, plan FROM ({odd}) AS odd WHERE id = ANY(:userIds)"
    await harness.apply(query(), query("email"), query("plan", "odd", sql=sql))
    await harness.known("odd", *INNOCENT)
    await harness.settle()
    assert await harness.values() == PLANS
    assert len(await harness.values("email")) == len(INNOCENT) + 1
    assert await harness.values("odd") == ({} if value is None else {"odd": [value]})
    assert (await harness.state()).error is None
    assert await items(harness.database) == {}


async def test_a_value_that_is_too_long_is_counted_and_costs_no_other(
    harness: DecorationHarness, crowd: Database
) -> None:
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', repeat('x', 16385))")
    await crowd.execute("INSERT INTO users VALUES ('more', 'more@x.io', repeat('x', 20000000))")
    before = read_counter(metrics.SOURCE_VALUES_TOO_LONG, "plan")
    await harness.apply(query(), query("email"))
    await harness.known("odd", "more", *INNOCENT)
    await harness.settle()
    assert await harness.values() == PLANS
    assert {"odd", "more"} <= (await harness.values("email")).keys()
    assert read_counter(metrics.SOURCE_VALUES_TOO_LONG, "plan") - before == 2


async def saying(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch, plans: Mapping[str, Any]
) -> FakeSource:
    """Have the source say these plans; all who have one are known."""
    says = FakeSource(plans)
    monkeypatch.setattr(dialects, "execute_query", says.ask)
    await harness.apply(query(), query("email"))
    await harness.known(*plans)
    return says


async def test_a_value_that_cannot_be_read_is_set_aside(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = await saying(harness, monkeypatch, {**GOOD, "odd": "fine"})
    await harness.settle()
    assert await harness.values() == {**PLANS, "odd": ["fine"]}

    says.plans = {**GOOD, "odd": 10**5000}
    harness.later(4000)
    await harness.settle()
    assert await harness.values() == PLANS, "it says no more that it is fine"
    assert "odd" in await harness.values("email")
    (item,) = (await items(harness.database)).items()
    place, (state, attempts, reason) = item
    assert (place, state, attempts) == (("pro_odd", "plan"), "open", 1)
    assert reason.startswith("ValueError at decoration/values.py:")

    harness.later(4000)
    await harness.settle()
    ((state, attempts, _),) = (await items(harness.database)).values()
    assert (state, attempts) == ("open", 2)

    says.plans = {**GOOD, "odd": "fine"}
    harness.later(4000)
    await harness.settle()
    assert await items(harness.database) == {}
    assert await harness.values() == {**PLANS, "odd": ["fine"]}


@pytest.mark.parametrize("state", ["retried", "dropped"])
async def test_what_operators_did_about_a_value(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Dropped it stays dropped while it fails; once it is read nothing is left of it."""
    says = await saying(harness, monkeypatch, {**GOOD, "odd": 10**5000})
    await harness.settle()
    await harness.database.execute('UPDATE "setAside" SET state = %s', state)
    harness.later(4000)
    await harness.settle()
    ((now, attempts, _),) = (await items(harness.database)).values()
    assert (now, attempts) == ("open" if state == "retried" else state, 2)
    await harness.database.execute('UPDATE "setAside" SET state = %s', state)
    says.plans = {**GOOD, "odd": "fine"}
    harness.later(4000)
    await harness.settle()
    assert await items(harness.database) == {}


async def test_an_id_that_cannot_be_read_is_left_out_and_told(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = await saying(harness, monkeypatch, {**GOOD, "odd": "x", "other": "y"})
    says.ids = {"odd": 10**5000, "other": b"x" * 100_000}
    await harness.settle()
    assert await harness.values() == PLANS
    why = "left out 2 rows whose userId cannot be read"
    assert (await harness.state()).rule_errors == {"plan": why, "email": why}
    assert await items(harness.database) == {}


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), ValueError("secret")])
async def test_a_driver_that_chokes_on_a_row(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It does not say on whose."""
    says = await saying(harness, monkeypatch, {**GOOD, "odd": "x"})
    await harness.settle()
    says.plans = {**GOOD, "odd": error}
    says.calls = 0
    harness.later(4000)
    await harness.settle()
    assert await harness.values() == PLANS
    found = await items(harness.database)
    assert found.keys() == {("pro_odd", "plan"), ("pro_odd", "email")}
    for _, _, reason in found.values():
        assert reason.startswith(type(error).__name__)
        assert "secret" not in reason
    assert says.calls <= 12
    assert (await harness.state()).error is None


async def test_a_row_that_is_too_large(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = ["x" * MIB for _ in range(40)]
    await saying(harness, monkeypatch, {**GOOD, "odd": large})
    await harness.settle()
    assert await harness.values() == PLANS
    found = await items(harness.database)
    assert {reason for _, _, reason in found.values()} == {source_client.TOO_LARGE_MESSAGE}


async def test_all_that_is_said_of_a_batch_is_bounded(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the users would do; all of them are more than is taken."""
    plans = dict.fromkeys(INNOCENT, "é" * 2 * MIB)
    await saying(harness, monkeypatch, plans)
    await harness.settle()
    state = await harness.state()
    assert state.error is None
    assert state.rule_errors["plan"].endswith(source_client.TOO_LARGE_MESSAGE)
    assert 0 < len(await harness.values("email")) < len(INNOCENT)


async def test_a_user_with_millions_of_rows(harness: DecorationHarness, crowd: Database) -> None:
    """The source is not listened to for longer than a moment."""
    sql = (
        "SELECT id, 'tag ' || generate_series(1, CASE id WHEN 'odd' THEN 1000000000 ELSE 3 END) "
        "AS tag FROM users WHERE id = ANY(:userIds)"
    )
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    await harness.apply(query("tag", sql=sql, array=True), timeout=60)
    await harness.known("odd", *INNOCENT)
    started = time.monotonic()
    size, _ = await grown(os.getpid(), harness.settle())
    assert time.monotonic() - started < 60
    assert await harness.values("tag") == {
        user_id: ["tag 1", "tag 2", "tag 3"] for user_id in INNOCENT
    }
    assert (await items(harness.database)).keys() == {("pro_odd", "tag")}
    assert size < 200 * MIB


async def test_a_value_of_hundreds_of_megabytes_takes_no_memory(
    harness: DecorationHarness, crowd: Database
) -> None:
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', NULL)")
    plan = "CASE id WHEN 'odd' THEN repeat('x', 300000000) ELSE plan END"
    sql = f"SELECT id, email, {plan} AS plan FROM users WHERE id = ANY(:userIds)"
    await harness.apply(query(sql=sql), query("email", sql=sql), timeout=60)
    await harness.known("odd", *INNOCENT)
    size, _ = await grown(os.getpid(), harness.settle())
    assert await harness.values() == PLANS
    assert "odd" in await harness.values("email")
    assert await items(harness.database) == {}
    assert size < 100 * MIB


async def test_rows_of_a_gigabyte_take_no_memory(
    harness: DecorationHarness, crowd: Database
) -> None:
    """Each of their values may be as long as that."""
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', NULL)")
    long = "CASE id WHEN 'odd' THEN repeat('x', 131000) ELSE plan END"
    sql = (
        f"SELECT id, {long} AS plan, {long} AS b, {long} AS c, "
        "generate_series(1, CASE id WHEN 'odd' THEN 3000 ELSE 1 END) "
        "FROM users WHERE id = ANY(:userIds)"
    )
    await harness.apply(query(sql=sql), timeout=60)
    await harness.known("odd", *INNOCENT)
    size, _ = await grown(os.getpid(), harness.settle())
    assert await harness.values() == PLANS
    assert (await items(harness.database)).keys() == {("pro_odd", "plan")}
    assert size < 200 * MIB


@pytest.mark.parametrize("size", [20 * MIB, 100 * MIB])
async def test_a_sqlite_file_with_large_values(
    database: Database, tmp_path: Path, size: int
) -> None:
    file = tmp_path / "users.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id TEXT, plan TEXT, avatar BLOB)")
        for user_id in INNOCENT:
            connection.execute("INSERT INTO users VALUES (?, ?, NULL)", (user_id, GOOD[user_id]))
        connection.execute("INSERT INTO users VALUES ('odd', zeroblob(?), NULL)", (size,))
        connection.execute(
            "INSERT INTO users VALUES ('x', CAST(x'ff' AS TEXT), zeroblob(?))", (size,)
        )
    connection.close()
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{file}"})
    sql = "SELECT id, plan FROM users WHERE id IN (:userIds) ORDER BY plan;"
    await harness.apply(query(sql=sql), timeout=60)
    await harness.known("odd", "x", *INNOCENT)
    grew, _ = await grown(os.getpid(), harness.settle())
    assert await harness.values() == PLANS
    assert (await harness.state()).error is None
    assert grew < 200 * MIB
    set_aside = await items(harness.database)
    assert set_aside.keys() == (set() if size < source_client.MAX_BYTES else {("pro_odd", "plan")})
    await harness.worker.close()


async def test_a_value_that_sqlite_cannot_go_on_with(database: Database, tmp_path: Path) -> None:
    """It says no more of that than of a query that is wrong."""
    file = tmp_path / "users.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id TEXT, plan TEXT)")
        for user_id in INNOCENT:
            connection.execute("""INSERT INTO users VALUES (?, '{"name":"free"}')""", (user_id,))
        connection.execute("INSERT INTO users VALUES ('odd', 'no JSON')")
    connection.close()
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{file}"})
    sql = "SELECT id, json_extract(plan, '$.name') AS plan FROM users WHERE id IN (:userIds)"
    await harness.apply(query(sql=sql))
    await harness.known("odd", *INNOCENT)
    await harness.settle()
    assert await harness.values() == {user_id: ["free"] for user_id in INNOCENT}
    assert (await harness.state()).rule_errors == {
        "plan": "refused 1 of 21 users: OperationalError"
    }
    assert await items(database) == {("pro_odd", "plan"): ("open", 1, "OperationalError")}
    await harness.worker.close()


async def test_a_user_for_whom_a_function_raises(
    harness: DecorationHarness, crowd: Database
) -> None:
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    await crowd.execute(
        "CREATE FUNCTION checked(id text, plan text) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN IF id = 'odd' THEN RAISE 'secret'; END IF; RETURN plan; END $$"
    )
    sql = "SELECT id, checked(id, plan) AS plan FROM users WHERE id = ANY(:userIds)"
    await harness.apply(query(sql=sql))
    await harness.known("odd", *INNOCENT)
    await harness.settle()
    assert await harness.values() == PLANS
    assert (await harness.state()).rule_errors == {
        "plan": "refused 1 of 21 users: RaiseException P0001"
    }
    assert await items(harness.database) == {
        ("pro_odd", "plan"): ("open", 1, "RaiseException P0001")
    }

    await crowd.execute("UPDATE users SET id = 'other' WHERE id = 'odd'")
    harness.later(4000)
    await harness.settle()
    assert await items(harness.database) == {}, "the source answers for this user now"


async def test_a_user_for_whom_the_query_takes_too_long(
    harness: DecorationHarness, crowd: Database
) -> None:
    """All others have their values soon, and so has who becomes known later."""
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    sql = f"{SQL} AND (id <> 'odd' OR pg_sleep(30) IS NOT NULL)"
    await harness.apply(query(sql=sql), timeout=0.3)
    await harness.known("odd", *INNOCENT)
    rounds = 0
    while await harness.values() != PLANS:
        rounds += 1
        assert rounds < 40
        await harness.settle()
        harness.later(1)
    await crowd.execute("INSERT INTO users VALUES ('new', 'new@x.io', 'plan of new')")
    await harness.known("new")
    while "new" not in await harness.values():
        rounds += 1
        assert rounds < 100
        await harness.settle()
        harness.later(1)
    assert await harness.values() == {**PLANS, "new": ["plan of new"]}


@pytest.mark.parametrize("slow", ["pg_sleep(30)", "pg_advisory_xact_lock_shared(1)"])
async def test_a_user_whose_query_always_times_out_is_set_aside_and_queried_less_often(
    harness: DecorationHarness, crowd: Database, slow: str
) -> None:
    sql = f"{SQL} AND (id <> 'odd' OR {slow} IS NOT NULL)"
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    await crowd.execute("SELECT pg_advisory_lock(1)")
    await harness.apply(query(sql=sql), timeout=0.1)
    await harness.known("odd")
    await harness.settle()
    found = await items(harness.database)
    assert found.keys() == {("pro_odd", "plan")}
    assert found["pro_odd", "plan"][:2] == ("open", 1)
    for _ in range(60):
        harness.later(10)
        await harness.settle()
    attempts = (await items(harness.database))["pro_odd", "plan"][1]
    assert attempts == 4, "in ten minutes: at once, and 1, 2 and 4 minutes after the one before"

    await crowd.execute("SELECT pg_advisory_unlock(1)")
    await crowd.execute("UPDATE users SET id = 'other' WHERE id = 'odd'")
    harness.later(4000)
    await harness.settle()
    assert await items(harness.database) == {}
    assert (await harness.state()).error is None


@pytest.mark.usefixtures("source_database")
async def test_numbers_stay_exact_in_json(harness: DecorationHarness) -> None:
    sql = (
        """SELECT id, '{"a": 1.10, "b": 12345678901234567890.5}'::jsonb AS object, """
        """'12345678901234567890.50'::jsonb AS number FROM users WHERE id = ANY(:userIds)"""
    )
    await harness.apply(query("object", sql=sql), query("number", type="float", sql=sql))
    await harness.known("1")
    await harness.settle()
    assert await harness.values("object") == {"1": ['{"a":1.10,"b":12345678901234567890.5}']}
    assert await harness.values("number") == {"1": [str(Decimal("12345678901234567890.5"))]}
