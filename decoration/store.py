"""Write the answers of a source as property values, in one short transaction.

The transaction sets aside values that cannot be read, and those of users for whom the source
refuses the query. It deletes items of earlier answers whose values can be read now.

Anything may change between the query and the write. So the transaction first locks what the answer
is about (the rules by revision, the profiles by userId, the leased rows), always in this order, and
leaves out what has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from decoration import schedule
from decoration.breaker import MAX_DELAY
from decoration.query import QueryAnswer
from decoration.schedule import Lease
from merganser.rulebook import property_store, rule_store
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Item, Kind

_SQL = sql.load(__package__, "store.sql")


@dataclass(slots=True)
class WriteResult:
    """What a transaction has done."""

    values: int = 0
    """Values that were written or deleted."""
    set_aside: list[Item] = field(default_factory=list)


async def write_answers(
    connection: AsyncConnection[Any],
    lease: Lease,
    answers: Sequence[QueryAnswer],
    due: Mapping[str, datetime],
) -> WriteResult:
    """Write the values that differ, and set when the profiles are due next.

    Args:
        connection: in a transaction, READ COMMITTED.
        lease: all or some of the queried profiles.
        answers: what the source has answered. Values of queries without an answer stay.
        due: when each profile is due next, by guid.
    """
    result = WriteResult()
    for answer, user_ids in await _lock_unchanged(connection, lease, answers, due):
        answered = {guid: user for guid, user in user_ids.items() if user not in answer.refused}
        result.values += await _write_values(connection, answered, answer)
        result.set_aside += await _update_set_aside(connection, user_ids, answer)
    return result


async def set_answers_aside(
    connection: AsyncConnection[Any],
    lease: Lease,
    answers: Sequence[QueryAnswer],
    due: Mapping[str, datetime],
    reason: str,
) -> WriteResult:
    """Set aside the answers for profiles, as they cannot be written.

    Args:
        connection: as in `write_answers`.
        lease: these profiles; their stored values stay.
        answers: as in `write_answers`.
        due: as in `write_answers`.
        reason: why they cannot be written.
    """
    items = [
        Item(Kind.VALUE, profile, key, failures.get(user_id, reason))
        for answer, user_ids in await _lock_unchanged(connection, lease, answers, due)
        for key, values in answer.values.items()
        for failures in (_failures(answer, key),)
        for profile, user_id in user_ids.items()
        if user_id in values.values or user_id in failures
    ]
    await set_aside.put(connection, items)
    return WriteResult(set_aside=items)


async def write_timeout(
    connection: AsyncConnection[Any],
    lease: Lease,
    answer: QueryAnswer,
    now: datetime,
    refresh: float,
    *,
    blames_source: bool,
) -> WriteResult:
    """Set aside the values of one profile whose query has timed out, and delay the next query.

    The rows of this profile may be the cause. Each timeout doubles the delay, up to `refresh`. If
    the source as a whole is the cause, the profile is due again instead, like others.

    Args:
        connection: as in `write_answers`.
        lease: the profile; its stored values stay.
        answer: refuses its userId.
        now: the current time.
        refresh: seconds until an answered profile is due again.
        blames_source: whether the source as a whole is the cause. A profile that is set aside
            already stays set aside.
    """
    (profile,) = lease.user_ids
    attempts = await set_aside.read_attempts(connection, Kind.VALUE, profile, answer.values)
    if blames_source and not attempts:
        await schedule.return_unanswered(connection, lease, now)
        return WriteResult()
    delay = min(MAX_DELAY * 2 ** min(attempts, 16), timedelta(seconds=refresh))
    return await write_answers(connection, lease, [answer], {profile: now + delay})


async def _lock_unchanged(
    connection: AsyncConnection[Any],
    lease: Lease,
    answers: Sequence[QueryAnswer],
    due: Mapping[str, datetime],
) -> list[tuple[QueryAnswer, dict[str, str]]]:
    """Lock what the answers are about, and leave out what has changed since the query.

    Returns:
        Each answer with the rules that still apply, and the userIds of its profiles by guid.
    """
    revisions = await rule_store.lock_revisions(
        connection, [revision for answer in answers for revision in answer.query.revisions]
    )
    locked = await _lock_profiles(connection, lease)
    leased = await schedule.reschedule(connection, lease, {guid: due[guid] for guid in locked})
    unchanged = []
    for answer in answers:
        rules = [stored for stored in answer.query.rules if stored.revision in revisions]
        user_ids = {guid: user for guid, user in lease.user_ids.items() if guid in leased}
        if rules and user_ids:
            values = {stored.rule.key: answer.values[stored.rule.key] for stored in rules}
            unchanged.append((replace(answer, values=values), user_ids))
    return unchanged


async def _lock_profiles(connection: AsyncConnection[Any], lease: Lease) -> list[str]:
    cursor = await connection.execute(
        _SQL["lock_profiles"],
        {"profiles": list(lease.user_ids), "user_ids": list(lease.user_ids.values())},
    )
    return [guid for (guid,) in await cursor.fetchall()]


async def _write_values(
    connection: AsyncConnection[Any], user_ids: Mapping[str, str], answer: QueryAnswer
) -> int:
    wanted = {
        profile: {key: values.values.get(user_id, ()) for key, values in answer.values.items()}
        for profile, user_id in user_ids.items()
    }
    return await property_store.write_properties(connection, answer.values.keys(), wanted)


async def _update_set_aside(
    connection: AsyncConnection[Any], user_ids: Mapping[str, str], answer: QueryAnswer
) -> list[Item]:
    """Set aside what cannot be read, and delete the items that can be read now."""
    items = [
        Item(Kind.VALUE, profile, key, failures[user_id])
        for key in answer.values
        if (failures := _failures(answer, key))
        for profile, user_id in user_ids.items()
        if user_id in failures
    ]
    await set_aside.delete_places(connection, Kind.VALUE, user_ids, answer.values, kept=items)
    await set_aside.put(connection, items)
    return items


def _failures(answer: QueryAnswer, key: str) -> Mapping[str, str]:
    """Return why a rule has no value for a user, by userId."""
    return {**answer.refused, **answer.values[key].failures}
