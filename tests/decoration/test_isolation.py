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
from tests.decoration.crowd import INNOCENT, PLANS, items
from tests.decoration.decorated import SQL, Decorated, query
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
    decorated: Decorated, crowd: Database
) -> None:
    await crowd.execute("INSERT INTO users VALUES ('odd', 'odd@x.io', 'bad'), ('x', NULL, 'worse')")
    await refuse(decorated.database, "bad", "worse")
    await decorated.apply(query(), query("email"))
    await decorated.known("odd", "x", *INNOCENT)
    await decorated.settle()
    assert await decorated.values() == PLANS
    assert len(await decorated.values("email")) == len(INNOCENT)
    found = await items(decorated.database)
    assert found.keys() == {("pro_odd", "plan"), ("pro_odd", "email"), ("pro_x", "plan")}
    for now, attempts, reason in found.values():
        assert (now, attempts) == ("open", 1)
        assert reason.startswith("CheckViolation 23514 at rulebook/property_store.py:")
    state = await decorated.state()
    assert (state.error, state.due) == (None, 0), "they are put off as all others"

    await crowd.execute("UPDATE users SET plan = 'fine' WHERE id IN ('odd', 'x')")
    decorated.later(4000)
    await decorated.settle()
    assert await decorated.values() == {**PLANS, "odd": ["fine"], "x": ["fine"]}
    assert await items(decorated.database) == {}


async def test_a_value_that_is_refused_keeps_what_is_stored(
    decorated: Decorated, company: Database
) -> None:
    await decorated.apply(query())
    await decorated.known("1", "2")
    await decorated.settle()
    await company.execute("UPDATE users SET plan = plan || '!'")
    await refuse(decorated.database, "pro!")
    decorated.later(4000)
    await decorated.settle()
    assert await decorated.values() == {"1": ["free!"], "2": ["pro"]}
    assert (await items(decorated.database)).keys() == {("pro_2", "plan")}


async def test_narrowing_down_is_cheap(
    decorated: Decorated, crowd: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twenty users one is found with ten transactions, not with twenty."""
    await crowd.execute("UPDATE users SET plan = 'bad' WHERE id = '7'")
    await refuse(decorated.database, "bad")
    await decorated.apply(query())
    await decorated.settle()
    await decorated.known(*INNOCENT)
    sizes: list[int] = []
    write = store.write_answers

    async def counted(connection: Any, lease: Lease, *arguments: Any) -> WriteResult:
        sizes.append(len(lease.user_ids))
        return await write(connection, lease, *arguments)

    monkeypatch.setattr(store, "write_answers", counted)
    await decorated.settle()
    assert (await items(decorated.database)).keys() == {("pro_7", "plan")}
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


@pytest.mark.usefixtures("company")
async def test_a_call_that_fails_in_an_unforeseen_way(
    decorated: Decorated,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await break_calls(monkeypatch, KeyError("secret"))
    await decorated.apply_to(BOTH, query(), query("email", source="other"))
    await decorated.known("1", "2")
    await decorated.settle()
    assert await decorated.values() == GOOD
    state = await decorated.state("other")
    assert state.error is not None
    assert state.error.startswith("KeyError at decoration/test_isolation.py:")
    assert state.breaker.retry_at is not None, "it is left alone as after an outage"
    assert state.due == 2
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err
    monkeypatch.undo()
    decorated.later(100)
    await decorated.settle()
    assert await decorated.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


@pytest.mark.usefixtures("company")
async def test_a_process_that_is_to_stop_is_not_kept(
    decorated: Decorated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_calls(monkeypatch, StoppedWhileWaiting())
    await decorated.apply_to(BOTH, query(), query("email", source="other"))
    await decorated.known("1")
    with pytest.raises(StoppedWhileWaiting):
        await decorated.settle()
    monkeypatch.undo()
    with suppress(StoppedWhileWaiting):  # the call of the other source may be under way
        await decorated.worker.close()
    decorated.worker = decorated.another()


@pytest.mark.usefixtures("company")
async def test_a_question_that_fails_in_an_unforeseen_way(
    decorated: Decorated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other rules of its source have their values."""

    async def broken(
        client: SourceClient, source: str, question: SourceQuery, user_ids: Sequence[str]
    ) -> Any:
        if "broken" in question.keys:
            raise KeyError("secret")
        return await run_query(client, source, question, user_ids)

    monkeypatch.setattr("decoration.query.run_query", broken)
    await decorated.apply(query(), query("email", "broken", sql=f"{SQL} AND true"))
    await decorated.known("1", "2")
    await decorated.settle()
    assert await decorated.values() == GOOD
    state = await decorated.state()
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


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(("definition", "said"), BROKEN.values(), ids=list(BROKEN))
async def test_a_broken_definition_of_a_source(
    decorated: Decorated, definition: str, said: str
) -> None:
    await decorated.apply_to(BOTH, query(), query("email", source="other"))
    await decorated.database.execute(
        """UPDATE "propertySources" SET definition = %s::jsonb WHERE name = 'other'""", definition
    )
    await decorated.known("1", "2")
    await decorated.settle()
    assert await decorated.values() == GOOD
    error = (await decorated.state("other")).error
    assert error is not None
    assert error.startswith('the definition in "propertySources" is broken: ' + said)
    await decorated.database.execute(
        """UPDATE "propertySources" SET definition = %s::jsonb WHERE name = 'other'""",
        json.dumps(BOTH["other"]),
    )
    decorated.later(100)
    await decorated.settle()
    assert await decorated.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


@pytest.mark.usefixtures("company")
async def test_a_source_that_is_not_there(decorated: Decorated) -> None:
    await decorated.apply_to(BOTH, query(), query("email", source="other"))
    await decorated.database.execute("""DELETE FROM "propertySources" WHERE name = 'other'""")
    await decorated.known("1", "2")
    await decorated.settle()
    assert await decorated.values() == GOOD
    assert "there is no such source" in str((await decorated.state("other")).error)


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("option", ["timeout", "refresh"])
async def test_times_beyond_all_calendars(decorated: Decorated, option: str) -> None:
    sources = {**BOTH, "other": {"url": "CRM_URL", option: 1e300}}
    await decorated.apply_to(sources, query(), query("email", source="other"))
    await decorated.known("1", "2")
    await decorated.settle()
    assert await decorated.values() == GOOD
    error = (await decorated.state("other")).error
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


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("statement", HOSTILE)
async def test_states_that_somebody_has_changed(
    decorated: Decorated, statement: LiteralString
) -> None:
    await decorated.apply(query())
    await decorated.known("1", "2")
    await decorated.worker.poll()
    await decorated.worker.poll()
    await decorated.worker.join()
    await decorated.database.execute('UPDATE "profileDecorations" SET "dueAt" = %s', decorated.now)
    await decorated.database.execute('DELETE FROM "profileProperties"')
    await decorated.database.execute(statement)
    await decorated.settle()
    await decorated.settle()
    assert await decorated.values() == GOOD


@pytest.mark.usefixtures("company")
async def test_a_source_that_somebody_has_put_off_for_good(decorated: Decorated) -> None:
    await decorated.apply_to(BOTH, query(), query("email", source="other"))
    await decorated.settle()
    await decorated.database.execute(
        """UPDATE "propertySourceStates" SET "retryAt" = 'infinity' WHERE source = 'other'"""
    )
    await decorated.known("1", "2")
    await decorated.settle()
    assert await decorated.values() == GOOD
    assert await decorated.values("email") == {}


async def put_aside(decorated: Decorated, *places: tuple[str, str]) -> None:
    """Set values aside."""
    await set_aside.put(
        decorated.database.connection,
        [Item(Kind.VALUE, profile, key, "ValueError") for profile, key in places],
    )


@pytest.mark.usefixtures("company")
async def test_values_are_asked_for_again_at_once(
    decorated: Decorated, asked: list[tuple[str, ...]]
) -> None:
    await decorated.apply_to(BOTH, query(), query("email", source="other"))
    await decorated.known("1", "2", "3")
    await decorated.settle()
    values = [("pro_1", "plan"), ("pro_2", "plan"), ("pro_2", "email")]
    await put_aside(decorated, *values)
    asked.clear()
    gone = [("pro_gone", "plan"), ("pro_1", "gone"), ("pro_1", "userId")]
    made = await make_due(decorated.database.connection, [*values, *gone])
    assert made == set(values)
    await decorated.settle()
    assert sorted(map(sorted, asked)) == [["1", "2"], ["2"]]
    assert await items(decorated.database) == {}
    assert await make_due(decorated.database.connection, []) == set()


@pytest.mark.usefixtures("company")
async def test_nothing_is_left_of_what_was_set_aside(decorated: Decorated) -> None:
    """When its rule or its profile goes; items of others stay."""
    await decorated.apply(query(), query("email"))
    await decorated.known("1", "2")
    await decorated.settle()
    await put_aside(decorated, ("pro_1", "plan"), ("pro_2", "plan"), ("pro_2", "email"))
    other = Item(Kind.PROFILE, "pro_1", "plan", "ValueError")
    await set_aside.put(decorated.database.connection, [other])
    await decorated.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await decorated.apply(query())
    decorated.later(0)
    await decorated.worker.poll()
    assert (await items(decorated.database)).keys() == {("pro_1", "plan"), ("pro_2", "plan")}
    decorated.later(4000)
    await decorated.worker.poll()
    assert (await items(decorated.database)).keys() == {("pro_2", "plan")}
    await decorated.apply()
    await decorated.settle()
    assert await decorated.database.rows('SELECT kind, subject FROM "setAside"') == [
        ("profile", "pro_1")
    ]
