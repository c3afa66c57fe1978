"""One claim from asking to its end: its answers written, or the claim given back.

Whatever goes wrong costs as little as can be told apart: a value that cannot be read or stored
(answers.py, writing.py), a rule whose query fails (batch.py), or a source, which then counts as
failing. Other sources never notice.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from decoration import schedule, source_status, store
from decoration.batches import Outcome, ask_all
from decoration.database import Ours
from decoration.queries import Question
from decoration.schedule import Claim
from decoration.source_client import Company
from decoration.store import Written
from merganser.runtime import isolation, metrics
from merganser.runtime.lifecycle import StoppedWhileWaiting

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

    Raises:
        StoppedWhileWaiting: Postgres is away and the process is to stop.
    """
    try:
        outcome = await ask_all(company, questions, claimed)
        if outcome.failure is None:
            await _write(ours, claimed, clock(), refresh, outcome)
            return
        failure = outcome.failure
    except StoppedWhileWaiting:
        raise
    except Exception as error:  # noqa: BLE001 - what one source brings to light is its own
        failure = isolation.reason(error)
    await _give_back(ours, claimed, clock(), failure)


async def _give_back(ours: Ours, claimed: Claim, now: datetime, failure: str) -> None:
    await ours.transact(lambda connection: schedule.give_back(connection, claimed, now))
    await fail(ours, claimed.source, now, failure)


async def fail(ours: Ours, source: str, now: datetime, failure: str) -> None:
    """Note that a source fails, so that it is left alone for longer each time."""
    breaker = await ours.transact(
        lambda connection: source_status.failed(connection, source, now, failure)
    )
    log.warning("source failed", source=source, error=failure, failures=breaker.failures)


async def _write(
    ours: Ours, claimed: Claim, now: datetime, refresh: float, outcome: Outcome
) -> None:
    """Write the answers, without the profiles that Postgres refuses to write them for."""
    due = {profile: schedule.next_due(profile, refresh, now) for profile in claimed.users}
    answers = outcome.answers

    async def write(profiles: Sequence[str]) -> None:
        whole_or_one = len(profiles) in (1, len(claimed.users))
        tries = isolation.TRIES if whole_or_one else isolation.NARROWING_TRIES
        some = claimed.only(profiles)
        _count(
            claimed.source,
            await ours.transact(
                lambda connection: store.write(connection, some, answers, due), tries
            ),
        )

    async def give_up(profile: str, error: Exception) -> None:
        one, reason = claimed.only((profile,)), isolation.reason(error)
        log.error("values of a profile cannot be written", source=claimed.source, error=reason)
        _count(
            claimed.source,
            await ours.transact(
                lambda connection: store.give_up(connection, one, answers, due, reason)
            ),
        )

    await isolation.narrow(list(claimed.users), write, give_up)
    await ours.transact(
        lambda connection: source_status.succeeded(
            connection, claimed.source, now, outcome.rule_errors
        )
    )


def _count(source: str, written: Written) -> None:
    metrics.SOURCE_VALUES_WRITTEN.labels(source).inc(written.values)
    metrics.SOURCE_VALUES_SET_ASIDE.labels(source).inc(len(written.set_aside))
    if written.set_aside:
        reasons = Counter(item.reason for item in written.set_aside)
        log.error("values set aside", source=source, reasons=dict(reasons))
