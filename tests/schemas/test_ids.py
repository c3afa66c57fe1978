import sys
import unicodedata
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.ids import NOBODY, WHITE_SPACE, folded, somebody
from tests.support.database import Database

MEAN_NOBODY = [
    *("", "null", "(null)", "undefined", "None", "nil", "NaN", "0", "-1", "true", "False"),
    *("unknown", "N/A", "anonymous", "guest", "[object Object]", "{}"),
    str(uuid.UUID(int=0)),
    uuid.UUID(int=0).hex,
]
INVISIBLE = ["\u00a0", "\u200b", "\ufeff", "\u2003", "\u3000", "\u2028", "\u200e", "\u2060", "\x85"]


@pytest.mark.parametrize("nobody", MEAN_NOBODY)
def test_ids_that_mean_nobody(nobody: str) -> None:
    for spelling in (nobody, nobody.upper(), nobody.lower(), f" {nobody}\t\n"):
        assert somebody(spelling, NOBODY) is None, spelling


@pytest.mark.parametrize("space", INVISIBLE, ids=ascii)
def test_what_cannot_be_seen_around_an_id_does_not_make_it_somebody(space: str) -> None:
    for nobody in ("", "guest", "NULL"):
        assert somebody(f"{space}{nobody}{space}\t", NOBODY) is None
    assert somebody(f"{space}123", NOBODY) == f"{space}123"


def test_all_white_space_of_unicode_is_cut_off() -> None:
    spaces = {character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace()}
    assert spaces <= set(WHITE_SPACE)
    # And of the rest nothing that can be seen.
    assert {unicodedata.category(character) for character in set(WHITE_SPACE) - spaces} == {"Cf"}


@pytest.mark.parametrize(
    "somebodys",
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
def test_ids_that_mean_somebody_stay_as_they_came(somebodys: str) -> None:
    assert somebody(somebodys, NOBODY) == somebodys
    assert somebody(f" {somebodys}", NOBODY) == f" {somebodys}"


def test_no_id_is_nobody() -> None:
    assert somebody(None, NOBODY) is None


def test_more_may_be_named() -> None:
    assert somebody("visitor", NOBODY | {"visitor"}) is None
    assert somebody("guest", frozenset({"visitor"})) == "guest"


TEXTS = st.text(
    st.sampled_from([*WHITE_SPACE, *"aZ0-{}[] null", "Ä", "İ", "ß", "🦆", "\u2065", "\x1b"])
    | st.characters(exclude_characters="\x00", codec="utf-8"),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(texts=st.lists(TEXTS | st.sampled_from(MEAN_NOBODY), min_size=50, max_size=200))
async def test_postgres_compares_as_we_do(database: Database, texts: list[str]) -> None:
    """As the scanner and an audit ask of rows."""
    compared = await database.column(
        """SELECT lower(btrim(id COLLATE "C", %s))
        FROM unnest(%s::text[]) WITH ORDINALITY AS ids (id, place) ORDER BY place""",
        WHITE_SPACE,
        texts,
    )
    assert compared == [folded(text) for text in texts]
