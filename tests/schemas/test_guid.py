"""Guids of events, profiles and keys."""

import re
import uuid
from itertools import islice

import pytest

from schemas import guid

NOW_MS = 1_800_000_000_123


def test_version_7_carries_the_time_in_its_first_48_bits() -> None:
    parsed = uuid.UUID(guid.uuid7(NOW_MS))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == NOW_MS


def test_version_7_guids_of_the_same_time_differ() -> None:
    assert len({guid.uuid7(NOW_MS) for _ in range(1000)}) == 1000


def test_later_guids_sort_after_earlier_ones() -> None:
    guids = [guid.uuid7(NOW_MS + step) for step in range(100)]
    assert guids == sorted(guids)


@pytest.mark.parametrize("version", [4, 7])
def test_a_series_has_its_prefix_and_no_duplicates(version: guid.GuidVersion) -> None:
    guids = list(islice(guid.series(version, guid.EVENT, NOW_MS), 1000))
    assert len(set(guids)) == 1000
    for text in guids:
        assert re.fullmatch(r"evt_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
        parsed = uuid.UUID(text.removeprefix("evt_"))
        assert (parsed.version, parsed.variant) == (version, uuid.RFC_4122)


def test_a_series_of_version_7_ascends() -> None:
    guids = list(islice(guid.series(7, guid.EVENT_DATA, NOW_MS), 1000))
    assert guids == sorted(guids)


def test_two_series_of_the_same_time_differ() -> None:
    guids = [next(guid.series(7, guid.EVENT, NOW_MS)) for _ in range(1000)]
    assert len(set(guids)) == 1000


def test_each_kind_has_its_prefix() -> None:
    assert [guid.EVENT, guid.EVENT_DATA, guid.PROFILE, guid.API_KEY] == [
        "evt_",
        "edt_",
        "pro_",
        "key_",
    ]
