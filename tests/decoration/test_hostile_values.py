"""Hostile values of some users do not affect other users, on real Postgres.

The fake driver of the source returns any Python value and fails for some users.
"""

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from decoration import dialects
from decoration.values import Marker, RawJson
from merganser.rulebook.values import MAX_VALUE_BYTES, PropertyType, coerce
from tests.decoration.fake_source import (
    FakeSource,
    Unreadable,
    WithoutText,
    build_cyclic_list,
    build_nested_lists,
)
from tests.decoration.harness import DecorationHarness, query, read_counter
from tests.decoration.other_users import read_set_aside
from tests.support import database as databases
from tests.support import examples

INNOCENT = [f"innocent-{number}" for number in range(5)]
REFUSED = "our Postgres refuses this"
FITTING: dict[PropertyType, Any] = {
    "string": "pro",
    "integer": 7,
    "float": 0.5,
    "boolean": True,
    "date": dt.date(2026, 1, 2),
    "email": "a@x.io",
    "url": "https://x.io/",
    "phone number": "+1 555 0100",
}
"""The plan of the innocent users, by the type of the rule."""

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
"""With NUL and lone surrogates."""
ZONES = st.sampled_from(
    [None, dt.UTC, dt.timezone(dt.timedelta(hours=14)), dt.timezone(-dt.timedelta(hours=12))]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
).map(json.dumps)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 20_000).map(lambda digits: 10**digits),
    st.floats(),
    st.decimals(),
    st.sampled_from(["1E+999999", "1E-999999", "sNaN", "-Infinity", "9" * 300]).map(Decimal),
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.builds(
        dt.datetime.replace,
        st.sampled_from([dt.datetime.min, dt.datetime.max]),  # noqa: DTZ901 - it gets a zone
        tzinfo=ZONES,
    ),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.binary(max_size=20),
    st.binary(max_size=20).map(bytearray),
    st.binary(max_size=20).map(lambda data: memoryview(data)),  # noqa: PLW0108 - mypy wants it
    ANY_TEXT,
    st.integers(1, 3 * MAX_VALUE_BYTES).flatmap(
        lambda size: st.sampled_from("xé😀").map(lambda letter: letter * size)
    ),
    st.sampled_from(
        [
            REFUSED,
            "[",
            "[[[",
            '["a\u0000b"]',
            '["\\ud800"]',
            "{}",
            "1e400",
            "7" * 5000,
            "9999-12-31T23:59:59-14:00",
        ]
    ),
    JSON,
    JSON.map(RawJson),
    st.sampled_from(["[" * 5000 + "]" * 5000, "7" * 5000, "1e-400", '"\\u0000"', '"\\ud800"']).map(
        RawJson
    ),
)
VALUES = st.one_of(
    SCALARS,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(ANY_TEXT | st.integers() | st.tuples(st.integers()), inner, max_size=3),
        ),
        max_leaves=8,
    ),
    st.integers(900, 70_000).map(lambda size: ["x" * (size % 97)] * size),
    st.builds(Unreadable),
    st.builds(WithoutText),
    st.builds(build_cyclic_list),
    st.integers(1, 5000).map(build_nested_lists),
    st.sets(st.integers(), max_size=3),
    st.complex_numbers(),
    st.just(Marker.OMITTED),
    st.just(Ellipsis),
    st.just("x" * 40 * 2**20),
    st.sampled_from([ValueError, RecursionError, MemoryError, OverflowError]).map(
        lambda kind: kind("secret")
    ),
)


class HostileSource:
    """A database and a fake source; each example starts from scratch."""

    def __init__(
        self, url: str, file: Path, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self.url = url
        self.source = f"sqlite:///{file}"
        self.run = run
        self.fake = FakeSource({})

    async def check_example(
        self, plans: dict[str, Any], kind: PropertyType, *, array: bool, batch: int
    ) -> None:
        """Decorate users with these plans beside the innocent users, and check the outcome."""
        async with databases.opened(self.url) as database:
            await database.execute(
                'TRUNCATE profiles, "profileProperties", "profileDecorations", '
                '"propertySourceStates", "setAside"'
            )
            harness = DecorationHarness(database, {"CRM_URL": self.source})
            innocent = dict.fromkeys(INNOCENT, FITTING[kind])
            self.fake.plans = {**plans, **innocent}
            await harness.apply(query(type=kind, array=array), query("email"), batch=batch)
            await harness.add_users(*plans, *innocent)
            before = _count_skipped()
            await harness.run_worker()
            self._check_values(plans, kind, await harness.read_values(), array=array)
            assert set(INNOCENT) <= (await harness.read_values("email")).keys()
            await self._check_all_accounted_for(
                plans, harness, _count_skipped() - before, array=array
            )

            self.fake.plans = dict.fromkeys(self.fake.plans, FITTING[kind])
            harness.advance(4000)
            await harness.run_worker()
            assert await read_set_aside(database) == {}
            assert (await harness.read_values()).keys() == self.fake.plans.keys()
            await harness.worker.close()

    def _check_values(
        self,
        plans: dict[str, Any],
        kind: PropertyType,
        stored: dict[str, list[str]],
        *,
        array: bool,
    ) -> None:
        """Innocent users have their values; values of others are exact and within the limits."""
        right = coerce(kind, str(FITTING[kind]))
        assert {user: stored.get(user) for user in INNOCENT} == dict.fromkeys(
            INNOCENT, [right] if kind != "boolean" else ["true"]
        )
        for user, plan in plans.items():
            for value in stored.get(user, ()):
                assert len(value.encode()) <= MAX_VALUE_BYTES
            if kind == "string" and not array and user in stored:
                _check_exact(plan, stored[user][0])
            assert sum(len(value.encode()) for value in stored.get(user, ())) <= 65_536
            assert len(stored.get(user, ())) <= 1000

    async def _check_all_accounted_for(
        self, plans: dict[str, Any], harness: DecorationHarness, skipped: float, *, array: bool
    ) -> None:
        """Each hostile value is stored, skipped and counted, set aside, or null."""
        stored = await harness.read_values()
        aside = {
            profile for profile, key in await read_set_aside(harness.database) if key == "plan"
        }
        status = await harness.read_status()
        assert (status.error, status.due) == (None, 0)
        skipped_plans = [
            plan
            for user, plan in plans.items()
            if user not in stored
            and f"pro_{user}" not in aside
            and not (_is_empty(plan) if array else _is_null(plan))
        ]
        if array:
            assert skipped >= len(skipped_plans)
        else:
            assert skipped == len(skipped_plans)
        for _, _, reason in (await read_set_aside(harness.database)).values():
            assert "secret" not in reason
            assert REFUSED not in reason


def _check_exact(plan: Any, stored: str) -> None:
    """Check the text of a value of a type that has only one form as text."""
    match plan:
        case RawJson():
            with contextlib.suppress(ValueError, RecursionError):
                parsed = json.loads(plan)
                assert stored == parsed if isinstance(parsed, str) else stored == stored.strip()
        case str():
            assert stored == plan
        case bool():
            assert stored == str(plan).lower()
        case int() | dt.timedelta() | dt.time():
            assert stored == str(plan)
        case Decimal() if plan.is_finite():
            assert Decimal(stored) == plan
        case dt.date():
            assert type(plan).fromisoformat(stored) == plan
        case bytes() | bytearray() | memoryview():
            assert stored.encode() == bytes(plan)


def _is_empty(plan: Any) -> bool:
    """Whether an array property gets no value from this: it is null or has only nulls."""
    if isinstance(plan, str) and plan.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            plan = json.loads(plan)
    return _is_null(plan) or (isinstance(plan, list | tuple) and all(map(_is_null, plan)))


def _is_null(plan: Any) -> bool:
    return plan is None or (isinstance(plan, RawJson) and plan.strip() == "null")


def _count_skipped() -> float:
    """Return how many values of plans this process has skipped."""
    return sum(
        read_counter(f"merganser_decoration_values_{reason}_total", rule="plan")
        for reason in ("unfit", "too_long")
    )


@pytest.fixture
def hostile_source(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostileSource]:
    file = tmp_path / "empty.db"
    file.touch()
    with asyncio.Runner() as runner:
        source = HostileSource(database_url, file, runner.run)
        monkeypatch.setattr(dialects, "execute_query", source.fake.execute_query)

        async def refuse() -> None:
            async with databases.opened(database_url) as database:
                await database.connection.execute(
                    f"""ALTER TABLE "profileProperties" ADD CHECK (value <> '{REFUSED}')""".encode()
                )

        runner.run(refuse())
        yield source


@pytest.mark.timeout(14_400 if examples.NIGHTLY else 300)
@settings(
    max_examples=examples.count(fast=10, full=50, nightly=10_000),
    deadline=None,
    # Shrinking on a real database takes minutes, and an example is small anyway.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    hostile=st.lists(VALUES, min_size=1, max_size=6),
    kind=st.sampled_from(sorted(FITTING)),
    array=st.booleans(),
    batch=st.sampled_from([1, 4, 500]),
)
@example(
    hostile=[
        10**5000,
        Unreadable(),
        build_cyclic_list(),
        "x" * 40 * 2**20,
        ValueError("secret"),
        REFUSED,
    ],
    kind="string",
    array=False,
    batch=500,
)
def test_hostile_values_of_some_users_do_not_affect_others(
    hostile_source: HostileSource,
    hostile: list[Any],
    kind: PropertyType,
    batch: int,
    *,
    array: bool,
) -> None:
    plans = {f"hostile-{number}": plan for number, plan in enumerate(hostile)}
    hostile_source.run(hostile_source.check_example(plans, kind, array=array, batch=batch))
