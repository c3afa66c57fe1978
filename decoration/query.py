"""A question for many users at once, although one of their ids may spoil it.

An id can be one that the column's type cannot hold: `abc` where ids are numbers. Postgres refuses
the whole query then, and says nothing of which. So the users are halved until it is found. Ids of
one kind are kept together, as all that are no number are refused together. The same is done where
what is said of one of the users cannot be read, or is too large to be.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from decoration import bounds
from decoration.errors import RefusedData, TooLarge, Unreadable
from decoration.queries import Question
from decoration.source_client import Company
from decoration.values import Table
from merganser.runtime import metrics

MOST_CALLS = 40
"""For one question about one batch. What is not isolated by then is refused as it is."""
PATIENCE = 2
"""Times the source's timeout, for all of them. What was not asked by then is refused, too."""
_OUTCOMES = {RefusedData: "refused", Unreadable: "unreadable", TooLarge: "too_large"}
"""What the metric says of a query with such an end."""


@dataclass(slots=True)
class Reply:
    """What a source said to a question."""

    columns: tuple[str, ...] = ()
    rows: list[Sequence[Any]] = field(default_factory=list)
    size: int = 0
    """About how many bytes the rows take."""
    refused: set[str] = field(default_factory=set)
    """Users whose ids it cannot be asked for."""
    why: str | None = None
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why what it says of a user cannot be read, by userId."""

    @property
    def table(self) -> Table:
        """All that was answered."""
        return Table(self.columns, self.rows, self.size)

    def add(self, table: Table) -> None:
        """Take what was answered about some of the users.

        Raises:
            TooLarge: all that is said of the batch is beyond the bounds of one answer.
        """
        bounds.check(len(self.rows) + len(table.rows), self.size + table.size)
        self.columns = table.columns
        self.rows += table.rows
        self.size += table.size


async def ask(company: Company, source: str, question: Question, user_ids: Sequence[str]) -> Reply:
    """Ask about users, each at most once successfully.

    Raises:
        Outage: no answer, or none in time.
        Refused: the query cannot be run, whatever the ids.
    """
    reply = Reply()
    waiting = deque([sorted(user_ids, key=_kind)])
    calls, end = 0, time.monotonic() + PATIENCE * company.timeout
    while waiting:
        group = waiting.popleft()
        if calls and time.monotonic() > end:
            reply.refused.update(group)
            continue
        try:
            table = await _measured(company, source, question, group)
        except RefusedData as refused:
            calls += 1
            if len(group) == 1 and isinstance(refused, Unreadable):
                reply.unreadable[group[0]] = str(refused)
                continue
            reply.why = str(refused)
            if len(group) == 1 or calls + len(waiting) >= MOST_CALLS:
                reply.refused.update(group)
            else:
                waiting += _halves(group)
            continue
        try:
            reply.add(table)
        except TooLarge as refused:
            reply.why = str(refused)
            reply.refused.update(group)
    return reply


async def _measured(
    company: Company, source: str, question: Question, user_ids: Sequence[str]
) -> Table:
    start, outcome = time.monotonic(), "failed"
    try:
        table = await company.ask(question.query, user_ids)
        outcome = "answered"
    except RefusedData as refused:
        outcome = _OUTCOMES[type(refused)]
        raise
    finally:
        metrics.SOURCE_CALLS.labels(source, outcome).inc()
        metrics.SOURCE_CALL_SECONDS.labels(source).observe(time.monotonic() - start)
    return table


def _kind(user_id: str) -> tuple[bool, int]:
    """Numbers first, and of each kind the short ones."""
    return not (user_id.isascii() and user_id.isdecimal()), len(user_id)


def _halves(group: list[str]) -> list[list[str]]:
    """At the border between two kinds if there is one, else in the middle."""
    kinds = [_kind(user_id)[0] for user_id in group]
    middle = kinds.index(True) if kinds[0] != kinds[-1] else len(group) // 2
    return [group[:middle], group[middle:]]
