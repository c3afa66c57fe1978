"""The breaker, with a given clock and a given random number."""

from datetime import UTC, datetime, timedelta

from decoration.breaker import FAILURES_TO_OPEN, HALF_OPEN_PROFILES, MAX_DELAY, MIN_DELAY, Breaker
from decoration.schedule import MAX_DUE_COUNT

NOW = datetime(2026, 6, 15, tzinfo=UTC)


def break_with_failures(times: int, chance: float = 1.0) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.after_failure(NOW, chance)
    return breaker


def test_a_few_failures_leave_the_breaker_closed() -> None:
    assert break_with_failures(0).allowed_profiles(500, NOW) == 500
    assert break_with_failures(FAILURES_TO_OPEN - 1).allowed_profiles(500, NOW) == 125
    assert break_with_failures(FAILURES_TO_OPEN).allowed_profiles(500, NOW) == 0


def test_each_failure_doubles_the_delay_up_to_a_limit() -> None:
    waits = [(break_with_failures(FAILURES_TO_OPEN + n).retry_at or NOW) - NOW for n in range(10)]
    assert waits[:4] == [MIN_DELAY, 2 * MIN_DELAY, 4 * MIN_DELAY, 8 * MIN_DELAY]
    assert waits[-1] == MAX_DELAY
    assert break_with_failures(3000).retry_at == NOW + MAX_DELAY


def test_chance_shortens_the_delay_by_up_to_half() -> None:
    assert break_with_failures(FAILURES_TO_OPEN, chance=0).retry_at == NOW + MIN_DELAY / 2


def test_a_half_open_breaker_allows_one_small_query() -> None:
    breaker = break_with_failures(FAILURES_TO_OPEN)
    later = NOW + MIN_DELAY
    assert breaker.allowed_profiles(500, later - timedelta(microseconds=1)) == 0
    assert breaker.allowed_profiles(500, later) == HALF_OPEN_PROFILES
    assert breaker.allowed_profiles(3, later) == 1
    wait = timedelta(seconds=60)
    half_open = breaker.after_half_open_query(later, wait)
    assert half_open.allowed_profiles(500, later) == 0
    assert half_open.allowed_profiles(500, later + wait) == HALF_OPEN_PROFILES, (
        "no result of the query arrived"
    )


def test_a_failure_while_half_open_doubles_the_delay() -> None:
    half_open = break_with_failures(FAILURES_TO_OPEN).after_half_open_query(
        NOW, timedelta(seconds=60)
    )
    assert half_open.after_failure(NOW, 1).retry_at == NOW + 2 * MIN_DELAY


def test_each_failure_halves_the_next_query() -> None:
    """Down to one profile, as a single profile may be why the query fails."""
    much_later = NOW + 2 * MAX_DELAY
    sizes = [break_with_failures(n).allowed_profiles(500, much_later) for n in range(10)]
    assert sizes == [500, 250, 125, *[HALF_OPEN_PROFILES] * 3, 7, 3, 1, 1]
    assert break_with_failures(1).allowed_profiles(1, NOW) == 1


def test_one_profile_that_is_the_cause_is_queried_alone_before_the_source_is_blamed() -> None:
    much_later = NOW + 2 * MAX_DELAY
    failures = 0
    while break_with_failures(failures).allowed_profiles(MAX_DUE_COUNT, much_later) > 1:
        failures += 1
    assert not break_with_failures(failures + 1).blames_source
    assert break_with_failures(100).blames_source
