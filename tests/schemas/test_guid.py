import re
import uuid
from itertools import islice

import pytest

from schemas import guid

NOW_MS = 1_800_000_000_123


def test_version_7_carries_the_time_in_its_first_48_bits() -> None:
    made = uuid.UUID(guid.uuid7(NOW_MS))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == NOW_MS


def test_version_7_s_of_one_moment_differ() -> None:
    assert len({guid.uuid7(NOW_MS) for _ in range(1000)}) == 1000


def test_later_ones_sort_after_earlier_ones() -> None:
    made = [guid.uuid7(NOW_MS + step) for step in range(100)]
    assert made == sorted(made)


@pytest.mark.parametrize("version", [4, 7])
def test_a_series_has_its_prefix_and_no_repetition(version: guid.GuidVersion) -> None:
    made = list(islice(guid.series(version, guid.EVENT, NOW_MS), 1000))
    assert len(set(made)) == 1000
    for one in made:
        assert re.fullmatch(r"evt_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one)
        parsed = uuid.UUID(one.removeprefix("evt_"))
        assert (parsed.version, parsed.variant) == (version, uuid.RFC_4122)


def test_a_series_of_version_7_ascends() -> None:
    made = list(islice(guid.series(7, guid.EVENT_DATA, NOW_MS), 1000))
    assert made == sorted(made)


def test_two_series_of_one_moment_do_not_meet() -> None:
    made = [next(guid.series(7, guid.EVENT, NOW_MS)) for _ in range(1000)]
    assert len(set(made)) == 1000


def test_prefixes_tell_kinds_apart() -> None:
    assert [guid.EVENT, guid.EVENT_DATA, guid.PROFILE, guid.API_KEY] == [
        "evt_",
        "edt_",
        "pro_",
        "key_",
    ]
