"""All questions about one claim, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from decoration.answers import lacks
from decoration.asking import Reply, ask
from decoration.company import Company
from decoration.faults import Outage, Refused
from decoration.questions import Question
from decoration.schedule import Claim
from decoration.writing import Answered


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
        except Outage as outage:
            outcome.failure = str(outage)
            return outcome
        except Refused as refused:
            outcome.rule_errors.update(dict.fromkeys(question.keys, str(refused)))
            continue
        _take(outcome, question, reply, len(users))
    if not outcome.answers:
        outcome.failure = next(iter(outcome.rule_errors.values()))
    return outcome


def _take(outcome: Outcome, question: Question, reply: Reply, users: int) -> None:
    """Note the answer for the rules that find their column in it."""
    if reply.refused:
        why = f"refused {len(reply.refused)} of {users} users: {reply.why}"
        outcome.rule_errors.update(dict.fromkeys(question.keys, why))
    answered = []
    for stored in question.rules:
        if reply.columns and (lacking := lacks(reply.table, stored.rule)):
            outcome.rule_errors[stored.rule.key] = lacking
        else:
            answered.append(stored)
    if answered:
        outcome.answers.append(Answered(replace(question, rules=tuple(answered)), reply))
