"""The log has a line for each batch, no line for an event, and no ids."""

from typing import Any

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from tests.properties.harness import COUNT, USER_ID, PropertyHarness
from tests.resolver.backlog import Backlog
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.topics import Record
from tests.support.waiting import equals, eventually

MARK = "s3cr3t"
"""Part of all ids in these tests."""

BATCHES = "merganser_batch_seconds_count"
CONSUMED = "merganser_resolver_records_consumed_total"


def lines(service: Service, message: str) -> list[dict[str, Any]]:
    """Return the lines with a message; check that the log has no ids."""
    for trace in ("user-", "visitor-", "evt_", "pro_", MARK):
        assert trace not in service.log
    return [line for line in service.log_lines if line["event"] == message]


def total(found: list[dict[str, Any]], name: str) -> int:
    return sum(line[name] for line in found)


async def test_a_resolver_logs_a_line_for_each_batch(system: System) -> None:
    backlog = await Backlog.published(system, 1000)
    await system.events.publish(Record(MARK.encode(), MARK.encode()))
    await system.events.publish_events(backlog.events[:10])
    resolver = await system.resolver(resolver_batch=20)
    await eventually(lambda: resolver.metric(CONSUMED), equals(1011))
    found = lines(resolver, "batch written")
    assert len(found) == await resolver.metric(BATCHES)
    assert 1000 / 20 <= len(found) < 1000
    names = ("records", "events", "repeated", "deleted", "suppressed", "dead")
    assert {name: total(found, name) for name in names} == {
        "records": 1011,
        "events": 1000,
        "repeated": 10,
        "deleted": 0,
        "suppressed": 0,
        "dead": 1,
    }
    assert total(found, "merges") == (await resolver.metrics()).total(
        "merganser_profile_merges_total"
    )
    assert all(0 < line["seconds"] < 60 for line in found)
    assert {line["level"] for line in found} == {"info"}


async def test_a_refused_record_adds_a_line_for_each_part_of_its_batch(system: System) -> None:
    """The resolver splits the batch to find the record."""
    await system.database.execute(
        """ALTER TABLE events ADD CONSTRAINT mine CHECK (type <> 'refused')"""
    )
    kinds = ["fine"] * 7 + ["refused"]
    await system.events.publish_events(event(user=f"user-{MARK}", kind=kind) for kind in kinds)
    resolver = await system.resolver()
    await eventually(lambda: resolver.metric(CONSUMED), equals(8))
    found = lines(resolver, "batch written")
    assert len(found) == await resolver.metric(BATCHES)
    assert total(found, "events") == 7
    assert total(found, "dead") == 1


async def test_a_scanner_logs_a_line_for_each_scan_with_rows(system: System) -> None:
    await system.database.execute(
        """INSERT INTO events (type, "anonymousId")
        SELECT 'row', 'visitor-' || n FROM generate_series(1, 95) n"""
    )
    scanner = await system.scanner(scanner_batch=10)
    await eventually(system.database.unresolved, equals(0))
    scanned = "merganser_scanner_rows_resolved_total"
    await eventually(lambda: scanner.metric(scanned), equals(95))
    found = lines(scanner, "rows scanned")
    assert len(found) == await scanner.metric(BATCHES) == 10
    assert total(found, "rows") == total(found, "resolved") == 95


async def test_properties_log_a_line_for_each_step_with_changes(system: System) -> None:
    await rule_store.apply_file(
        system.database.connection, RuleFile.model_validate({"rules": [USER_ID, COUNT]})
    )
    harness = PropertyHarness(system.database)
    await harness.add_profile("pro_1")
    for start in range(0, 500, 50):
        await harness.add_views("pro_1", range(start, start + 50))
    properties = await system.properties(properties_batch=50, properties_interval=0.05)
    counted = "merganser_properties_events_counted_total"
    await eventually(lambda: properties.metric(counted), equals(500))
    found = lines(properties, "properties brought up to date")
    assert total(found, "events") == 500
    assert 2 <= len(found) <= await properties.metric("merganser_properties_step_seconds_count")
    assert len(found) < 500
