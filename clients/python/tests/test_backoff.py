from datetime import datetime, timezone

import pytest

from merganser_client.backoff import compute_delay, parse_retry_after

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def test_delays_double_up_to_the_longest() -> None:
    delays = [compute_delay(n, 0.5, 3, 0, 1) for n in (1, 2, 3, 4, 5, 10_000)]
    assert delays == [0.5, 1, 2, 3, 3, 3]


def test_the_jitter_is_any_part_of_a_delay() -> None:
    assert [compute_delay(2, 1, 10, 0, random) for random in (0, 0.25, 1)] == [0, 0.5, 2]


def test_a_delay_is_at_least_what_the_server_asks_for() -> None:
    assert [compute_delay(1, 1, 10, 5, random) for random in (0, 0.5)] == [5, 5.5]


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
    assert parse_retry_after(header, NOW) == seconds
