"""What other processes write while a person is erased does not stay."""

import asyncio

import pytest

from merganser.admin import forget as admin
from merganser.admin.forget import delete_profile
from merganser.identity.forget import Request
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from tests.admin.persons import (
    AGES,
    ANN,
    BOB,
    DOCUMENTED,
    PLANS,
    Person,
    apply_rules,
    find_traces,
    linked,
    read_tables,
)
from tests.admin.test_erasure_ledger import settings_of
from tests.decoration.harness import query, url_of
from tests.identity.test_trail import at, read_profiles, resolve
from tests.properties.harness import COUNT, PATHS, PropertyHarness
from tests.support.actions import OPERATOR
from tests.support.command import command
from tests.support.database import Database
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually


async def publish_live(system: System, person: Person, stop: asyncio.Event) -> int:
    """Publish events of a person, and rows of another system, until the test stops it."""
    published = 0
    while not stop.is_set():
        devices = (person.phone, person.laptop, person.tablet)
        await system.events.publish_events(
            [
                *(linked(person, device, published) for device in devices),
                *(event(None, device, "view", published, path=person.mark) for device in devices),
            ]
        )
        await system.database.execute(
            """INSERT INTO events (type, "userId", "anonymousId") VALUES ('row', %s, %s)""",
            person.user_id,
            person.phone,
        )
        published += 2 * len(devices) + 1
    return published


async def test_events_that_arrive_during_an_erasure_leave_no_trace(
    system: System, source_database: Database
) -> None:
    database = system.database
    system.env["CRM_URL"] = url_of(source_database.url)
    await apply_rules(database, COUNT, PATHS, query("plan", sql=PLANS), query("age", sql=AGES))
    await system.resolver()
    await system.scanner()
    await system.properties()
    await system.decoration()
    stop = asyncio.Event()
    publishing = [asyncio.create_task(publish_live(system, person, stop)) for person in (ANN, BOB)]
    plan = """SELECT count(*) FROM "profileProperties" WHERE key = 'plan'"""
    await eventually(lambda: database.value(plan), equals(2))
    guid = await database.profile_of(ANN.user_id)
    forgotten = await command(system.env, "forget", ANN.user_id, "--reason", "asked", "--yes")
    assert forgotten.status == 0, forgotten.err
    stop.set()
    _, of_bob = await asyncio.gather(*publishing)
    await system.consumed()
    await eventually(database.unresolved, equals(0))
    for table in ("eventMoves", "eventChanges", "propertyRecounts"):
        await eventually(lambda: database.count(table), equals(0))  # noqa: B023 - awaited at once
    assert find_traces(await read_tables(database), {*ANN, guid}) <= {*DOCUMENTED.items()}
    assert await database.count("events") == of_bob
    await system.cli("audit", "--properties")


async def test_a_visitor_who_merges_before_the_first_step_is_not_half_erased(
    database: Database,
) -> None:
    """The visitor signs in while the command waits for its confirmation."""
    await resolve(database, EventIds("evt_visit", at(1), None, "phone"))
    await resolve(database, EventIds("evt_laptop", at(2), "ann", "laptop"))
    visitor = (await read_profiles(database))["evt_visit"]
    request, settings = Request(visitor, "me", "a request", "all"), settings_of(database)
    person = await admin.find_person(settings, request)
    await resolve(database, EventIds("evt_sign_in", at(3), "ann", "phone"))
    before = await read_tables(database)
    with pytest.raises(admin.PersonChanged):
        await admin.forget_person(settings, OPERATOR, person, request, lambda _: None)
    assert await read_tables(database) == before
    found = await admin.find_person(settings, request)
    assert found.profile == await database.profile_of("ann")


async def test_values_that_a_properties_step_writes_after_an_erasure_are_deleted(
    database: Database,
) -> None:
    harness = PropertyHarness(database)
    await harness.apply(COUNT)
    await harness.add_profile("pro_bob", "bob")
    await harness.add_views("pro_bob", [1])
    await harness.run_steps()
    await harness.add_profile("pro_ann", "ann")
    for profile in ("pro_ann", "pro_bob"):
        await harness.add_views(profile, [2])
    states = """SELECT count(*) FROM "propertyStates" WHERE "profileGuid" = 'pro_ann'"""
    async with (
        await connect(database.url, "blocker") as blocker,
        await connect(database.url, "forget") as forget,
    ):
        async with blocker.transaction():
            await blocker.execute(
                """SELECT FROM "propertyStates" WHERE "profileGuid" = 'pro_bob' FOR UPDATE"""
            )
            step = asyncio.create_task(harness.run_process(at_most=1))
            await eventually(database.lock_waits, equals(1))
            async with forget.transaction():
                await delete_profile(forget, "pro_ann")
        await step
    assert await database.value(states) == 1, "the step saw the profile"
    await harness.run_process()
    assert await database.value(states) == 0
    assert await harness.read_values("pro_ann", "visits") == []
    assert await harness.read_values("pro_bob", "visits") == ["2"]
