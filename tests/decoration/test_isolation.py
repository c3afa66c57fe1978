"""What goes wrong for a profile, a rule or a source costs nobody else, on real Postgres."""

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
from tests.decoration.other_users import INNOCENT, PLANS, items
from tests.support.database import Database

BOTH = {"crm": {"url": "CRM_URL"}, "other": {"url": "CRM_URL"}}
GOOD = {"1": ["free"], "2": ["pro"]}


async def refuse(database: Database, *plans: str) -> None:
    """Have our own Postgres refuse values."""
    listed = ", ".join(f"'{plan}'" for plan in plans)
    await database.connection.execute(
        f'ALTER TABLE "profileProperties" ADD CHECK (value NOT IN ({listed}))'.encode()
    )


async def test_values_that_postgres_refuses_are_set_aside(
    harness: DecorationHarness, crowd: Database
) -> None:
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'bad'), ('x', NULL, 'worse')")
    await refuse(harness.database, "bad", "worse")
    await harness.apply(query(), query("email"))
    await harness.known("odd", "x", *INNOCENT)
    await harness.settle()
    assert await harness.values() == PLANS
    assert len(await harness.values("email")) == len(INNOCENT)
    found = await items(harness.database)
    assert found.keys() == {("pro_odd", "plan"), ("pro_odd", "email"), ("pro_x", "plan")}
    for now, attempts, reason in found.values():
        assert (now, attempts) == ("open", 1)
        assert reason.startswith("CheckViolation 23514 at rulebook/property_store.py:")
    state = await harness.state()
    assert (state.error, state.due) == (None, 0), "they are put off as all others"

    await crowd.execute("UPDATE users SET plan = 'fine' WHERE id IN ('odd', 'x')")
    harness.later(4000)
    await harness.settle()
    assert await harness.values() == {**PLANS, "odd": ["fine"], "x": ["fine"]}
    assert await items(harness.database) == {}


async def test_a_value_that_is_refused_keeps_what_is_stored(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query())
    await harness.known("1", "2")
    await harness.settle()
    await source_database.execute("UPDATE users SET plan = plan || '!'")
    await refuse(harness.database, "pro!")
    harness.later(4000)
    await harness.settle()
    assert await harness.values() == {"1": ["free!"], "2": ["pro"]}
    assert (await items(harness.database)).keys() == {("pro_2", "plan")}


async def test_narrowing_down_is_cheap(
    harness: DecorationHarness, crowd: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twenty users one is found with ten transactions, not with twenty."""
    await crowd.execute("UPDATE users SET plan = 'bad' WHERE id = '7'")
    await refuse(harness.database, "bad")
    await harness.apply(query())
    await harness.settle()
    await harness.known(*INNOCENT)
    sizes: list[int] = []
    write = store.write_answers

    async def counted(connection: Any, lease: Lease, *arguments: Any) -> WriteResult:
        sizes.append(len(lease.user_ids))
        return await write(connection, lease, *arguments)

    monkeypatch.setattr(store, "write_answers", counted)
    await harness.settle()
    assert (await items(harness.database)).keys() == {("pro_7", "plan")}
    assert sizes[0] == len(INNOCENT)
    assert len(sizes) <= 11


async def break_calls(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have each call of the source `other` end like this."""

    async def broken(
        client: SourceClient, source: str, queries: Sequence[SourceQuery], user_ids: Sequence[str]
    ) -> SourceAnswers:
        if source == "other":
            raise error
        return await run_queries(client, source, queries, user_ids)

    monkeypatch.setattr("decoration.query.run_queries", broken)


@pytest.mark.usefixtures("source_database")
async def test_a_call_that_fails_in_an_unforeseen_way(
    harness: DecorationHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await break_calls(monkeypatch, KeyError("secret"))
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    state = await harness.state("other")
    assert state.error is not None
    assert state.error.startswith("KeyError at decoration/test_isolation.py:")
    assert state.breaker.retry_at is not None, "it is left alone as after an outage"
    assert state.due == 2
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err
    monkeypatch.undo()
    harness.later(100)
    await harness.settle()
    assert await harness.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


@pytest.mark.usefixtures("source_database")
async def test_a_process_that_is_to_stop_is_not_kept(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_calls(monkeypatch, StoppedWhileWaiting())
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.known("1")
    with pytest.raises(StoppedWhileWaiting):
        await harness.settle()
    monkeypatch.undo()
    with suppress(StoppedWhileWaiting):  # the call of the other source may be under way
        await harness.worker.close()
    harness.worker = harness.another()


@pytest.mark.usefixtures("source_database")
async def test_a_question_that_fails_in_an_unforeseen_way(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other rules of its source have their values."""

    async def broken(
        client: SourceClient, source: str, question: SourceQuery, user_ids: Sequence[str]
    ) -> Any:
        if "broken" in question.keys:
            raise KeyError("secret")
        return await run_query(client, source, question, user_ids)

    monkeypatch.setattr("decoration.query.run_query", broken)
    await harness.apply(query(), query("email", "broken", sql=f"{SQL} AND true"))
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    state = await harness.state()
    assert state.error is None
    assert state.rule_errors["broken"].startswith("KeyError at decoration/test_isolation.py:")


# What somebody has made of the definition of the source `other` -> what is said of it.
BROKEN: dict[str, tuple[str, str]] = {
    "a field that is wrong": ('{"url": "CRM_URL", "timeout": -1}', "timeout: Input should be"),
    "a field that is missing": ("{}", "url: Field required"),
    "a field too many": ('{"url": "CRM_URL", "user": "x"}', "user: Extra inputs"),
    "a list": ("[]", "Input should be an object"),
    "null": ("null", "Input should be an object"),
    "nested deeply": ("[" * 2000 + "]" * 2000, "Invalid JSON: recursion limit exceeded"),
    "a number of 5,000 digits": (
        f'{{"url": "CRM_URL", "batch": {"7" * 5000}}}',
        "Invalid JSON: number out of range",
    ),
}


@pytest.mark.usefixtures("source_database")
@pytest.mark.parametrize(("definition", "said"), BROKEN.values(), ids=list(BROKEN))
async def test_a_broken_definition_of_a_source(
    harness: DecorationHarness, definition: str, said: str
) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.database.execute(
        """UPDATE "propertySources" SET definition = %s::jsonb WHERE name = 'other'""", definition
    )
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    error = (await harness.state("other")).error
    assert error is not None
    assert error.startswith('the definition in "propertySources" is broken: ' + said)
    await harness.database.execute(
        """UPDATE "propertySources" SET definition = %s::jsonb WHERE name = 'other'""",
        json.dumps(BOTH["other"]),
    )
    harness.later(100)
    await harness.settle()
    assert await harness.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


@pytest.mark.usefixtures("source_database")
async def test_a_source_that_is_not_there(harness: DecorationHarness) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.database.execute("""DELETE FROM "propertySources" WHERE name = 'other'""")
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    assert "there is no such source" in str((await harness.state("other")).error)


@pytest.mark.usefixtures("source_database")
@pytest.mark.parametrize("option", ["timeout", "refresh"])
async def test_times_beyond_all_calendars(harness: DecorationHarness, option: str) -> None:
    sources = {**BOTH, "other": {"url": "CRM_URL", option: 1e300}}
    await harness.apply_to(sources, query(), query("email", source="other"))
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    error = (await harness.state("other")).error
    assert error is not None
    assert error.startswith("OverflowError at decoration/")


HOSTILE: list[LiteralString] = [
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
@pytest.mark.parametrize("statement", HOSTILE)
async def test_states_that_somebody_has_changed(
    harness: DecorationHarness, statement: LiteralString
) -> None:
    await harness.apply(query())
    await harness.known("1", "2")
    await harness.worker.poll()
    await harness.worker.poll()
    await harness.worker.join()
    await harness.database.execute('UPDATE "profileDecorations" SET "dueAt" = %s', harness.now)
    await harness.database.execute('DELETE FROM "profileProperties"')
    await harness.database.execute(statement)
    await harness.settle()
    await harness.settle()
    assert await harness.values() == GOOD


@pytest.mark.usefixtures("source_database")
async def test_a_source_that_somebody_has_put_off_for_good(harness: DecorationHarness) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.settle()
    await harness.database.execute(
        """UPDATE "propertySourceStates" SET "retryAt" = 'infinity' WHERE source = 'other'"""
    )
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    assert await harness.values("email") == {}


async def put_aside(harness: DecorationHarness, *places: tuple[str, str]) -> None:
    """Set values aside."""
    await set_aside.put(
        harness.database.connection,
        [Item(Kind.VALUE, profile, key, "ValueError") for profile, key in places],
    )


@pytest.mark.usefixtures("source_database")
async def test_values_are_asked_for_again_at_once(
    harness: DecorationHarness, asked: list[tuple[str, ...]]
) -> None:
    await harness.apply_to(BOTH, query(), query("email", source="other"))
    await harness.known("1", "2", "3")
    await harness.settle()
    values = [("pro_1", "plan"), ("pro_2", "plan"), ("pro_2", "email")]
    await put_aside(harness, *values)
    asked.clear()
    gone = [("pro_gone", "plan"), ("pro_1", "gone"), ("pro_1", "userId")]
    made = await make_due(harness.database.connection, [*values, *gone])
    assert made == set(values)
    await harness.settle()
    assert sorted(map(sorted, asked)) == [["1", "2"], ["2"]]
    assert await items(harness.database) == {}
    assert await make_due(harness.database.connection, []) == set()


@pytest.mark.usefixtures("source_database")
async def test_nothing_is_left_of_what_was_set_aside(harness: DecorationHarness) -> None:
    """When its rule or its profile goes; items of others stay."""
    await harness.apply(query(), query("email"))
    await harness.known("1", "2")
    await harness.settle()
    await put_aside(harness, ("pro_1", "plan"), ("pro_2", "plan"), ("pro_2", "email"))
    other = Item(Kind.PROFILE, "pro_1", "plan", "ValueError")
    await set_aside.put(harness.database.connection, [other])
    await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await harness.apply(query())
    harness.later(0)
    await harness.worker.poll()
    assert (await items(harness.database)).keys() == {("pro_1", "plan"), ("pro_2", "plan")}
    harness.later(4000)
    await harness.worker.poll()
    assert (await items(harness.database)).keys() == {("pro_2", "plan")}
    await harness.apply()
    await harness.settle()
    assert await harness.database.rows('SELECT kind, subject FROM "setAside"') == [
        ("profile", "pro_1")
    ]
