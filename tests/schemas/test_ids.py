"""Placeholder ids, such as `undefined`, that name no person."""

import sys
import unicodedata
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.ids import NOBODY, WHITE_SPACE, folded, somebody
from tests.support.database import Database

PLACEHOLDERS = [
    *("", "null", "(null)", "undefined", "None", "nil", "NaN", "0", "-1", "true", "False"),
    *("unknown", "N/A", "anonymous", "guest", "[object Object]", "{}"),
    str(uuid.UUID(int=0)),
    uuid.UUID(int=0).hex,
]
INVISIBLE = ["\u00a0", "\u200b", "\ufeff", "\u2003", "\u3000", "\u2028", "\u200e", "\u2060", "\x85"]


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_placeholder_ids_are_ignored(placeholder: str) -> None:
    for spelling in (placeholder, placeholder.upper(), placeholder.lower(), f" {placeholder}\t\n"):
        assert somebody(spelling, NOBODY) is None, spelling


@pytest.mark.parametrize("space", INVISIBLE, ids=ascii)
def test_placeholder_ids_are_ignored_with_invisible_characters(space: str) -> None:
    for placeholder in ("", "guest", "NULL"):
        assert somebody(f"{space}{placeholder}{space}\t", NOBODY) is None
    assert somebody(f"{space}123", NOBODY) == f"{space}123"


def test_all_white_space_of_unicode_is_trimmed() -> None:
    spaces = {character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace()}
    assert spaces <= set(WHITE_SPACE)
    # All others are invisible.
    assert {unicodedata.category(character) for character in set(WHITE_SPACE) - spaces} == {"Cf"}


@pytest.mark.parametrize(
    "user_id",
    [
        "123",
        "00",
        "0.0",
        "-2",
        "guest1",
        "nobody",
        "-",
        "nul",
        "Nilda",
        "truest",
        "unknown-7",
        "{1}",
    ],
)
def test_other_ids_are_unchanged(user_id: str) -> None:
    assert somebody(user_id, NOBODY) == user_id
    assert somebody(f" {user_id}", NOBODY) == f" {user_id}"


def test_a_missing_id_is_none() -> None:
    assert somebody(None, NOBODY) is None


def test_the_list_of_placeholder_ids_can_change() -> None:
    assert somebody("visitor", NOBODY | {"visitor"}) is None
    assert somebody("guest", frozenset({"visitor"})) == "guest"


TEXTS = st.text(
    st.sampled_from([*WHITE_SPACE, *"aZ0-{}[] null", "Ä", "İ", "ß", "🦆", "\u2065", "\x1b"])
    | st.characters(exclude_characters="\x00", codec="utf-8"),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(texts=st.lists(TEXTS | st.sampled_from(PLACEHOLDERS), min_size=50, max_size=200))
async def test_postgres_folds_ids_as_python_does(database: Database, texts: list[str]) -> None:
    """The scanner and the audit compare ids in SQL."""
    compared = await database.column(
        """SELECT lower(btrim(id COLLATE "C", %s))
        FROM unnest(%s::text[]) WITH ORDINALITY AS ids (id, number) ORDER BY number""",
        WHITE_SPACE,
        texts,
    )
    assert compared == [folded(text) for text in texts]
