"""A profile that fails is set aside or computed from scratch; others go on. On real Postgres."""

from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from properties import incremental, step, store
from properties.step import StepCounts
from tests.properties.harness import COUNT, LAST, NOW, PATHS, PRICE, PropertyHarness
from tests.support.database import Database

UNUSABLE_STATES = {
    "invalid JSON": "{",
    "nested": "[" * 100_000 + "]" * 100_000,
    "a list": "[1, 2]",
    "empty": "{}",
    "text": '"x"',
    "null": "null",
    "huge": '{"x": "' + "y" * 5_000_000 + '"}',
    "another revision": '{"999": 1}',
}


@pytest.mark.parametrize("state", UNUSABLE_STATES.values(), ids=UNUSABLE_STATES)
async def test_an_unusable_state_is_rebuilt(harness: PropertyHarness, state: str) -> None:
    for number in range(1, 4):
        await harness.add_views(f"pro_{number}", range(3), path="/a")
    await harness.run_process()
    await harness.database.execute(
        """UPDATE "propertyStates" SET state = %s WHERE "profileGuid" = 'pro_2'""", state
    )
    for number in range(1, 4):
        await harness.add_views(f"pro_{number}", [9], path="/b")
    steps = await harness.run_process()
    assert sum(step.counts.rebuilt for step in steps) == 1
    assert await harness.read_values("pro_2", "paths") == ["/a"] * 3 + ["/b"]
    assert await harness.read_set_aside() == {}
    await harness.check_other_profiles("4")


async def test_a_changed_state_of_the_right_shape_is_rebuilt(
    harness: PropertyHarness,
) -> None:
    await harness.add_views("pro_2", range(3))
    await harness.run_process()
    changed = await harness.database.execute(
        """
        UPDATE "propertyStates" SET state = regexp_replace(state, '":3', '":7')
        WHERE state LIKE '%%":3%%'
        """
    )
    assert changed == 1
    await harness.add_views("pro_2", [9])
    await harness.run_process()
    assert await harness.read_values("pro_2", "visits") == ["4"]


@pytest.mark.parametrize("state", ["{", "null", '{"1": "x"}', "[" * 100_000])
async def test_a_rebuild_whose_state_was_changed_restarts(database: Database, state: str) -> None:
    harness = PropertyHarness(database, batch=2)
    await harness.apply(COUNT)
    await harness.add_profile("pro_1")
    (deleted, *_) = await harness.add_views("pro_1", range(6))
    await harness.run_process()
    await database.execute("DELETE FROM events WHERE guid = %s", deleted)
    while await database.column('SELECT "reachedAt" IS NOT NULL FROM "propertyRecounts"') != [True]:
        await harness.run_step()
    await database.execute('UPDATE "propertyRecounts" SET state = %s', state)
    await harness.add_views("pro_1", [0])
    await harness.run_process()
    assert await harness.read_values("pro_1", "visits") == ["6"]
    assert await harness.read_set_aside() == {}


async def test_an_unusable_state_is_rebuilt_when_its_window_moves(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 1}})  # type: ignore[dict-item]
    for number in range(3):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), [0])
    await harness.run_process()
    await database.execute(
        """UPDATE "propertyStates" SET state = '{' WHERE "profileGuid" = 'pro_1'"""
    )
    harness.now += timedelta(days=1)
    await harness.run_process()
    assert [await harness.read_values(f"pro_{n}", "visits") for n in range(3)] == [["0"]] * 3
    assert await harness.find_disagreements() == []


async def test_a_failing_profile_is_set_aside_until_it_is_retried(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        await harness.add_views(f"pro_{number}", [1], price="2")
    await harness.run_process()
    await harness.add_views("pro_2", [2], price="13")
    for number in range(1, 4):
        await harness.add_views(f"pro_{number}", [3], price="2")
    steps = await harness.run_process()
    assert sum(step.counts.set_aside for step in steps) == 1
    (reason,) = (await harness.read_set_aside()).values()
    assert reason.startswith("ZeroDivisionError at properties/conftest.py:")
    assert reason.endswith(", rule spent")
    await harness.check_other_profiles("2")
    for key, value in {"visits": "1", "spent": "2"}.items():
        assert await harness.read_values("pro_2", key) == [value], (
            "the properties of a set-aside profile stay"
        )

    await harness.add_views("pro_2", [4], price="1")
    await harness.database.execute('DELETE FROM events WHERE "occurredAt" = %s', NOW)
    steps = await harness.run_process()
    assert await harness.database.count("eventChanges") == 0
    assert await harness.read_values("pro_2", "visits") == ["1"], "it is not computed"
    assert list(await harness.read_set_aside()) == ["pro_2"]

    await harness.retry_set_aside()
    await harness.run_process()
    assert list(await harness.read_set_aside()) == ["pro_2"]
    attempts = 'SELECT attempts FROM "setAside"'
    assert await harness.database.value(attempts) == 2

    defect.undo()
    await harness.retry_set_aside()
    await harness.run_process()
    assert await harness.database.count("setAside") == 0
    assert await harness.read_values("pro_2", "visits") == ["4"]
    assert await harness.read_values("pro_2", "spent") == ["18"]
    await harness.check_other_profiles("2")


async def test_a_deleted_profile_is_no_longer_set_aside(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    await harness.add_views("pro_2", [1, 2], price="13")
    await harness.run_process()
    assert list(await harness.read_set_aside()) == ["pro_2"]
    defect.undo()
    async with harness.database.connection.transaction():
        await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_1'""")
        await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_2'")
    await harness.run_process()
    assert await harness.database.count("setAside") == 0
    assert await harness.read_values("pro_1", "spent") == ["26"]


async def test_the_backfill_of_a_new_rule_skips_a_set_aside_profile(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    await harness.add_views("pro_2", [1, 2], price="13")
    await harness.add_views("pro_1", [1], path="/a")
    await harness.run_process()
    await harness.apply(COUNT, PATHS, PRICE, LAST)
    await harness.run_process()
    assert await harness.read_values("pro_1", "last") == ["/a"]
    assert await harness.read_values("pro_2", "visits") == []
    assert await harness.database.value(
        'SELECT bool_and("backfilledTo" IS NULL) FROM "profilePropertyRules"'
    )
    del defect


REFUSED = """
ALTER TABLE "profileProperties" ADD CONSTRAINT refused CHECK (value <> 'refused') NOT VALID
"""
REFUSED_AT_COMMIT = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused';
END
$$;
CREATE CONSTRAINT TRIGGER refused AFTER INSERT OR UPDATE ON "profileProperties"
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.value = 'refused') EXECUTE FUNCTION refuse();
"""


async def test_a_value_that_postgres_refuses_sets_one_profile_of_many_aside(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process halves the profiles of the step, which bounds the attempts; the others commit."""
    await harness.database.execute(REFUSED)
    calls = count_profiles_by_call(monkeypatch, incremental, "update_profiles")
    guids = [await harness.add_profile(f"pro_x{number:03}") for number in range(200)]
    for guid in [*guids, "pro_1", "pro_2", "pro_3"]:
        await harness.add_views(guid, [1], path="refused" if guid == "pro_x077" else "/")
    await harness.run_process()
    # One call for all, then two for each time that it halves the part with the failing profile.
    assert len(calls) <= 2 + 2 * 8
    assert list(await harness.read_set_aside()) == ["pro_x077"]
    (reason,) = (await harness.read_set_aside()).values()
    assert reason.startswith("CheckViolation 23514 at rulebook/property_store.py:")
    for guid in guids:
        expected = [] if guid == "pro_x077" else ["/"]
        assert await harness.read_values(guid, "paths") == expected
    assert await harness.find_disagreements() == []
    await harness.database.execute('ALTER TABLE "profileProperties" DROP CONSTRAINT refused')
    await harness.retry_set_aside()
    await harness.run_process()
    assert await harness.read_values("pro_x077", "paths") == ["refused"]
    assert await harness.database.count("setAside") == 0


async def test_a_value_that_postgres_refuses_at_commit_sets_one_profile_aside(
    harness: PropertyHarness,
) -> None:
    await harness.database.execute(REFUSED_AT_COMMIT)
    for number in range(1, 4):
        path = "refused" if number == 2 else "/"
        await harness.add_views(f"pro_{number}", [1], path=path)
    await harness.run_process()
    (reason,) = (await harness.read_set_aside()).values()
    assert reason.startswith("RaiseException P0001 at")
    await harness.check_other_profiles("1")


async def test_values_that_postgres_refuses_in_a_backfill_set_their_profiles_aside(
    database: Database,
) -> None:
    harness = PropertyHarness(database)
    await database.execute(REFUSED)
    for number in range(20):
        path = "refused" if number in (3, 4, 11) else "/"
        await harness.add_views(await harness.add_profile(f"pro_{number:02}"), [1], path=path)
    await harness.apply(PATHS)
    await harness.run_process()
    assert sorted(await harness.read_set_aside()) == ["pro_03", "pro_04", "pro_11"]
    assert await database.count("profileProperties") == 17
    assert await harness.find_disagreements() == []


async def test_a_value_that_postgres_refuses_as_a_window_moves_sets_one_profile_aside(
    database: Database,
) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 1}})  # type: ignore[dict-item]
    for number in range(5):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), [0])
    await harness.run_process()
    await database.execute(
        """
        ALTER TABLE "profileProperties" ADD CONSTRAINT refused
        CHECK ("profileGuid" <> 'pro_3' OR value <> '0') NOT VALID
        """
    )
    harness.now += timedelta(days=1)
    await harness.run_process()
    assert list(await harness.read_set_aside()) == ["pro_3"]
    values = [await harness.read_values(f"pro_{n}", "visits") for n in range(5)]
    assert values == [["0"], ["0"], ["0"], ["1"], ["0"]]


async def test_contention_sets_no_profile_aside(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that meets a newer snapshot is retried until it succeeds."""
    write_states = store.write_states
    attempts: list[int] = []

    async def write_under_contention(connection: AsyncConnection[Any], states: Any) -> None:
        if len(attempts) < 30:
            attempts.append(1)
            await connection.execute("DO $$ BEGIN RAISE serialization_failure; END $$")
        await write_states(connection, states)

    monkeypatch.setattr(store, "write_states", write_under_contention)
    monkeypatch.setattr("merganser.runtime.postgres.backoff", lambda: iter([0.001] * 1000))
    await harness.add_views("pro_1", [1])
    await harness.run_process()
    assert await harness.read_values("pro_1", "visits") == ["1"]
    assert await harness.read_set_aside() == {}


async def test_a_step_that_times_out_is_split(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres ends the session of a transaction that times out, so savepoints do not help."""
    harness = PropertyHarness(database, batch=1000)
    await harness.apply(COUNT)
    await harness.run_process()
    for number in range(20):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), [1])
    for_profiles = step.Step.for_profiles

    async def time_out(self: step.Step, profiles: Any, work: Any, fault: Any) -> None:
        if len(profiles) > 3:
            await self.connection.execute(
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '25P04'; END $$"
            )
        await for_profiles(self, profiles, work, fault)

    monkeypatch.setattr(step.Step, "for_profiles", time_out)
    monkeypatch.setattr("merganser.runtime.postgres.backoff", lambda: iter([0.001] * 1000))
    await harness.run_process()
    assert await harness.read_values("pro_19", "visits") == ["1"]
    assert await harness.read_set_aside() == {}


def count_profiles_by_call(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Return a list that receives the number of profiles of each call of a function."""
    calls: list[int] = []
    function = getattr(module, name)

    async def count(*arguments: Any) -> StepCounts:
        calls.append(len(arguments[1]))
        counts: StepCounts = await function(*arguments)
        return counts

    monkeypatch.setattr(module, name, count)
    return calls
