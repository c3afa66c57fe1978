"""The breaker, whose time and chance are given."""

from datetime import UTC, datetime, timedelta

from decoration.breaker import FAILURES_TO_OPEN, HALF_OPEN_PROFILES, MAX_DELAY, MIN_DELAY, Breaker

NOW = datetime(2026, 6, 15, tzinfo=UTC)


def failing(times: int, chance: float = 1.0) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.after_failure(NOW, chance)
    return breaker


def test_a_few_failures_leave_it_closed() -> None:
    assert failing(0).allowed_profiles(500, NOW) == 500
    assert failing(FAILURES_TO_OPEN - 1).allowed_profiles(500, NOW) == 125
    assert failing(FAILURES_TO_OPEN).allowed_profiles(500, NOW) == 0


def test_each_failure_doubles_the_time_up_to_a_limit() -> None:
    waits = [(failing(FAILURES_TO_OPEN + n).retry_at or NOW) - NOW for n in range(10)]
    assert waits[:4] == [MIN_DELAY, 2 * MIN_DELAY, 4 * MIN_DELAY, 8 * MIN_DELAY]
    assert waits[-1] == MAX_DELAY
    assert failing(3000).retry_at == NOW + MAX_DELAY


def test_chance_takes_up_to_half_of_the_time_away() -> None:
    assert failing(FAILURES_TO_OPEN, chance=0).retry_at == NOW + MIN_DELAY / 2


def test_half_open_it_is_asked_for_a_few_once() -> None:
    breaker = failing(FAILURES_TO_OPEN)
    later = NOW + MIN_DELAY
    assert breaker.allowed_profiles(500, later - timedelta(microseconds=1)) == 0
    assert breaker.allowed_profiles(500, later) == HALF_OPEN_PROFILES
    assert breaker.allowed_profiles(3, later) == 1
    patience = timedelta(seconds=60)
    tried = breaker.after_half_open_query(later, patience)
    assert tried.allowed_profiles(500, later) == 0
    assert tried.allowed_profiles(500, later + patience) == HALF_OPEN_PROFILES, (
        "who tried has not come back"
    )


def test_the_trial_decides() -> None:
    tried = failing(FAILURES_TO_OPEN).after_half_open_query(NOW, timedelta(seconds=60))
    assert tried.after_failure(NOW, 1).retry_at == NOW + 2 * MIN_DELAY


def test_each_failure_halves_the_next_question() -> None:
    """Until it is about one profile, as one may be why there is no answer."""
    much_later = NOW + 2 * MAX_DELAY
    sizes = [failing(n).allowed_profiles(500, much_later) for n in range(10)]
    assert sizes == [500, 250, 125, *[HALF_OPEN_PROFILES] * 3, 7, 3, 1, 1]
    assert failing(1).allowed_profiles(1, NOW) == 1
