"""The properties process in a running system, with events that arrive over HTTP."""

import signal
from typing import Any

import pytest

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime import metrics
from merganser.runtime.postgres import connect
from tests.properties.harness import COUNT, PATHS, USER_ID, PropertyHarness
from tests.support import proxy
from tests.support.database import Database
from tests.support.system import System
from tests.support.waiting import equals, eventually

SPENT: dict[str, Any] = {
    "key": "spent",
    "type": "float",
    "events": {"type": "purchase", "aggregation": "sum", "column": "data.price"},
}
TO_SIGN_UP: dict[str, Any] = {
    "key": "secondsToSignUp",
    "type": "float",
    "events": {
        "aggregation": "diff",
        "column": "occurredAt",
        "from": {"type": "view"},
        "to": {"type": "sign-up"},
    },
}
RULES = RuleFile.model_validate({"rules": [USER_ID, COUNT, PATHS, SPENT, TO_SIGN_UP]})


@pytest.fixture
async def ruled(system: System) -> System:
    """A system with rules."""
    await rule_store.apply_file(system.database.connection, RULES)
    return system


async def read_properties(database: Database, user_id: str) -> dict[str, list[str]]:
    """Return all properties of a user."""
    rows = await database.rows(
        'SELECT key, array_agg(value ORDER BY position) FROM "profileProperties" '
        'JOIN profiles ON profiles.guid = "profileGuid" WHERE "userId" = %s GROUP BY key',
        user_id,
    )
    return dict(rows)


async def test_properties_follow_events_merges_and_external_rows(ruled: System) -> None:
    gateway = await ruled.ingest()
    await ruled.resolver()
    await ruled.scanner()
    await ruled.properties()
    for second, path in enumerate(["/", "/mugs"]):
        await gateway.tracked(
            type="view",
            anonymousId="web",
            occurredAt=f"2026-03-01T12:00:0{second}Z",
            data={"path": path},
        )
    await gateway.tracked(
        type="view", anonymousId="phone", occurredAt="2026-03-01T13:00:00Z", data={"path": "/sale"}
    )
    await gateway.tracked(
        type="sign-up", anonymousId="web", userId="1", occurredAt="2026-03-01T12:01:30Z"
    )
    await gateway.tracked(
        type="purchase", userId="1", data={"price": 12.10}, occurredAt="2026-03-01T14:00:00Z"
    )
    before = {
        "userId": ["1"],
        "visits": ["2"],
        "paths": ["/", "/mugs"],
        "spent": ["12.1"],
        "secondsToSignUp": ["90"],
    }
    await eventually(lambda: read_properties(ruled.database, "1"), equals(before))

    await gateway.tracked(
        type="sign-in", anonymousId="phone", userId="1", occurredAt="2026-03-01T15:00:00Z"
    )
    await ruled.database.execute(
        "INSERT INTO events (guid, type, \"userId\") VALUES ('evt_refund', 'purchase', '1')"
    )
    await ruled.database.execute(
        'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
        "evt_refund",
        "price",
        "-2.10",
    )
    after = before | {"visits": ["3"], "paths": ["/", "/mugs", "/sale"], "spent": ["10"]}
    await eventually(lambda: read_properties(ruled.database, "1"), equals(after))
    assert await PropertyHarness(ruled.database).find_disagreements() == []


async def test_the_process_reports_metrics_and_stops_with_status_0(ruled: System) -> None:
    harness = PropertyHarness(ruled.database)
    service = await ruled.properties()
    await harness.add_views(await harness.add_profile("pro_1"), range(5), path="/a")
    await eventually(lambda: harness.read_values("pro_1", "visits"), equals(["5"]))
    await ruled.database.execute(
        'INSERT INTO events (guid, type, "profileGuid", "occurredAt") '
        "VALUES ('evt_gift', 'purchase', 'pro_1', now())"
    )
    await ruled.database.execute(
        "INSERT INTO \"eventData\" (\"eventGuid\", key, value) VALUES ('evt_gift', 'price', 'none')"
    )
    unfit = "merganser_properties_values_unfit_total"
    await eventually(lambda: service.metric(unfit, rule="spent"))
    measured = await service.metrics()
    assert measured.value("merganser_properties_events_counted_total") >= 6
    assert measured.value("merganser_properties_values_written_total") >= 1  # five views at once
    assert measured.value("merganser_properties_step_seconds_count") > 0
    assert measured.value("merganser_properties_backfill_profiles") == -1
    exported = {family.name for family in measured.families if family.name.startswith("merganser_")}
    assert exported <= {family.name for family in metrics.PROPERTIES.collect()}
    assert await service.stop() == 0


async def test_skipped_values_and_broken_rules_are_counted(ruled: System) -> None:
    harness = PropertyHarness(ruled.database)
    service = await ruled.properties(properties_batch=5_000)
    # In one transaction: an event counted before its data exists would count its values twice.
    async with ruled.database.connection.transaction():
        await harness.add_views(await harness.add_profile("pro_1"), [1], path="x" * 20_000)
        await harness.add_views("pro_1", range(2, 1_005), path="/")
    skipped = {"too_long": 1, "capped": 3}
    for reason, count in skipped.items():
        name = f"merganser_properties_values_{reason}_total"
        await eventually(lambda name=name: service.metric(name, rule="paths"), equals(count))  # type: ignore[misc] # the loop awaits it
    await ruled.database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'paths'"""
    )
    broken = "merganser_properties_broken_rules"
    await eventually(lambda: service.metric(broken), equals(1))
    await harness.add_views("pro_1", [9])
    await eventually(lambda: harness.read_values("pro_1", "visits"), equals(["1005"]))
    assert await service.stop() == 0


async def test_a_profile_that_postgres_refuses_does_not_stop_the_process(ruled: System) -> None:
    harness = PropertyHarness(ruled.database)
    await ruled.database.execute(
        """ALTER TABLE "profileProperties" ADD CONSTRAINT refusal CHECK (value <> 'refused')"""
    )
    service = await ruled.properties()
    for number in range(5):
        path = "refused" if number == 2 else "/"
        await harness.add_views(await harness.add_profile(f"pro_{number}"), [1], path=path)
    for number in (0, 1, 3, 4):
        await eventually(lambda n=number: harness.read_values(f"pro_{n}", "paths"), equals(["/"]))  # type: ignore[misc] # the loop awaits it
    aside = "merganser_properties_profiles_set_aside_total"
    await eventually(lambda: service.metric(aside), equals(1))
    assert list(await harness.read_set_aside()) == ["pro_2"]
    assert await service.stop() == 0


async def test_staleness_is_the_age_of_the_oldest_event_change(ruled: System) -> None:
    """Another session holds the lock of the properties process."""
    age = "merganser_properties_staleness_seconds"
    harness = PropertyHarness(ruled.database)
    async with await connect(ruled.database.url, "test") as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('merganser properties'))")
        service = await ruled.properties()
        await harness.add_views(await harness.add_profile("pro_1"), [1])
        await eventually(lambda: service.metric(age), lambda seconds: seconds > 1)
    await eventually(lambda: service.metric(age), equals(0))


async def test_the_process_survives_an_outage_of_postgres(ruled: System) -> None:
    harness = PropertyHarness(ruled.database)
    await harness.add_profile("pro_1")
    async with proxy.run(ruled.database.url) as (network, url):
        service = await ruled.properties(database_url=url)
        await harness.add_views("pro_1", [1])
        await eventually(lambda: harness.read_values("pro_1", "visits"), equals(["1"]))
        await network.stop()
        await harness.add_views("pro_1", [2])
        assert list(await eventually(service.why_not_ready)) == ["postgres"]
        await network.start()
        await eventually(lambda: harness.read_values("pro_1", "visits"), equals(["2"]))
        await network.stop()
        await eventually(service.why_not_ready)
        assert await service.stop() == 0


async def test_a_second_process_takes_over_from_a_killed_one(ruled: System) -> None:
    harness = PropertyHarness(ruled.database)
    await harness.add_profile("pro_1")
    both = [await ruled.properties() for _ in range(2)]
    for turn in range(1, 4):
        await harness.add_views("pro_1", [turn])
        await eventually(lambda: harness.read_values("pro_1", "visits"), equals([str(turn)]))
    both[0].send(signal.SIGKILL)
    await both[0].ended()
    await harness.add_views("pro_1", [9])
    await eventually(lambda: harness.read_values("pro_1", "visits"), equals(["4"]))
    assert await harness.find_disagreements() == []
