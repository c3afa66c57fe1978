"""Hostile events, rows, rules and stored states do not affect innocent profiles.

Within a bounded number of steps, the innocent profiles have the properties of the definition. Each
hostile profile has them too or is set aside with a reason. Once the cause is fixed and the profile
is retried, it has them.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from merganser.rulebook import rule_store
from merganser.rulebook.language import Rule, RuleFile
from merganser.rulebook.values import PropertyType, coerce
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import BY_KEY, Database, connect
from properties import incremental, rebuild, store
from properties.loop import PropertyUpdater
from properties.rules import event_view
from tests.properties import reference
from tests.properties.hostile_strategies import (
    CORRECTIONS,
    DEFECT,
    REFUSED,
    STATES,
    Correction,
    HostileEvent,
    hostile_events,
)
from tests.properties.reference import ReferenceEvent
from tests.properties.strategies import NOW, event_rules, reference_events
from tests.properties.test_state_machine import EMPTY, STORED
from tests.support import examples

MAX_STEPS = 200
"""Of the process, after the events of a round."""
MAX_SECONDS = 30
"""For these steps. They take less than two on an idle machine."""

INNOCENT, HOSTILE = ["pro_i1", "pro_i2", "pro_i3"], ["pro_h1", "pro_h2"]
IDENTIFYING = Rule(key="userId", type="string", unique=True, identifying=True)
BROAD = Rule.model_validate(
    {
        "key": "broad",
        "type": "string",
        "array": True,
        "events": {
            "type": ["view", "buy", "sign"],
            "aggregation": "all values",
            "column": "data.name",
        },
    }
)
"""A rule that reads most hostile values."""
RULES = st.lists(st.integers(0, 3), unique=True, max_size=3).flatmap(
    lambda numbers: st.tuples(*(event_rules(key=f"rule{number}") for number in numbers))
)
ROUNDS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(INNOCENT), reference_events()), min_size=1, max_size=5),
        st.lists(
            st.one_of(
                hostile_events(HOSTILE),
                hostile_events(HOSTILE),
                st.builds(Correction, st.sampled_from(CORRECTIONS), st.sampled_from(HOSTILE)),
            ),
            max_size=5,
        ),
        st.dictionaries(st.sampled_from(HOSTILE), STATES, max_size=2),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=3,
)
BROKEN_DEFINITIONS = st.sampled_from(
    [None, None, None, "1", '"x"', "{}", '{"key": "broad"}', "[" * 500 + "]" * 500]
)
"""Texts that another writer stores as the definition of the broad rule."""

SMALL = {
    "SHORT_STATE_BYTES": 50,
    "SHORT_EVENT_BYTES": 20,
    "GROUP_BYTES": 2_000,
    "MAX_LONG_BYTES": 4_000,
}

REFUSAL = f"""
ALTER TABLE "profileProperties" ADD CONSTRAINT refusal CHECK (value <> '{REFUSED}') NOT VALID
"""
NO_REFUSAL = 'ALTER TABLE "profileProperties" DROP CONSTRAINT IF EXISTS refusal'


EVENTS = """
SELECT profiles.guid, events.guid, events."occurredAt", events.type, events."userId",
    events."ipAddress", (
        SELECT jsonb_object_agg(key, left(value, 20000) ORDER BY "eventData".guid)
        FROM "eventData" WHERE "eventGuid" = events.guid
    )
FROM profiles LEFT JOIN events ON events."profileGuid" = profiles.guid
"""
"""The events with their data; values of more than 20,000 characters are too long anyway."""


class HostileRun:
    """Rounds of innocent and hostile events, each checked against the definition."""

    def __init__(self, url: str) -> None:
        self.database = Database(url, "test")
        self.url = url
        self.now = NOW
        self.number = 0
        self.properties = PropertyUpdater(5)

    async def run(
        self, rules: tuple[Rule, ...], rounds: Any, broken: str | None, batch: int
    ) -> None:
        """Write the events of each round, run the process, and check all properties."""
        self.properties = PropertyUpdater(batch)
        self.now = NOW
        async with await connect(self.url, "test", BY_KEY) as connection:
            self.connection = connection
            await connection.execute(f'{EMPTY}, "setAside"'.encode())
            await connection.execute(NO_REFUSAL.encode())
            await connection.execute(REFUSAL.encode())
            await rule_store.apply_file(connection, RuleFile(rules=(IDENTIFYING, BROAD, *rules)))
            await connection.execute(
                'INSERT INTO profiles (guid, "userId") SELECT guid, guid '
                "FROM unnest(%s::text[]) AS guid",
                [INNOCENT + HOSTILE],
            )
            # A profile has properties from its first event on.
            for guid in INNOCENT + HOSTILE:
                await self._insert(HostileEvent(guid, NOW, "view", None, None))
            for innocent, hostile, states, days in rounds:
                self.now += timedelta(days=days)
                for guid, state in states.items():
                    await connection.execute(
                        'UPDATE "propertyStates" SET state = %s WHERE "profileGuid" = %s',
                        (state, guid),
                    )
                for guid, event in innocent:
                    await self._insert(
                        HostileEvent(
                            guid,
                            event.occurred_at,
                            event.type,
                            event.user_id,
                            event.ip_address,
                            list(event.data.items()),
                        )
                    )
                for item in hostile:
                    if isinstance(item, HostileEvent):
                        await self._insert(item)
                    else:
                        await connection.execute(item.statement.encode(), [item.profile])
                await self._run_process()
                await self._check(fixed=False)
            if broken is not None:
                await self._break_rule(broken)
            await self._fix_and_retry(rules)

    async def _break_rule(self, definition: str) -> None:
        """Break the broad rule; check that the other rules work and its values stay."""
        before = await self._stored("broad")
        await self.connection.execute(
            """UPDATE "profilePropertyRules" SET definition = %s WHERE key = 'broad'""",
            [definition],
        )
        for guid in INNOCENT:
            await self._insert(HostileEvent(guid, NOW, "view", None, None, [("name", "late")]))
        await self._run_process()
        assert await self._stored("broad") == before
        await self._check(fixed=False, without={"broad"})

    async def _fix_and_retry(self, rules: tuple[Rule, ...]) -> None:
        """Fix the defects, apply the rules again, and retry the set-aside profiles."""
        with pytest.MonkeyPatch.context() as fixed:
            fixed.setattr(event_view, "coerce", coerce)
            await self.connection.execute(NO_REFUSAL.encode())
            await rule_store.apply_file(
                self.connection, RuleFile(rules=(IDENTIFYING, BROAD, *rules))
            )
            async with self.connection.transaction():
                cursor = await self.connection.execute(
                    """UPDATE "setAside" SET state = 'retried' RETURNING subject"""
                )
                await store.start_rebuilds(
                    self.connection, [guid for (guid,) in await cursor.fetchall()]
                )
            await self._run_process()
            await self._check(fixed=True)

    async def _insert(self, event: HostileEvent) -> None:
        self.number += 1
        guid = f"evt_{self.number:09}"
        async with self.connection.transaction(), self.connection.cursor() as cursor:
            await cursor.execute(
                """
                INSERT INTO events (guid, "profileGuid", "occurredAt", type, "userId", "ipAddress")
                VALUES (%s, %s, %s, %s, %s, %s)
                """,
                (guid, event.profile, event.at, event.type, event.user_id, event.ip_address),
            )
            await cursor.executemany(
                'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
                [(guid, key, value) for key, value in event.rows],
            )

    async def _run_process(self) -> None:
        start = time.monotonic()
        for _ in range(MAX_STEPS):
            if not (await self.properties.commit_step(self.database, self.now, Stop())).more:
                assert time.monotonic() - start < MAX_SECONDS
                return
        raise AssertionError("the process does not finish")

    async def _check(self, *, fixed: bool, without: set[str] | None = None) -> None:
        cursor = await self.connection.execute(
            """SELECT subject, reason FROM "setAside" WHERE state = 'open'"""
        )
        aside = dict(await cursor.fetchall())
        assert aside.keys() <= (set() if fixed else set(HOSTILE)), aside
        for reason in aside.values():
            assert reason.startswith(("ZeroDivisionError at", "CheckViolation 23514 at")), reason
        applied = await rule_store.read_rules(self.connection)
        wanted: dict[tuple[str, str], list[str]] = {}
        for guid, events in (await self._events()).items():
            for stored_rule in applied:
                if guid in aside or stored_rule.rule.key in (without or ()):
                    continue
                if stored_rule.rule.identifying:
                    wanted[guid, stored_rule.rule.key] = [guid]
                else:
                    wanted[guid, stored_rule.rule.key] = reference.compute_values(
                        stored_rule.rule, events, self.now
                    )
        cursor = await self.connection.execute(STORED)
        stored = {
            (guid, key): found
            for guid, key, found in await cursor.fetchall()
            if guid not in aside and key not in (without or ())
        }
        assert stored == {property_: found for property_, found in wanted.items() if found}
        cursor = await self.connection.execute('SELECT count(*) FROM "eventChanges"')
        assert await cursor.fetchone() == (0,)

    async def _events(self) -> dict[str, list[ReferenceEvent]]:
        profiles: dict[str, list[ReferenceEvent]] = {}
        cursor = await self.connection.execute(EVENTS)
        for guid, event, at, kind, user_id, ip_address, data in await cursor.fetchall():
            events = profiles.setdefault(guid, [])
            if event is not None and at is not None:
                events.append(ReferenceEvent(event, at, kind, user_id, ip_address, data or {}))
        return profiles

    async def _stored(self, key: str) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(
            'SELECT "profileGuid", position, value FROM "profileProperties" '
            "WHERE key = %s ORDER BY 1, 2",
            [key],
        )
        return await cursor.fetchall()


def _coerce_with_defect(kind: PropertyType, text: str) -> str | None:
    if text == DEFECT:
        raise ZeroDivisionError(text)
    return coerce(kind, text)


@pytest.fixture
def hostile_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[HostileRun, asyncio.Runner]]:
    monkeypatch.setattr(event_view, "coerce", _coerce_with_defect)
    with asyncio.Runner() as runner:
        run = HostileRun(database_url)
        yield run, runner
        runner.run(run.database.close())


@pytest.mark.timeout(14_400 if examples.NIGHTLY else 600)
@settings(
    max_examples=examples.count(fast=10, full=50, nightly=10_000),
    deadline=None,
    # Shrinking on a real database takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    drawn_rules=RULES,
    rounds=ROUNDS,
    broken=BROKEN_DEFINITIONS,
    batch=st.sampled_from([2, 5, 1000]),
    small=st.booleans(),
)
def test_hostile_profiles_do_not_affect_innocent_profiles(
    hostile_run: tuple[HostileRun, asyncio.Runner],
    drawn_rules: tuple[Rule, ...],
    rounds: Any,
    broken: str | None,
    batch: int,
    small: bool,  # noqa: FBT001 - drawn
) -> None:
    """With `small`, almost all events and states count as long: read in groups and parts."""
    run, runner = hostile_run
    with pytest.MonkeyPatch.context() as patched:
        if small:
            for name, most in SMALL.items():
                patched.setattr(incremental, name, most)
            patched.setattr(rebuild, "FETCH_ROWS", 2)
            patched.setattr(rebuild, "MAX_BYTES", 1_000)
        runner.run(run.run(drawn_rules, rounds, broken, batch))
