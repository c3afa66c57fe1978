"""What a source answered, made the values of properties: in one short transaction.

Values that could not be read are set aside in it, and those of earlier answers that now are read
are set aside no longer.

Between asking and writing anything may have happened. So the transaction first holds still what the
answer is about (the rules by revision, the profiles by userId, the leases), always in this order,
and leaves out what has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from decoration import schedule
from decoration.queries import Question
from decoration.schedule import Claim
from decoration.values import Found
from merganser.rulebook import property_store
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Item, Kind

_SQL = sql.load(__package__, "store.sql")


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and what was said to it."""

    question: Question
    refused: frozenset[str]
    """UserIds that it was not answered for: nothing is changed for them."""
    found: Mapping[str, Found]
    """By key, for each rule of the question."""


@dataclass(slots=True)
class Written:
    """What a transaction did."""

    values: int = 0
    """Values written or dropped."""
    set_aside: list[Item] = field(default_factory=list)


async def write(
    connection: AsyncConnection[Any],
    claimed: Claim,
    answers: Sequence[Answered],
    due: Mapping[str, datetime],
) -> Written:
    """Write what differs, and set when the profiles are due next.

    Args:
        connection: in a transaction, READ COMMITTED.
        claimed: whom the source was asked for, or some of them.
        answers: what it said. A question without an answer is not here: nothing is changed by it.
        due: when each claimed profile is due next.
    """
    written = Written()
    for answer, asked in await _still_asked(connection, claimed, answers, due):
        written.values += await _put(connection, asked, answer)
        written.set_aside += await _note(connection, asked, answer)
    return written


async def give_up(
    connection: AsyncConnection[Any],
    claimed: Claim,
    answers: Sequence[Answered],
    due: Mapping[str, datetime],
    reason: str,
) -> Written:
    """Set aside what was answered about profiles, as it cannot be written.

    Args:
        connection: as for `write`.
        claimed: those profiles; what is stored of them stays.
        answers: as for `write`.
        due: as for `write`.
        reason: why.
    """
    items = [
        Item(Kind.VALUE, profile, key, found.failures.get(user_id, reason))
        for answer, asked in await _still_asked(connection, claimed, answers, due)
        for key, found in answer.found.items()
        for profile, user_id in asked.items()
        if user_id in found.values or user_id in found.failures
    ]
    await set_aside.put(connection, items)
    return Written(set_aside=items)


async def _still_asked(
    connection: AsyncConnection[Any],
    claimed: Claim,
    answers: Sequence[Answered],
    due: Mapping[str, datetime],
) -> list[tuple[Answered, dict[str, str]]]:
    """Hold what answers are about, and leave out what has changed.

    Returns:
        Each answer for the rules that still apply, with the userIds by profile that it is for.
    """
    revisions = await _hold_rules(connection, answers)
    known = await _hold_profiles(connection, claimed)
    ours = await schedule.put_off(connection, claimed, {guid: due[guid] for guid in known})
    still = []
    for answer in answers:
        rules = [stored for stored in answer.question.rules if stored.revision in revisions]
        asked = {
            guid: user_id
            for guid, user_id in claimed.users.items()
            if guid in ours and user_id not in answer.refused
        }
        if rules and asked:
            found = {stored.rule.key: answer.found[stored.rule.key] for stored in rules}
            still.append((replace(answer, found=found), asked))
    return still


async def _hold_rules(connection: AsyncConnection[Any], answers: Sequence[Answered]) -> set[int]:
    asked = [revision for answer in answers for revision in answer.question.revisions]
    cursor = await connection.execute(_SQL["hold_rules"], {"revisions": asked})
    return {revision for (revision,) in await cursor.fetchall()}


async def _hold_profiles(connection: AsyncConnection[Any], claimed: Claim) -> list[str]:
    cursor = await connection.execute(
        _SQL["hold_profiles"],
        {"profiles": list(claimed.users), "user_ids": list(claimed.users.values())},
    )
    return [guid for (guid,) in await cursor.fetchall()]


async def _put(connection: AsyncConnection[Any], asked: Mapping[str, str], answer: Answered) -> int:
    """Make the rules' properties what the source says; only what differs is written."""
    wanted = {
        profile: {key: found.values.get(user_id, ()) for key, found in answer.found.items()}
        for profile, user_id in asked.items()
    }
    return await property_store.write_properties(connection, answer.found.keys(), wanted)


async def _note(
    connection: AsyncConnection[Any], asked: Mapping[str, str], answer: Answered
) -> list[Item]:
    """Set aside what could not be read, and forget what was set aside and now could."""
    items = [
        Item(Kind.VALUE, profile, key, found.failures[user_id])
        for key, found in answer.found.items()
        for profile, user_id in asked.items()
        if user_id in found.failures
    ]
    await connection.execute(
        _SQL["forget_failures"],
        {
            "profiles": list(asked),
            "keys": list(answer.found),
            "failed_profiles": [item.subject for item in items],
            "failed_keys": [item.place for item in items],
        },
    )
    await set_aside.put(connection, items)
    return items
