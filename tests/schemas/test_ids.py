import uuid

import pytest

from schemas.ids import NOBODY, somebody


@pytest.mark.parametrize(
    "nobody",
    [
        *("", "null", "undefined", "None", "nil", "0", "anonymous", "guest"),
        str(uuid.UUID(int=0)),
        "[object Object]",
    ],
)
def test_ids_that_mean_nobody(nobody: str) -> None:
    for spelling in (nobody, nobody.upper(), nobody.lower(), f" {nobody}\t\n"):
        assert somebody(spelling, NOBODY) is None, spelling


@pytest.mark.parametrize("somebodys", ["123", "00", "0.0", "guest1", "nobody", "-", "nul", "Nilda"])
def test_ids_that_mean_somebody_stay_as_they_came(somebodys: str) -> None:
    assert somebody(somebodys, NOBODY) == somebodys
    assert somebody(f" {somebodys}", NOBODY) == f" {somebodys}"


def test_no_id_is_nobody() -> None:
    assert somebody(None, NOBODY) is None


def test_the_list_is_configurable() -> None:
    assert somebody("visitor", frozenset({"visitor"})) is None
    assert somebody("guest", frozenset({"visitor"})) == "guest"
