"""Whatever a source says of some users, all others have their values: on real Postgres.

To find the value that nobody has thought of, the source's driver gives any value of Python, and
fails for some users.
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
from merganser.runtime import metrics
from tests.decoration.fake_source import Addressed, FakeSource, Unspeakable, knot, nested
from tests.decoration.harness import DecorationHarness, query
from tests.decoration.other_users import items
from tests.support import database as databases
from tests.support import examples
from tests.support.counters import read_counter

INNOCENT = [f"innocent-{number}" for number in range(5)]
REFUSED = "what our Postgres refuses"
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
"""What the source says of the innocent."""

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
        st.sampled_from([dt.datetime.min, dt.datetime.max]),  # noqa: DTZ901 - any zone is put in
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
    st.builds(Unspeakable),
    st.builds(Addressed),
    st.builds(knot),
    st.integers(1, 5000).map(nested),
    st.sets(st.integers(), max_size=3),
    st.complex_numbers(),
    st.just(Marker.OMITTED),
    st.just(Ellipsis),
    st.just("x" * 40 * 2**20),
    st.sampled_from([ValueError, RecursionError, MemoryError, OverflowError]).map(
        lambda kind: kind("secret")
    ),
)


class Stage:
    """One database, in which each example begins from scratch."""

    def __init__(
        self, url: str, file: Path, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self.url = url
        self.source = f"sqlite:///{file}"
        self.run = run
        self.says = FakeSource({})

    async def play(
        self, plans: dict[str, Any], kind: PropertyType, *, array: bool, batch: int
    ) -> None:
        """Have a source say these plans of users, beside the innocent, and check the outcome."""
        async with databases.opened(self.url) as database:
            await database.execute(
                'TRUNCATE profiles, "profileProperties", "profileDecorations", '
                '"propertySourceStates", "setAside"'
            )
            harness = DecorationHarness(database, {"CRM_URL": self.source})
            good = dict.fromkeys(INNOCENT, FITTING[kind])
            self.says.plans = {**plans, **good}
            await harness.apply(query(type=kind, array=array), query("email"), batch=batch)
            await harness.known(*plans, *good)
            before = _skipped()
            await harness.settle()
            self.check(plans, kind, await harness.values(), array=array)
            assert set(INNOCENT) <= (await harness.values("email")).keys()
            await self._account(plans, harness, _skipped() - before, array=array)

            self.says.plans = dict.fromkeys(self.says.plans, FITTING[kind])
            harness.later(4000)
            await harness.settle()
            assert await items(database) == {}
            assert (await harness.values()).keys() == self.says.plans.keys()
            await harness.worker.close()

    def check(
        self,
        plans: dict[str, Any],
        kind: PropertyType,
        stored: dict[str, list[str]],
        *,
        array: bool,
    ) -> None:
        """The innocent have what is theirs, and what the others have is exact and within bounds."""
        right = coerce(kind, str(FITTING[kind]))
        assert {user: stored.get(user) for user in INNOCENT} == dict.fromkeys(
            INNOCENT, [right] if kind != "boolean" else ["true"]
        )
        for user, said in plans.items():
            for value in stored.get(user, ()):
                assert len(value.encode()) <= MAX_VALUE_BYTES
            if kind == "string" and not array and user in stored:
                _check_exact(said, stored[user][0])
            assert sum(len(value.encode()) for value in stored.get(user, ())) <= 65_536
            assert len(stored.get(user, ())) <= 1000

    async def _account(
        self, plans: dict[str, Any], harness: DecorationHarness, skipped: float, *, array: bool
    ) -> None:
        """Each hostile value is stored, skipped and counted, set aside, or null."""
        stored = await harness.values()
        aside = {profile for profile, key in await items(harness.database) if key == "plan"}
        state = await harness.state()
        assert (state.error, state.due) == (None, 0)
        left = [
            said
            for user, said in plans.items()
            if user not in stored
            and f"pro_{user}" not in aside
            and not (_is_empty(said) if array else _is_null(said))
        ]
        assert skipped >= len(left) if array else skipped == len(left)
        for _, _, reason in (await items(harness.database)).values():
            assert "secret" not in reason
            assert REFUSED not in reason


def _check_exact(said: Any, stored: str) -> None:
    """As far as there is one way to write a value."""
    match said:
        case RawJson():
            with contextlib.suppress(ValueError, RecursionError):
                parsed = json.loads(said)
                assert stored == parsed if isinstance(parsed, str) else stored == stored.strip()
        case str():
            assert stored == said
        case bool():
            assert stored == str(said).lower()
        case int() | dt.timedelta() | dt.time():
            assert stored == str(said)
        case Decimal() if said.is_finite():
            assert Decimal(stored) == said
        case dt.date():
            assert type(said).fromisoformat(stored) == said
        case bytes() | bytearray() | memoryview():
            assert stored.encode() == bytes(said)


def _is_empty(said: Any) -> bool:
    """Whether an array has no value in this: it is null, or has nothing else in it."""
    if isinstance(said, str) and said.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            said = json.loads(said)
    return _is_null(said) or (isinstance(said, list | tuple) and all(map(_is_null, said)))


def _is_null(said: Any) -> bool:
    return said is None or (isinstance(said, RawJson) and said.strip() == "null")


def _skipped() -> float:
    """How many values of plans were skipped and counted."""
    counters = (metrics.SOURCE_VALUES_UNFIT, metrics.SOURCE_VALUES_TOO_LONG)
    return sum(read_counter(counter, "plan") for counter in counters)


@pytest.fixture
def stage(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    file = tmp_path / "empty.db"
    file.touch()
    with asyncio.Runner() as runner:
        stage = Stage(database_url, file, runner.run)
        monkeypatch.setattr(dialects, "execute_query", stage.says.ask)

        async def refuse() -> None:
            async with databases.opened(database_url) as database:
                await database.connection.execute(
                    f"""ALTER TABLE "profileProperties" ADD CHECK (value <> '{REFUSED}')""".encode()
                )

        runner.run(refuse())
        yield stage


@pytest.mark.timeout(7200 if examples.NIGHTLY else 300)
@settings(
    max_examples=examples.count(fast=10, full=50, nightly=10_000),
    deadline=None,
    # Shrinking on a real database takes minutes; an example is small as it is.
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
    hostile=[10**5000, Unspeakable(), knot(), "x" * 40 * 2**20, ValueError("secret"), REFUSED],
    kind="string",
    array=False,
    batch=500,
)
def test_whatever_is_said_of_some(
    stage: Stage, hostile: list[Any], kind: PropertyType, batch: int, *, array: bool
) -> None:
    plans = {f"hostile-{number}": said for number, said in enumerate(hostile)}
    stage.run(stage.play(plans, kind, array=array, batch=batch))
