from datetime import datetime, timezone

import pytest

from merganser_client.delays import delay, retry_after

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def test_delays_double_up_to_the_longest() -> None:
    assert [delay(n, 0.5, 3, 0, 1) for n in (1, 2, 3, 4, 5, 10_000)] == [0.5, 1, 2, 3, 3, 3]


def test_chance_takes_any_part_of_a_delay() -> None:
    assert [delay(2, 1, 10, 0, chance) for chance in (0, 0.25, 1)] == [0, 0.5, 2]


def test_what_the_server_asks_for_is_the_least() -> None:
    assert [delay(1, 1, 10, 5, chance) for chance in (0, 0.5)] == [5, 5.5]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("1", 1),
        (" 30 ", 30),
        ("86400", 300),
        ("-1", 0),
        ("soon", 0),
        ("²", 0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2027 11:00:00 GMT", 300),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds
