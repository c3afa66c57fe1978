"""One claim from asking to its end: its answers written, or the claim given back."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from decoration import schedule, states, writing
from decoration.batch import Outcome, ask_all
from decoration.company import Company
from decoration.ours import Ours
from decoration.questions import Question
from decoration.schedule import Claim
from runtime import metrics

log = structlog.get_logger(__name__)


async def decorate(
    ours: Ours,
    company: Company,
    questions: Sequence[Question],
    claimed: Claim,
    refresh: float,
    clock: Callable[[], datetime],
) -> None:
    """Ask a source for the claimed profiles, and do what follows from what it says.

    What becomes of the profiles and how the source is doing are two transactions: `schedule_all`
    locks the source's row before the profiles' rows, so one that locked them the other way round
    could wait for it in a circle.
    """
    outcome = await ask_all(company, questions, claimed)
    now = clock()
    if outcome.failure is not None:
        await _give_back(ours, claimed, now, outcome.failure)
    else:
        await _write(ours, claimed, now, refresh, outcome)


async def _give_back(ours: Ours, claimed: Claim, now: datetime, failure: str) -> None:
    await ours.transact(lambda connection: schedule.release(connection, [claimed]))
    breaker = await ours.transact(
        lambda connection: states.failed(connection, claimed.source, now, failure)
    )
    log.warning("source failed", source=claimed.source, error=failure, failures=breaker.failures)


async def _write(
    ours: Ours, claimed: Claim, now: datetime, refresh: float, outcome: Outcome
) -> None:
    due = {profile: schedule.next_due(profile, refresh, now) for profile in claimed.users}

    async def work(connection: AsyncConnection[Any]) -> tuple[int, Counter[str]]:
        unfit = Counter[str]()
        written = await writing.write(
            connection, claimed, outcome.answers, due, lambda key: unfit.update((key,))
        )
        return written, unfit

    written, unfit = await ours.transact(work)
    metrics.SOURCE_VALUES_WRITTEN.labels(claimed.source).inc(written)
    for key, count in unfit.items():
        metrics.SOURCE_VALUES_UNFIT.labels(key).inc(count)
    await ours.transact(
        lambda connection: states.succeeded(connection, claimed.source, now, outcome.rule_errors)
    )
