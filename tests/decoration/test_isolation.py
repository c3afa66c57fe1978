"""A failure of a profile, a rule or a source does not affect others, on real Postgres."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, LiteralString

import pytest

from decoration import store
from decoration.query import SourceAnswers, SourceQuery, run_queries, run_query
from decoration.schedule import Lease, make_due
from decoration.source_client import SourceClient
from decoration.store import WriteResult
from merganser.runtime import set_aside
from merganser.runtime.lifecycle import StoppedWhileWaiting
from merganser.runtime.set_aside import Item, Kind
from tests.decoration.harness import SQL, DecorationHarness, query
from tests.decoration.other_users import INNOCENT, PLANS, read_set_aside
from tests.support.database import Database

BOTH = {"crm": {"url": "CRM_URL"}, "other": {"url": "CRM_URL"}}
GOOD = {"1": ["free"], "2": ["pro"]}


async def refuse(database: Database, *plans: str) -> None:
    """Make our Postgres refuse these values."""
    listed = ", ".join(f"'{plan}'" for plan in plans)
    await database.connection.execute(
        f'ALTER TABLE "profileProperties" ADD CHECK (value NOT IN ({listed}))'.encode()
    )


async def test_values_that_postgres_refuses_are_set_aside(
    harness: DecorationHarness, twenty_users: Database
) -> None:
    await twenty_users.execute(
        "INSERT INTO users VALUES ('odd', 'odd@x.io', 'bad'), ('x', NULL, 'worse')"
    )
    await refuse(harness.database, "bad", "worse")
    await harness.apply(query(), query("email"))
    await harness.add_users("odd", "x", *INNOCENT)
    await harness.run_worker()
    assert await harness.read_values() == PLANS
    assert len(await harness.read_values("email")) == len(INNOCENT)
    found = await read_set_aside(harness.database)
    assert found.keys() == {("pro_odd", "plan"), ("pro_odd", "email"), ("pro_x", "plan")}
    for item_state, attempts, reason in found.values():
        assert (item_state, attempts) == ("open", 1)
        assert reason.startswith("CheckViolation 23514 at rulebook/property_store.py:")
    status = await harness.read_status()
    assert (status.error, status.due) == (None, 0), "the next query is at its normal time"

    await twenty_users.execute("UPDATE users SET plan = 'fine' WHERE id IN ('odd', 'x')")
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values() == {**PLANS, "odd": ["fine"], "x": ["fine"]}
    assert await read_set_aside(harness.database) == {}


async def test_a_refused_value_keeps_the_stored_value(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query())
    await harness.add_users("1", "2")
    await harness.run_worker()
    await source_database.execute("UPDATE users SET plan = plan || '!'")
    await refuse(harness.database, "pro!")
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["free!"], "2": ["pro"]}
    assert (await read_set_aside(harness.database)).keys() == {("pro_2", "plan")}


async def test_a_refused_value_is_found_in_few_transactions(
    harness: DecorationHarness, twenty_users: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of twenty users is found in about ten transactions."""
    await twenty_users.execute("UPDATE users SET plan = 'bad' WHERE id = '7'")
    await refuse(harness.database, "bad")
    await harness.apply(query())
    await harness.run_worker()
    await harness.add_users(*INNOCENT)
    sizes: list[int] = []
    write_answers = store.write_answers

    async def record_size(connection: Any, lease: Lease, *arguments: Any) -> WriteResult:
        sizes.append(len(lease.user_ids))
        return await write_answers(connection, lease, *arguments)

    monkeypatch.setattr(store, "write_answers", record_size)
    await harness.run_worker()
    assert (await read_set_aside(harness.database)).keys() == {("pro_7", "plan")}
    assert sizes[0] == len(INNOCENT)
    assert len(sizes) <= 11


async def break_source(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make each query of the source `other` raise this error."""

    async def fail(
        client: SourceClient, source: str, queries: Sequence[SourceQuery], user_ids: Sequence[str]
    ) -> SourceAnswers:
        if source == "other":
            raise error
        return await run_queries(client, source, queries, user_ids)

    monkeypatch.setattr("decoration.query.run_queries", fail)


@pytest.mark.usefixtures("source_database")
async def test_an_unexpected_error_of_a_source_affects_only_that_source(
    harness: DecorationHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await break_source(monkeypatch, KeyError("secret"))
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    status = await harness.read_status("other")
    assert status.error is not None
    assert status.error.startswith("KeyError at decoration/test_isolation.py:")
    assert status.breaker.retry_at is not None, "the breaker opens as after an outage"
    assert status.due == 2
    output = capsys.readouterr()
    assert "secret" not in output.out + output.err
    monkeypatch.undo()
    harness.advance(100)
    await harness.run_worker()
    assert await harness.read_values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


@pytest.mark.usefixtures("source_database")
async def test_a_stop_request_is_not_treated_as_an_error(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_source(monkeypatch, StoppedWhileWaiting())
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.add_users("1")
    with pytest.raises(StoppedWhileWaiting):
        await harness.run_worker()
    monkeypatch.undo()
    with suppress(StoppedWhileWaiting):  # the query of the other source may still run
        await harness.worker.close()
    harness.worker = harness.create_worker()


@pytest.mark.usefixtures("source_database")
async def test_an_unexpected_error_of_a_query_affects_only_its_rules(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other rules of the same source get their values."""

    async def fail(
        client: SourceClient, source: str, source_query: SourceQuery, user_ids: Sequence[str]
    ) -> Any:
        if "broken" in source_query.keys:
            raise KeyError("secret")
        return await run_query(client, source, source_query, user_ids)

    monkeypatch.setattr("decoration.query.run_query", fail)
    await harness.apply(query(), query("email", "broken", sql=f"{SQL} AND true"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    status = await harness.read_status()
    assert status.error is None
    assert status.rule_errors["broken"].startswith("KeyError at decoration/test_isolation.py:")


# Case -> the stored definition of the source `other`, and the start of the error.
BROKEN_DEFINITIONS: dict[str, tuple[str, str]] = {
    "a wrong field": ('{"url": "CRM_URL", "timeout": -1}', "timeout: Input should be"),
    "a missing field": ("{}", "url: Field required"),
    "an unknown field": ('{"url": "CRM_URL", "user": "x"}', "user: Extra inputs"),
    "a list": ("[]", "Input should be an object"),
    "null": ("null", "Input should be an object"),
    "deeply nested": ("[" * 2000 + "]" * 2000, "Invalid JSON: recursion limit exceeded"),
    "a number of 5,000 digits": (
        f'{{"url": "CRM_URL", "batch": {"7" * 5000}}}',
        "Invalid JSON: number out of range",
    ),
}


@pytest.mark.usefixtures("source_database")
@pytest.mark.parametrize(
    ("definition", "problem"), BROKEN_DEFINITIONS.values(), ids=list(BROKEN_DEFINITIONS)
)
async def test_a_broken_definition_affects_only_its_source(
    harness: DecorationHarness, definition: str, problem: str
) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.database.execute(
        """UPDATE "propertySources" SET definition = %s::jsonb WHERE name = 'other'""", definition
    )
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    error = (await harness.read_status("other")).error
    assert error is not None
    assert error.startswith('the definition in "propertySources" is broken: ' + problem)
    await harness.database.execute(
        """UPDATE "propertySources" SET definition = %s::jsonb WHERE name = 'other'""",
        json.dumps(BOTH["other"]),
    )
    harness.advance(100)
    await harness.run_worker()
    assert await harness.read_values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


@pytest.mark.usefixtures("source_database")
async def test_a_missing_source_affects_only_its_rules(harness: DecorationHarness) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.database.execute("""DELETE FROM "propertySources" WHERE name = 'other'""")
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    assert "there is no such source" in str((await harness.read_status("other")).error)


@pytest.mark.usefixtures("source_database")
@pytest.mark.parametrize("option", ["timeout", "refresh"])
async def test_an_option_beyond_the_range_of_dates_affects_only_its_source(
    harness: DecorationHarness, option: str
) -> None:
    sources = {**BOTH, "other": {"url": "CRM_URL", option: 1e300}}
    await harness.apply_to(sources, query(), query("email", source="other"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    error = (await harness.read_status("other")).error
    assert error is not None
    assert error.startswith("OverflowError at decoration/")


CHANGES: list[LiteralString] = [
    """UPDATE "profileDecorations" SET "dueAt" = '-infinity'""",
    """UPDATE "profileDecorations" SET "dueAt" = '4000-01-01 BC'""",
    """UPDATE "propertySourceStates" SET "retryAt" = '-infinity', failures = 2147483647""",
    """UPDATE "propertySourceStates" SET "retryAt" = '-infinity', failures = -1""",
    """UPDATE "propertySourceStates" SET failures = 2147483647""",
    """UPDATE "propertySourceStates" SET "failingSince" = '-infinity'""",
    """UPDATE "propertySourceStates" SET "succeededAt" = 'infinity'""",
    """UPDATE "propertySourceStates" SET revisions = '{NULL,1}'""",
]


@pytest.mark.usefixtures("source_database")
@pytest.mark.parametrize("statement", CHANGES)
async def test_the_process_recovers_from_changed_rows_of_its_tables(
    harness: DecorationHarness, statement: LiteralString
) -> None:
    await harness.apply(query())
    await harness.add_users("1", "2")
    await harness.worker.poll()
    await harness.worker.poll()
    await harness.worker.join()
    await harness.database.execute('UPDATE "profileDecorations" SET "dueAt" = %s', harness.now)
    await harness.database.execute('DELETE FROM "profileProperties"')
    await harness.database.execute(statement)
    await harness.run_worker()
    await harness.run_worker()
    assert await harness.read_values() == GOOD


@pytest.mark.usefixtures("source_database")
async def test_a_source_that_is_never_due_does_not_block_others(harness: DecorationHarness) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.run_worker()
    await harness.database.execute(
        """UPDATE "propertySourceStates" SET "retryAt" = 'infinity' WHERE source = 'other'"""
    )
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    assert await harness.read_values("email") == {}


async def set_values_aside(harness: DecorationHarness, *values: tuple[str, str]) -> None:
    """Set the values of these profiles and keys aside."""
    await set_aside.put(
        harness.database.connection,
        [Item(Kind.VALUE, profile, key, "ValueError") for profile, key in values],
    )


@pytest.mark.usefixtures("source_database")
async def test_retried_values_are_queried_at_once(
    harness: DecorationHarness, queried: list[tuple[str, ...]]
) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.add_users("1", "2", "3")
    await harness.run_worker()
    values = [("pro_1", "plan"), ("pro_2", "plan"), ("pro_2", "email")]
    await set_values_aside(harness, *values)
    queried.clear()
    unknown = [("pro_gone", "plan"), ("pro_1", "gone"), ("pro_1", "userId")]
    due = await make_due(harness.database.connection, [*values, *unknown])
    assert due == set(values)
    await harness.run_worker()
    assert sorted(map(sorted, queried)) == [["1", "2"], ["2"]]
    assert await read_set_aside(harness.database) == {}
    assert await make_due(harness.database.connection, []) == set()


@pytest.mark.usefixtures("source_database")
async def test_set_aside_values_are_deleted_with_their_rule_or_profile(
    harness: DecorationHarness,
) -> None:
    """Items of other kinds stay."""
    await harness.apply(query(), query("email"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    await set_values_aside(harness, ("pro_1", "plan"), ("pro_2", "plan"), ("pro_2", "email"))
    other = Item(Kind.PROFILE, "pro_1", "plan", "ValueError")
    await set_aside.put(harness.database.connection, [other])
    await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await harness.apply(query())
    harness.advance(0)
    await harness.worker.poll()
    assert (await read_set_aside(harness.database)).keys() == {("pro_1", "plan"), ("pro_2", "plan")}
    harness.advance(4000)
    await harness.worker.poll()
    assert (await read_set_aside(harness.database)).keys() == {("pro_2", "plan")}
    await harness.apply()
    await harness.run_worker()
    assert await harness.database.rows('SELECT kind, subject FROM "setAside"') == [
        ("profile", "pro_1")
    ]
