"""What a source answered, made the values of properties: in one short transaction.

Between asking and writing anything may have happened. So the transaction first holds still what the
answer is about (the rules by revision, the profiles by userId, the leases), always in this order,
and leaves out what has changed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from decoration import schedule
from decoration.answers import Unfit, values
from decoration.asking import Reply
from decoration.questions import Question
from decoration.schedule import Claim
from properties.rulebook import Stored
from properties.store import SQL
from runtime import sql

_SQL = sql.load(__package__, "writing.sql")


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and what was said to it."""

    question: Question
    reply: Reply


async def write(
    connection: AsyncConnection[Any],
    claimed: Claim,
    answers: Sequence[Answered],
    due: Mapping[str, datetime],
    unfit: Unfit,
) -> int:
    """Write what differs, and set when the profiles are due next.

    Args:
        connection: in a transaction, READ COMMITTED.
        claimed: whom the source was asked for.
        answers: what it said. A question without an answer is not here: nothing is changed by it.
        due: when each claimed profile is due next.
        unfit: told of values that do not fit the type of their rule.

    Returns:
        How many values were written or dropped.
    """
    revisions = await _hold_rules(connection, answers)
    known = await _hold_profiles(connection, claimed)
    ours = await schedule.put_off(connection, claimed, {guid: due[guid] for guid in known})
    written = 0
    for answer in answers:
        rules = [stored for stored in answer.question.rules if stored.revision in revisions]
        asked = {
            guid: user_id
            for guid, user_id in claimed.users.items()
            if guid in ours and user_id not in answer.reply.refused
        }
        if rules and asked:
            written += await _put(connection, asked, rules, answer.reply, unfit)
    return written


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


async def _put(
    connection: AsyncConnection[Any],
    asked: Mapping[str, str],
    rules: Sequence[Stored],
    reply: Reply,
    unfit: Unfit,
) -> int:
    """Make the rules' properties what the source says; only what differs is written."""
    keys = [stored.rule.key for stored in rules]
    right = {
        (profile, stored.rule.key, position): value
        for stored in rules
        for said in [values(reply.table, stored.rule, unfit)]
        for profile, user_id in asked.items()
        for position, value in enumerate(said.get(user_id, ()))
    }
    cursor = await connection.execute(SQL["properties"], {"profiles": list(asked), "keys": keys})
    stored_now = {tuple(place): value for *place, value in await cursor.fetchall()}
    put = {place: value for place, value in right.items() if stored_now.get(place) != value}
    drop = stored_now.keys() - right.keys()
    if put:
        rows = {**_columns(put), "values": list(put.values())}
        await connection.execute(SQL["put_properties"], rows)
    if drop:
        await connection.execute(SQL["drop_properties"], _columns(drop))
    return len(put) + len(drop)


def _columns(places: Collection[tuple[str, str, int]]) -> dict[str, list[Any]]:
    guids, keys, positions = zip(*places, strict=True)
    return {"profiles": list(guids), "keys": list(keys), "positions": list(positions)}
