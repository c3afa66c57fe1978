"""Postgres returns arrays of texts unchanged."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merganser.runtime import sql
from tests.support import examples
from tests.support.database import Database

TEXT = st.text(
    st.sampled_from('\\"{},N UL\n\té🦆')
    | st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
)


async def round_trip(database: Database, items: list[str | None]) -> list[str | None]:
    cursor = await database.connection.execute("SELECT %s::text[]", [sql.texts(items)])
    ((found,),) = await cursor.fetchall()
    result: list[str | None] = found
    return result


@pytest.mark.parametrize(
    "items",
    [[], [""], [None], ["", None, ""], ["NULL", "null", None], ['"', "\\", '\\"', "{}", ",", " "]],
    ids=ascii,
)
async def test_arrays_with_special_texts_are_unchanged(
    database: Database, items: list[str | None]
) -> None:
    assert await round_trip(database, items) == items


@settings(
    max_examples=examples.count(fast=50, full=200),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(TEXT | st.none(), max_size=20))
async def test_random_arrays_are_unchanged(database: Database, items: list[str | None]) -> None:
    assert await round_trip(database, items) == items
