"""Run the queries of rules for a batch of users, although one of their ids may make a query fail.

A column may reject an id: `abc` where ids are numbers. Postgres then rejects the whole query and
does not say which id is the cause. So the users are halved until it is found. Ids of the same kind
stay together, as all ids that are not numbers fail together. The same is done if the rows of one
user cannot be read, or are too large.

Answers are read outside of transactions and in a thread, as they may be large.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from decoration.errors import (
    AnswerTooLarge,
    AnswerUnreadable,
    DataRefused,
    QueryRefused,
    SourceTimedOut,
    SourceUnavailable,
)
from decoration.source_client import SourceClient, check_size
from decoration.values import (
    ResultTable,
    RuleValues,
    find_missing_column,
    read_user_ids,
    read_values,
)
from merganser.rulebook.language import Query
from merganser.rulebook.rule_store import StoredRule
from merganser.runtime import isolation, metrics

log = structlog.get_logger(__name__)

MAX_CALLS = 40
"""Calls for one query and one batch. Users that are not isolated by then count as refused."""
MAX_TIMEOUTS = 2
"""All these calls together may take this many times the source's timeout. The same applies then."""
_OUTCOMES = {DataRefused: "refused", AnswerUnreadable: "unreadable", AnswerTooLarge: "too_large"}
"""Values of the metric's label `outcome`."""


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """A query, and the rules that take their values from its answer."""

    query: Query
    """The query of the first rule; the others differ in the column only."""
    rules: tuple[StoredRule, ...]

    @property
    def keys(self) -> list[str]:
        """The keys of its rules."""
        return [stored.rule.key for stored in self.rules]

    @property
    def revisions(self) -> list[int]:
        """The revisions of its rules."""
        return [stored.revision for stored in self.rules]


@dataclass(slots=True)
class BatchAnswer:
    """What a source has answered to one query for a batch of users."""

    columns: tuple[str, ...] = ()
    rows: list[Sequence[Any]] = field(default_factory=list)
    size: int = 0
    """Approximate bytes of the rows in memory."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why the query cannot be run for a user, by userId."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why a user's rows cannot be read, by userId."""

    @property
    def table(self) -> ResultTable:
        """All rows."""
        return ResultTable(self.columns, self.rows, self.size)

    def add(self, table: ResultTable) -> None:
        """Add the rows for some of the users.

        Raises:
            AnswerTooLarge: all rows of the batch together exceed the limits of one answer.
        """
        check_size(len(self.rows) + len(table.rows), self.size + table.size)
        self.columns = table.columns
        self.rows += table.rows
        self.size += table.size


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The values of a query's rules."""

    query: SourceQuery
    refused: Mapping[str, str]
    """Why a user has no answer, by userId. The stored values of these users stay."""
    values: Mapping[str, RuleValues]
    """By key, for each rule of the query."""


@dataclass(slots=True)
class SourceAnswers:
    """The answers to all queries of a source."""

    answers: list[QueryAnswer] = field(default_factory=list)
    failure: str | None = None
    """Why the source counts as failing; None if it has answered."""
    timed_out: QueryAnswer | None = None
    """Refuses all users: the query has timed out."""
    rule_errors: dict[str, str] = field(default_factory=dict)
    """Why rules get no values, or not for all users, by key."""


def group_queries(rules: Iterable[StoredRule]) -> dict[str, list[SourceQuery]]:
    """Return the queries of all rules, by source. Rules with the same SQL share one query."""
    groups: dict[tuple[str, str], list[tuple[Query, StoredRule]]] = {}
    for stored in rules:
        if query := stored.rule.query:
            groups.setdefault((query.source, query.sql), []).append((query, stored))
    queries: dict[str, list[SourceQuery]] = {}
    for (source, _), group in groups.items():
        source_query = SourceQuery(group[0][0], tuple(stored for _, stored in group))
        queries.setdefault(source, []).append(source_query)
    return queries


async def run_queries(
    client: SourceClient, source: str, queries: Sequence[SourceQuery], user_ids: Sequence[str]
) -> SourceAnswers:
    """Run all queries of a source for a batch of users.

    After a query finds the source unavailable, no further query is sent. A query that fails in
    another way does not affect the others; the source counts as failing only if all fail.
    """
    result = SourceAnswers()
    for query in queries:
        try:
            answer = await run_query(client, source, query, user_ids)
            await asyncio.to_thread(_add_answer, result, query, answer, len(user_ids))
        except SourceUnavailable as unavailable:
            result.failure = str(unavailable)
            if isinstance(unavailable, SourceTimedOut):
                no_values = {key: RuleValues() for key in query.keys}
                refused = dict.fromkeys(user_ids, result.failure)
                result.timed_out = QueryAnswer(query, refused, no_values)
            return result
        except QueryRefused as refused:
            result.rule_errors.update(dict.fromkeys(query.keys, str(refused)))
        except Exception as error:  # noqa: BLE001 - the other queries are not affected
            reason = isolation.reason(error)
            log.warning("query failed", source=source, rules=query.keys, error=reason)
            result.rule_errors.update(dict.fromkeys(query.keys, reason))
    if not result.answers:
        result.failure = next(iter(result.rule_errors.values()))
    return result


async def run_query(
    client: SourceClient, source: str, query: SourceQuery, user_ids: Sequence[str]
) -> BatchAnswer:
    """Run one query for users; halve them where one of them makes it fail.

    Raises:
        SourceUnavailable: no answer, or none in time.
        QueryRefused: the query cannot be run, whatever the ids are.
    """
    answer = BatchAnswer()
    pending = deque([sorted(user_ids, key=_id_kind)])
    calls, end, reason = 0, time.monotonic() + MAX_TIMEOUTS * client.timeout, ""
    while pending:
        group = pending.popleft()
        if calls and time.monotonic() > end:
            answer.refused.update(dict.fromkeys(group, reason))
            continue
        try:
            table = await _run_measured(client, source, query, group)
        except DataRefused as refused:
            calls, reason = calls + 1, str(refused)
            if len(group) == 1 and isinstance(refused, AnswerUnreadable):
                answer.unreadable[group[0]] = reason
                continue
            if len(group) == 1 or calls + len(pending) >= MAX_CALLS:
                answer.refused.update(dict.fromkeys(group, reason))
            else:
                pending += _halve(group)
            continue
        try:
            answer.add(table)
        except AnswerTooLarge as refused:
            answer.refused.update(dict.fromkeys(group, str(refused)))
    return answer


async def _run_measured(
    client: SourceClient, source: str, query: SourceQuery, user_ids: Sequence[str]
) -> ResultTable:
    start, outcome = time.monotonic(), "failed"
    try:
        table = await client.run_query(query.query, user_ids)
        outcome = "answered"
    except DataRefused as refused:
        outcome = _OUTCOMES[type(refused)]
        raise
    finally:
        metrics.SOURCE_CALLS.labels(source, outcome).inc()
        metrics.SOURCE_CALL_SECONDS.labels(source).observe(time.monotonic() - start)
    return table


def _id_kind(user_id: str) -> tuple[bool, int]:
    """Return a sort key: numbers first, then by length."""
    return not (user_id.isascii() and user_id.isdecimal()), len(user_id)


def _halve(group: list[str]) -> list[list[str]]:
    """Split at the border between numbers and other ids if there is one, else in the middle."""
    kinds = [_id_kind(user_id)[0] for user_id in group]
    middle = kinds.index(True) if kinds[0] != kinds[-1] else len(group) // 2
    return [group[:middle], group[middle:]]


def _add_answer(result: SourceAnswers, query: SourceQuery, answer: BatchAnswer, users: int) -> None:
    """Read the values of the rules whose column is in the answer."""
    problems: list[str] = []
    if answer.refused:
        *_, reason = answer.refused.values()
        problems.append(f"refused {len(answer.refused)} of {users} users: {reason}")
    table = answer.table
    user_ids, unreadable = read_user_ids(table)
    if unreadable:
        problems.append(f"left out {unreadable} rows whose userId cannot be read")
    if problems:
        result.rule_errors.update(dict.fromkeys(query.keys, "; ".join(problems)))
    answered, values = [], {}
    for stored in query.rules:
        if table.columns and (missing := find_missing_column(table, stored.rule)):
            result.rule_errors[stored.rule.key] = missing
            continue
        rule_values = read_values(table, user_ids, stored.rule)
        rule_values.failures.update(answer.unreadable)
        metrics.SOURCE_VALUES_UNFIT.labels(stored.rule.key).inc(rule_values.unfit)
        metrics.SOURCE_VALUES_TOO_LONG.labels(stored.rule.key).inc(rule_values.too_long)
        answered.append(stored)
        values[stored.rule.key] = rule_values
    if answered:
        answered_query = replace(query, rules=tuple(answered))
        result.answers.append(QueryAnswer(answered_query, answer.refused, values))
