"""Forget a person: run the steps of `merganser/identity/forget.py` in short transactions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from psycopg import AsyncConnection

from decoration import schedule
from merganser.admin.actions import Actor, record_action
from merganser.admin.database import Transact, open_connection, open_transactions
from merganser.admin.errors import AdminError
from merganser.identity import erasures, person_ids, suppressed_ids
from merganser.identity import forget as identity
from merganser.identity.erasures import Erasure
from merganser.identity.forget import Person, Request
from merganser.identity.suppressed_ids import Suppression
from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from properties import store as properties

CHUNK = 2000
"""Events, or anonymousIds, of one transaction, which takes some tens of milliseconds."""

log = structlog.get_logger(__name__)


class PersonNotFound(AdminError):
    """No profile and no unfinished erasure has this userId or guid."""

    def __init__(self) -> None:
        # The message goes to logs, so it does not repeat the id.
        super().__init__(
            "no profile has this userId or guid, and no erasure of it is unfinished: "
            "`merganser explain` finds a profile by any id, `merganser erasures list --id` "
            "finds finished erasures"
        )


class PersonChanged(AdminError):
    """The profile was merged into another one since `find_person`."""

    def __init__(self) -> None:
        super().__init__(
            "the profile has just been merged into another one, and nothing is erased: try again, "
            "this guid then leads to that profile"
        )


class ReasonNamesPerson(AdminError):
    """The ledger, or the trail of a link, would keep an id of the person."""

    def __init__(self) -> None:
        super().__init__(
            "the reason contains an id of the person, and it is kept: leave the id out"
        )


class OtherErasure(AdminError):
    """An erasure that has begun cannot become one of another kind."""

    def __init__(self) -> None:
        super().__init__(
            "an interrupted `forget` of this id, with or without --placeholder, is not finished: "
            "run it again as before"
        )


class IdNotSuppressed(AdminError):
    """`readmit_id` has nothing to do."""


async def check_reason(connection: AsyncConnection[Any], profile: str, request: Request) -> None:
    """Raise `ReasonNamesPerson` if the reason contains the name or an id of the profile."""
    if person_ids.contains(request.reason, [request.name]) or await person_ids.is_named(
        connection, profile, request.reason
    ):
        raise ReasonNamesPerson


async def find_person(settings: Settings, request: Request) -> Person:
    """Return the person to erase, or what an interrupted erasure left of the person.

    Raises:
        PersonNotFound: there is neither.
        ReasonNamesPerson: the reason contains the name or another id of the person.
        OtherErasure: the unfinished erasure removes a placeholder.
    """
    async with open_connection(settings, "find") as connection:
        person = await identity.find_erasure(connection, request.name)
        person = person or await identity.find_person(connection, request.name)
        if person is None:
            raise PersonNotFound
        await check_reason(connection, person.profile, request)
    if person.unfinished == "placeholder":
        raise OtherErasure
    return person


async def forget_person(
    settings: Settings,
    actor: Actor,
    person: Person,
    request: Request,
    progress: Callable[[int], None],
) -> Erasure:
    """Erase a person's events, ids, profile and properties, in many short transactions.

    If it is interrupted, run it again: it continues. The scanner erases events that are left.

    Args:
        settings: the database's URL, and how to reach Kafka.
        actor: who erases the person.
        person: as `find_person` returned it.
        request: counts if the person's erasure has not begun.
        progress: called with the number of events that this call erased.

    Returns:
        What the ledger says, when no event is left.

    Raises:
        PersonChanged: the profile was merged since `find_person`. Nothing is changed.
    """
    if not person.unfinished:
        request = await add_retention(settings, request)
    async with open_transactions(settings, "forget") as transact:
        erasure = await erase_profile(transact, person.profile, request, progress)
        await record_erasure(transact, actor, "person forgotten", erasure)
    return erasure


async def record_erasure(transact: Transact, actor: Actor, action: str, erasure: Erasure) -> None:
    """Write a finished erasure to the log of actions, by its guid."""
    await transact(
        lambda connection: record_action(
            connection,
            actor,
            action,
            subject=erasure.guid,
            reason=erasure.reason,
            counts=erasure.deleted,
        )
    )


async def erase_profile(
    transact: Transact, profile: str, request: Request, progress: Callable[[int], None]
) -> Erasure:
    """Run all steps for a profile, which may be deleted already.

    Args:
        transact: runs a step.
        profile: guid.
        request: counts if the erasure has not begun.
        progress: called with the number of events that this call erased.

    Raises:
        PersonChanged: the profile was merged before the first step. Nothing is changed.
    """

    async def suppress_ids(connection: AsyncConnection[Any]) -> list[str]:
        try:
            return await identity.suppress_ids(connection, profile, request, CHUNK)
        except identity.ProfileMerged:
            raise PersonChanged from None

    async def detach_anonymous_ids(connection: AsyncConnection[Any]) -> bool:
        return await identity.detach_anonymous_ids(connection, profile, anonymous_ids, CHUNK)

    async def forget_anonymous_ids(connection: AsyncConnection[Any]) -> None:
        merged = await identity.forget_anonymous_ids(connection, profile, anonymous_ids)
        # The properties process has deleted these rows, unless there was no rule at that time.
        counts = await properties.delete_profiles(connection, merged)
        await identity.add_counts(connection, profile, "deleted", counts)

    async def forget_merges(connection: AsyncConnection[Any]) -> bool:
        return await identity.forget_merges(connection, profile, CHUNK)

    while anonymous_ids := await transact(suppress_ids):
        while await transact(detach_anonymous_ids):
            pass
        await transact(forget_anonymous_ids)
    while await transact(forget_merges):
        pass
    await transact(lambda connection: delete_profile(connection, profile))
    await erase_events(transact, profile, progress)
    return await read_erasure(transact, profile)


async def read_erasure(transact: Transact, profile: str) -> Erasure:
    """Return the last erasure of a profile.

    Raises:
        PersonNotFound: there is none.
    """
    erasure = await transact(lambda connection: erasures.read_last(connection, profile))
    if erasure is None:
        raise PersonNotFound
    return erasure


async def readmit_id(settings: Settings, actor: Actor, name: str) -> None:
    """Store events with a suppressed userId or anonymousId again.

    The log of actions does not say which id.

    Raises:
        IdNotSuppressed: events with this id are stored already.
    """
    async with open_connection(settings, "readmit") as connection, connection.transaction():
        readmitted = await suppressed_ids.readmit(connection, name)
        if readmitted:
            await record_action(connection, actor, "id readmitted")
    if not readmitted:
        raise IdNotSuppressed("this id is not suppressed: events with it are stored")


async def find_suppressions(settings: Settings, name: str) -> list[Suppression]:
    """Return how a userId or anonymousId is suppressed; empty if it is not. Changes nothing."""
    async with open_connection(settings, "suppressed") as connection:
        return await suppressed_ids.find_suppressions(connection, name)


async def delete_profile(connection: AsyncConnection[Any], profile: str) -> None:
    """Delete a profile with its properties, as the last step before `erase_events`."""
    await identity.forget_profile(connection, profile)
    for counts in (
        await properties.delete_profiles(connection, [profile]),
        await schedule.delete_profile(connection, profile),
    ):
        await identity.add_counts(connection, profile, "deleted", counts)


async def erase_events(transact: Transact, profile: str, progress: Callable[[int], None]) -> None:
    """Erase the events of a forgotten profile."""

    async def erase_chunk(connection: AsyncConnection[Any]) -> int | None:
        if not await identity.lock_erasure(connection, profile):
            return None
        return await identity.erase_chunk(connection, profile, CHUNK, "command")

    total = 0
    while (erased := await transact(erase_chunk)) is not None:
        total += erased
        progress(total)


async def add_retention(settings: Settings, request: Request) -> Request:
    """Return the request with how long the topics may keep a record, if Kafka answers."""
    try:
        holds = await kafka.read_holding_times(settings)
    except KafkaError as error:
        log.warning(
            "Kafka does not say how long the topics keep records: the ledger says unknown",
            error=type(error).__name__,
        )
        return request
    return replace(
        request,
        topic_holds_ms=holds.get(settings.topic),
        dead_topic_holds_ms=holds.get(settings.dead_topic),
    )
