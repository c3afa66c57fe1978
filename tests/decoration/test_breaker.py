"""The breaker, whose time and chance are given."""

from datetime import UTC, datetime, timedelta

from decoration.breaker import FIRST, LONGEST, TRIAL, TRIES, Breaker

NOW = datetime(2026, 6, 15, tzinfo=UTC)


def failing(times: int, chance: float = 1.0) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.failed(NOW, chance)
    return breaker


def test_a_few_failures_leave_it_closed() -> None:
    assert failing(0).at_most(500, NOW) == 500
    assert failing(TRIES - 1).at_most(500, NOW) == 125
    assert failing(TRIES).at_most(500, NOW) == 0


def test_each_failure_doubles_the_time_up_to_a_limit() -> None:
    waits = [(failing(TRIES + n).retry_at or NOW) - NOW for n in range(10)]
    assert waits[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert waits[-1] == LONGEST
    assert failing(3000).retry_at == NOW + LONGEST


def test_chance_takes_up_to_half_of_the_time_away() -> None:
    assert failing(TRIES, chance=0).retry_at == NOW + FIRST / 2


def test_half_open_it_is_asked_for_a_few_once() -> None:
    breaker = failing(TRIES)
    later = NOW + FIRST
    assert breaker.at_most(500, later - timedelta(microseconds=1)) == 0
    assert breaker.at_most(500, later) == TRIAL
    assert breaker.at_most(3, later) == 1
    patience = timedelta(seconds=60)
    tried = breaker.tried(later, patience)
    assert tried.at_most(500, later) == 0
    assert tried.at_most(500, later + patience) == TRIAL, "who tried has not come back"


def test_the_trial_decides() -> None:
    tried = failing(TRIES).tried(NOW, timedelta(seconds=60))
    assert tried.succeeded() == Breaker()
    assert tried.failed(NOW, 1).retry_at == NOW + 2 * FIRST


def test_each_failure_halves_the_next_question() -> None:
    """Until it is about one profile, as one may be why there is no answer."""
    much_later = NOW + 2 * LONGEST
    sizes = [failing(n).at_most(500, much_later) for n in range(10)]
    assert sizes == [500, 250, 125, *[TRIAL] * 3, 7, 3, 1, 1]
    assert failing(1).at_most(1, NOW) == 1
