"""Values that cannot be read or stored affect only their user and property."""

import os
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from decoration import dialects, source_client
from tests.decoration.fake_source import FakeSource
from tests.decoration.harness import SQL, DecorationHarness, query, read_counter
from tests.decoration.other_users import GOOD, INNOCENT, PLANS, read_set_aside
from tests.support.database import Database
from tests.support.memory import measure_growth

MIB = 2**20


# Case -> a SQL expression, and the value of a text property or None if it has none.
EXPRESSIONS: dict[str, tuple[str, str | None]] = {
    "a time that Python cannot represent": ("'infinity'::timestamptz", "infinity"),
    "a day that Python cannot represent": ("'-infinity'::date", "-infinity"),
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
    "not a number": ("'NaN'::numeric", "NaN"),
    "NUL in JSON": (r"""'{"a":"\u0000"}'::json""", r'{"a":"\u0000"}'),
    "bytes with NUL": (r"'\x0041'::bytea", None),
    "bytes that are not text": (r"'\xff'::bytea", None),
    "a text of 20 MB": ("repeat('x', 20000000)", None),
    "a text of the maximum length": ("repeat('x', 16384)", "x" * 16384),
    "an array of arrays": ("'{{a,b},{c,d}}'::text[]", '[["a","b"],["c","d"]]'),
    "an array of 100,000": ("array_fill('x'::text, '{100000}')", None),
    "a time in an array that Python cannot represent": ("'{infinity}'::date[]", '["infinity"]'),
    "a row": ("ROW(1, NULL, 'x')", '["1",null,"x"]'),
    "a range": ("'[2026-01-01,infinity)'::daterange", "[2026-01-01, infinity)"),
    "void": ("pg_sleep(0)", ""),
}


@pytest.mark.parametrize(("expression", "value"), EXPRESSIONS.values(), ids=list(EXPRESSIONS))
async def test_unusual_values_of_postgres_affect_only_their_user(
    harness: DecorationHarness, twenty_users: Database, expression: str, value: str | None
) -> None:
    """Other properties of the same user keep their values."""
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', NULL)")
    odd = f"SELECT id, email, {expression} AS plan FROM users WHERE id = 'odd'"
    sql = f"SELECT id, email, plan FROM ({odd}) AS odd WHERE id = ANY(:userIds)"
    await harness.apply(query(), query("email"), query("plan", "odd", sql=sql))
    await harness.add_users("odd", *INNOCENT)
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    assert len(await harness.read_values("email")) == len(INNOCENT) + 1
    assert await harness.read_values("odd") == ({} if value is None else {"odd": [value]})
    assert (await harness.read_status()).error is None
    assert await read_set_aside(harness.database) == {}


async def test_a_value_that_is_too_long_is_skipped_and_counted(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', repeat('x', 16385))")
    await twenty_users.execute(
        "INSERT INTO users VALUES ('more', 'more@x.io', repeat('x', 20000000))"
    )
    too_long = "merganser_decoration_values_too_long_total"
    before = read_counter(too_long, rule="plan")
    await harness.apply(query(), query("email"))
    await harness.add_users("odd", "more", *INNOCENT)
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    assert {"odd", "more"} <= (await harness.read_values("email")).keys()
    assert read_counter(too_long, rule="plan") - before == 2


async def use_fake_source(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch, plans: Mapping[str, Any]
) -> FakeSource:
    """Replace the source by a fake one with these plans, and add their users."""
    source = FakeSource(plans)
    monkeypatch.setattr(dialects, "execute_query", source.execute_query)
    await harness.apply(query(), query("email"))
    await harness.add_users(*plans)
    return source


async def test_a_value_that_cannot_be_read_is_set_aside(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await use_fake_source(harness, monkeypatch, {**GOOD, "odd": "fine"})
    await harness.run_worker()
    assert await harness.read_values() == {**PLANS, "odd": ["fine"]}

    source.plans = {**GOOD, "odd": 10**5000}
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values() == PLANS, "an unreadable value deletes the stored value"
    assert "odd" in await harness.read_values("email")
    (item,) = (await read_set_aside(harness.database)).items()
    place, (state, attempts, reason) = item
    assert (place, state, attempts) == (("pro_odd", "plan"), "open", 1)
    assert reason.startswith("ValueError at decoration/values.py:")

    harness.advance(4000)
    await harness.run_worker()
    ((state, attempts, _),) = (await read_set_aside(harness.database)).values()
    assert (state, attempts) == ("open", 2)

    source.plans = {**GOOD, "odd": "fine"}
    harness.advance(4000)
    await harness.run_worker()
    assert await read_set_aside(harness.database) == {}
    assert await harness.read_values() == {**PLANS, "odd": ["fine"]}


@pytest.mark.parametrize("state", ["retried", "dropped"])
async def test_an_operators_decision_about_a_value_lasts_until_it_is_read(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """While it fails, a retried value is open again and a dropped one stays dropped."""
    source = await use_fake_source(harness, monkeypatch, {**GOOD, "odd": 10**5000})
    await harness.run_worker()
    await harness.database.execute('UPDATE "setAside" SET state = %s', state)
    harness.advance(4000)
    await harness.run_worker()
    ((now, attempts, _),) = (await read_set_aside(harness.database)).values()
    assert (now, attempts) == ("open" if state == "retried" else state, 2)
    await harness.database.execute('UPDATE "setAside" SET state = %s', state)
    source.plans = {**GOOD, "odd": "fine"}
    harness.advance(4000)
    await harness.run_worker()
    assert await read_set_aside(harness.database) == {}


async def test_a_row_with_an_unreadable_id_is_skipped_and_reported(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await use_fake_source(harness, monkeypatch, {**GOOD, "odd": "x", "other": "y"})
    source.ids = {"odd": 10**5000, "other": b"x" * 100_000}
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    problem = "left out 2 rows whose userId cannot be read"
    assert (await harness.read_status()).rule_errors == {"plan": problem, "email": problem}
    assert await read_set_aside(harness.database) == {}


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), ValueError("secret")])
async def test_a_driver_error_for_one_row_sets_one_user_aside(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The error does not name the row."""
    source = await use_fake_source(harness, monkeypatch, {**GOOD, "odd": "x"})
    await harness.run_worker()
    source.plans = {**GOOD, "odd": error}
    source.calls = 0
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    found = await read_set_aside(harness.database)
    assert found.keys() == {("pro_odd", "plan"), ("pro_odd", "email")}
    for _, _, reason in found.values():
        assert reason.startswith(type(error).__name__)
        assert "secret" not in reason
    assert source.calls <= 12
    assert (await harness.read_status()).error is None


async def test_a_row_that_is_too_large_is_set_aside(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = ["x" * MIB for _ in range(40)]
    await use_fake_source(harness, monkeypatch, {**GOOD, "odd": large})
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    found = await read_set_aside(harness.database)
    assert {reason for _, _, reason in found.values()} == {source_client.TOO_LARGE_MESSAGE}


async def test_the_result_of_a_batch_is_limited(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values of half of the users fit; those of all users exceed the limit."""
    plans = dict.fromkeys(INNOCENT, "é" * 2 * MIB)
    await use_fake_source(harness, monkeypatch, plans)
    await harness.run_worker()
    status = await harness.read_status()
    assert status.error is None
    assert status.rule_errors["plan"].endswith(source_client.TOO_LARGE_MESSAGE)
    assert 0 < len(await harness.read_values("email")) < len(INNOCENT)


async def test_a_user_with_millions_of_rows_affects_only_itself(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    """The worker stops reading the result early."""
    sql = (
        "SELECT id, 'tag ' || generate_series(1, CASE id WHEN 'odd' THEN 1000000000 ELSE 3 END) "
        "AS tag FROM users WHERE id = ANY(:userIds)"
    )
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    await harness.apply(query("tag", sql=sql, array=True), timeout=60)
    await harness.add_users("odd", *INNOCENT)
    started = time.monotonic()
    size, _ = await measure_growth(os.getpid(), harness.run_worker())
    assert time.monotonic() - started < 60
    assert await harness.read_values("tag") == {
        user_id: ["tag 1", "tag 2", "tag 3"] for user_id in INNOCENT
    }
    assert (await read_set_aside(harness.database)).keys() == {("pro_odd", "tag")}
    assert size < 200 * MIB


async def test_a_value_of_hundreds_of_megabytes_takes_no_memory(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', NULL)")
    plan = "CASE id WHEN 'odd' THEN repeat('x', 300000000) ELSE plan END"
    sql = f"SELECT id, email, {plan} AS plan FROM users WHERE id = ANY(:userIds)"
    await harness.apply(query(sql=sql), query("email", sql=sql), timeout=60)
    await harness.add_users("odd", *INNOCENT)
    size, _ = await measure_growth(os.getpid(), harness.run_worker())
    assert await harness.read_values() == PLANS
    assert "odd" in await harness.read_values("email")
    assert await read_set_aside(harness.database) == {}
    assert size < 100 * MIB


async def test_rows_of_a_gigabyte_take_no_memory(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    """Each value of these rows is within the limit of the driver."""
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', NULL)")
    long = "CASE id WHEN 'odd' THEN repeat('x', 131000) ELSE plan END"
    sql = (
        f"SELECT id, {long} AS plan, {long} AS b, {long} AS c, "
        "generate_series(1, CASE id WHEN 'odd' THEN 3000 ELSE 1 END) "
        "FROM users WHERE id = ANY(:userIds)"
    )
    await harness.apply(query(sql=sql), timeout=60)
    await harness.add_users("odd", *INNOCENT)
    size, _ = await measure_growth(os.getpid(), harness.run_worker())
    assert await harness.read_values() == PLANS
    assert (await read_set_aside(harness.database)).keys() == {("pro_odd", "plan")}
    assert size < 200 * MIB


async def test_an_error_raised_for_one_user_affects_only_that_user(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    await twenty_users.execute(
        "CREATE FUNCTION checked(id text, plan text) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN IF id = 'odd' THEN RAISE 'secret'; END IF; RETURN plan; END $$"
    )
    sql = "SELECT id, checked(id, plan) AS plan FROM users WHERE id = ANY(:userIds)"
    await harness.apply(query(sql=sql))
    await harness.add_users("odd", *INNOCENT)
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    assert (await harness.read_status()).rule_errors == {
        "plan": "refused 1 of 21 users: RaiseException P0001"
    }
    assert await read_set_aside(harness.database) == {
        ("pro_odd", "plan"): ("open", 1, "RaiseException P0001")
    }

    await twenty_users.execute("UPDATE users SET id = 'other' WHERE id = 'odd'")
    harness.advance(4000)
    await harness.run_worker()
    assert await read_set_aside(harness.database) == {}, "the source answers for this user now"


async def test_a_user_whose_query_times_out_does_not_block_others(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    """All other users get their values soon, and so does a user that is added later."""
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    sql = f"{SQL} AND (id <> 'odd' OR pg_sleep(30) IS NOT NULL)"
    await harness.apply(query(sql=sql), timeout=1)
    await harness.add_users("odd", *INNOCENT)
    rounds = 0
    while await harness.read_values() != PLANS:
        rounds += 1
        assert rounds < 120  # a slow machine may set another user aside, for a minute
        await harness.run_worker()
        harness.advance(1)
    await twenty_users.execute("INSERT INTO users VALUES ('new', 'new@x.io', 'plan of new')")
    await harness.add_users("new")
    while "new" not in await harness.read_values():
        rounds += 1
        assert rounds < 240
        await harness.run_worker()
        harness.advance(1)
    assert await harness.read_values() == {**PLANS, "new": ["plan of new"]}


@pytest.mark.parametrize("slow", ["pg_sleep(30)", "pg_advisory_xact_lock_shared(1)"])
async def test_a_user_whose_query_always_times_out_is_set_aside_and_queried_less_often(
    harness: DecorationHarness, twenty_users: Database, slow: str
) -> None:
    sql = f"{SQL} AND (id <> 'odd' OR {slow} IS NOT NULL)"
    await twenty_users.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'x')")
    await twenty_users.execute("SELECT pg_advisory_lock(1)")
    await harness.apply(query(sql=sql), timeout=0.1)
    await harness.add_users("odd")
    await harness.run_worker()
    found = await read_set_aside(harness.database)
    assert found.keys() == {("pro_odd", "plan")}
    assert found["pro_odd", "plan"][:2] == ("open", 1)
    for _ in range(60):
        harness.advance(10)
        await harness.run_worker()
    attempts = (await read_set_aside(harness.database))["pro_odd", "plan"][1]
    assert attempts == 4, "in ten minutes: at once, and 1, 2 and 4 minutes after the one before"

    await twenty_users.execute("SELECT pg_advisory_unlock(1)")
    await twenty_users.execute("UPDATE users SET id = 'other' WHERE id = 'odd'")
    await harness.apply(query(sql=sql), timeout=60)
    harness.advance(4000)
    await harness.run_worker()
    assert await read_set_aside(harness.database) == {}
    assert (await harness.read_status()).error is None


@pytest.mark.usefixtures("source_database")
async def test_numbers_stay_exact_in_json(harness: DecorationHarness) -> None:
    sql = (
        """SELECT id, '{"a": 1.10, "b": 12345678901234567890.5}'::jsonb AS object, """
        """'12345678901234567890.50'::jsonb AS number FROM users WHERE id = ANY(:userIds)"""
    )
    await harness.apply(query("object", sql=sql), query("number", type="float", sql=sql))
    await harness.add_users("1")
    await harness.run_worker()
    assert await harness.read_values("object") == {"1": ['{"a":1.10,"b":12345678901234567890.5}']}
    assert await harness.read_values("number") == {"1": [str(Decimal("12345678901234567890.5"))]}
