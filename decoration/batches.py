"""All questions about one claim, and what became of them.

Answers are read here, outside of any transaction and in a thread, as they may be large. What goes
wrong with one question, whatever it is, costs the rules of that question alone; what goes wrong
with a value costs that value (answers.py).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from decoration.errors import Outage, Refused
from decoration.queries import Question
from decoration.query import Reply, ask
from decoration.schedule import Claim
from decoration.source_client import Company
from decoration.store import Answered
from decoration.values import lacks, user_ids, values
from merganser.runtime import isolation, metrics

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What became of the questions of a claim."""

    answers: list[Answered] = field(default_factory=list)
    failure: str | None = None
    """Why the source counts as failing; None if it answered."""
    rule_errors: dict[str, str] = field(default_factory=dict)
    """Why rules got no values, or not for everyone, by key."""


async def ask_all(company: Company, questions: Sequence[Question], claimed: Claim) -> Outcome:
    """Ask every question for the users of a claim.

    A source that is away is asked no further question. A rule that finds no answer keeps no other
    one from its values; the source counts as failing if none finds one.
    """
    outcome = Outcome()
    users = list(claimed.users.values())
    for question in questions:
        try:
            reply = await ask(company, claimed.source, question, users)
            await asyncio.to_thread(_take, outcome, question, reply, len(users))
        except Outage as outage:
            outcome.failure = str(outage)
            return outcome
        except Refused as refused:
            outcome.rule_errors.update(dict.fromkeys(question.keys, str(refused)))
        except Exception as error:  # noqa: BLE001 - other questions may have better answers
            reason = isolation.reason(error)
            log.warning("question failed", source=claimed.source, rules=question.keys, error=reason)
            outcome.rule_errors.update(dict.fromkeys(question.keys, reason))
    if not outcome.answers:
        outcome.failure = next(iter(outcome.rule_errors.values()))
    return outcome


def _take(outcome: Outcome, question: Question, reply: Reply, users: int) -> None:
    """Note the answer for the rules that find their column in it."""
    said: list[str] = []
    if reply.refused:
        said.append(f"refused {len(reply.refused)} of {users} users: {reply.why}")
    table = reply.table
    ids, unreadable = user_ids(table)
    if unreadable:
        said.append(f"left out {unreadable} rows whose userId cannot be read")
    if said:
        outcome.rule_errors.update(dict.fromkeys(question.keys, "; ".join(said)))
    answered, found = [], {}
    for stored in question.rules:
        if table.columns and (lacking := lacks(table, stored.rule)):
            outcome.rule_errors[stored.rule.key] = lacking
            continue
        has = values(table, ids, stored.rule)
        has.failures.update(reply.unreadable)
        metrics.SOURCE_VALUES_UNFIT.labels(stored.rule.key).inc(has.unfit)
        metrics.SOURCE_VALUES_TOO_LONG.labels(stored.rule.key).inc(has.too_long)
        answered.append(stored)
        found[stored.rule.key] = has
    if answered:
        asked = replace(question, rules=tuple(answered))
        outcome.answers.append(Answered(asked, frozenset(reply.refused), found))
