"""Write the answers of a source as property values, in one short transaction.

The transaction sets aside values that cannot be read, and removes values of earlier answers that
can be read now from the items set aside.

Anything may change between the query and the write. So the transaction first locks what the answer
is about (the rules by revision, the profiles by userId, the leased rows), always in this order, and
leaves out what has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from decoration import schedule
from decoration.query import QueryAnswer
from decoration.schedule import Lease
from merganser.rulebook import property_store
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
        result.values += await _write_values(connection, user_ids, answer)
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
        Item(Kind.VALUE, profile, key, values.failures.get(user_id, reason))
        for answer, user_ids in await _lock_unchanged(connection, lease, answers, due)
        for key, values in answer.values.items()
        for profile, user_id in user_ids.items()
        if user_id in values.values or user_id in values.failures
    ]
    await set_aside.put(connection, items)
    return WriteResult(set_aside=items)


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
    revisions = await _lock_rules(connection, answers)
    locked = await _lock_profiles(connection, lease)
    leased = await schedule.reschedule(connection, lease, {guid: due[guid] for guid in locked})
    unchanged = []
    for answer in answers:
        rules = [stored for stored in answer.query.rules if stored.revision in revisions]
        user_ids = {
            guid: user_id
            for guid, user_id in lease.user_ids.items()
            if guid in leased and user_id not in answer.refused
        }
        if rules and user_ids:
            values = {stored.rule.key: answer.values[stored.rule.key] for stored in rules}
            unchanged.append((replace(answer, values=values), user_ids))
    return unchanged


async def _lock_rules(connection: AsyncConnection[Any], answers: Sequence[QueryAnswer]) -> set[int]:
    revisions = [revision for answer in answers for revision in answer.query.revisions]
    cursor = await connection.execute(_SQL["lock_rules"], {"revisions": revisions})
    return {revision for (revision,) in await cursor.fetchall()}


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
        Item(Kind.VALUE, profile, key, values.failures[user_id])
        for key, values in answer.values.items()
        for profile, user_id in user_ids.items()
        if user_id in values.failures
    ]
    await connection.execute(
        _SQL["delete_readable"],
        {
            "profiles": list(user_ids),
            "keys": list(answer.values),
            "failed_profiles": [item.subject for item in items],
            "failed_keys": [item.place for item in items],
        },
    )
    await set_aside.put(connection, items)
    return items
