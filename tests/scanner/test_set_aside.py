"""The scanner sets failing rows, moves and erasures aside until an operator retries them."""

import json
from typing import Any

from merganser.identity import forget
from merganser.identity.forget import Request
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import equals, eventually

FORBIDDEN = """
    ALTER TABLE events ADD CONSTRAINT mine CHECK (type <> 'secret' OR "profileGuid" IS NULL)
"""
"""A constraint of an operator; a row violates it once it is resolved."""

STUCK = """
    CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'secret' USING ERRCODE = 'numeric_value_out_of_range';
    END
    $$;
    CREATE TRIGGER stuck BEFORE UPDATE OR DELETE ON events
        FOR EACH ROW WHEN (OLD.type = 'secret') EXECUTE FUNCTION stuck()
"""


async def items(system: System, *arguments: str) -> list[dict[str, Any]]:
    """Return the set-aside items that `merganser dead list` prints; that needs no Kafka."""
    kinds = [f"--kind={kind}" for kind in ("row", "move", "erasure")]
    output = await system.cli("dead", "list", "--json", *kinds, *arguments)
    return [json.loads(line) for line in output.splitlines()]


async def open_items(service: Service, kind: str) -> float:
    return await service.metric("merganser_set_aside_open", kind=kind)


async def test_failing_rows_do_not_affect_others(system: System) -> None:
    await system.database.execute(FORBIDDEN)
    await system.database.execute("""
        INSERT INTO events (guid, type, "userId", "createdAt")
        SELECT 'evt_' || n, CASE WHEN n IN (7, 8, 61) THEN 'secret' ELSE 'fine' END, 'user' || n,
            '2020-01-01'::timestamptz + n * interval '1 second'
        FROM generate_series(1, 100) AS n
    """)
    scanner = await system.scanner(scanner_batch=40)
    await eventually(system.database.unresolved, equals(3))
    await eventually(lambda: open_items(scanner, "row"), equals(3))
    found = await items(system)
    assert {item["item"] for item in found} == {"row:evt_7", "row:evt_8", "row:evt_61"}
    assert all(item["reason"].startswith("CheckViolation 23514") for item in found)
    assert await scanner.metric("merganser_scanner_unresolved_rows") == 0
    assert await scanner.metric("merganser_scanner_unresolved_oldest_seconds") == 0
    assert await scanner.why_not_ready() == {}

    # Rows behind them are resolved, and the scanner does not retry them by itself.
    await system.database.execute("""INSERT INTO events (type, "userId") VALUES ('later', '1')""")
    await eventually(system.database.unresolved, equals(3))
    assert {item["attempts"] for item in await items(system)} == {1}

    # A retry fails again while the constraint exists; without it the retry succeeds.
    await system.cli("dead", "retry", "row:evt_7")
    again = 'SELECT attempts, state FROM "setAside" WHERE subject = %s'
    await eventually(lambda: system.database.rows(again, "evt_7"), equals([(2, "open")]))
    await system.database.execute("ALTER TABLE events DROP CONSTRAINT mine")
    await system.cli("dead", "drop", "row:evt_8", "--yes")
    await system.cli("dead", "retry", "--kind=row")
    await eventually(system.database.unresolved, equals(1))
    assert await items(system) == []
    assert [item["item"] for item in await items(system, "--handled")] == ["row:evt_8"]
    assert "secret" not in json.dumps(scanner.log_lines)
    shown = await system.cli("dead", "show", "row:evt_8")
    assert "dropped" in shown
    assert "CheckViolation" in shown


async def test_a_deleted_row_is_no_longer_set_aside(system: System) -> None:
    await system.database.execute(FORBIDDEN)
    insert = """INSERT INTO events (guid, type, "userId") VALUES ('evt_1', %s, 'user')"""
    await system.database.execute(insert, "secret")
    scanner = await system.scanner()
    await eventually(lambda: open_items(scanner, "row"), equals(1))
    await system.database.execute("DELETE FROM events")
    assert await items(system) == []
    await system.database.execute(insert, "fine")
    await eventually(system.database.unresolved, equals(0))


async def insert_pending_moves(system: System) -> None:
    """Insert two pending moves; one has an event that `STUCK` makes fail."""
    await system.database.execute("""
        CREATE SEQUENCE numbers;
        INSERT INTO profiles (guid, "userId") VALUES ('pro_ann', 'ann'), ('pro_bob', 'bob');
        INSERT INTO "anonymousIds" VALUES
            ('a', 'pro_ann', 'ann', now(), 'evt_a'), ('b', 'pro_bob', 'bob', now(), 'evt_b');
        INSERT INTO "eventMoves" VALUES ('a', 'pro_a', '2020-01-01'), ('b', 'pro_b', '2020-01-02');
        INSERT INTO events (type, "anonymousId", "profileGuid")
        SELECT CASE WHEN n = 3 THEN 'secret' ELSE 'fine' END, 'a', 'pro_a'
        FROM generate_series(1, 5) AS n
        UNION ALL
        SELECT 'fine', 'b', 'pro_b' FROM generate_series(1, 5)
    """)


async def test_a_failing_move_does_not_affect_others(system: System) -> None:
    await insert_pending_moves(system)
    await system.database.execute(STUCK)
    scanner = await system.scanner()
    of_bob = """SELECT count(*) FROM events WHERE "profileGuid" = 'pro_bob'"""
    await eventually(lambda: system.database.value(of_bob), equals(5), within=30)
    (item,) = await items(system)
    assert (item["item"], item["place"]) == ("move:pro_a", "a")
    assert item["reason"].startswith("NumericValueOutOfRange 22003")
    await eventually(lambda: open_items(scanner, "move"), equals(1))

    await system.database.execute("DROP TRIGGER stuck ON events")
    await system.cli("dead", "retry", "move:pro_a")
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    assert await system.database.count("setAside") == 0
    assert scanner.running


async def test_a_failing_erasure_does_not_affect_others(system: System) -> None:
    await system.resolver()
    await system.events.publish_events(
        [event(user, kind=kind) for user, kind in (("ann", "secret"), ("bob", "fine"))]
    )
    await eventually(lambda: system.database.count("events"), equals(2))
    for user in ("ann", "bob"):
        profile = await system.database.profile_of(user)
        async with system.database.connection.transaction():
            request = Request(user, "tests", "asked", "all")
            await forget.begin(system.database.connection, profile, request)
    await system.database.execute("DELETE FROM profiles")
    await system.database.execute(STUCK)
    scanner = await system.scanner()
    left = "SELECT type FROM events"
    await eventually(lambda: system.database.column(left), equals(["secret"]), within=30)
    await eventually(lambda: open_items(scanner, "erasure"), equals(1))
    await system.database.execute("DROP TRIGGER stuck ON events")
    await system.cli("dead", "retry", "--kind=erasure")
    await eventually(lambda: system.database.count("erasures"), equals(0))
    assert await system.database.count("events") == 0
    assert await system.database.count("setAside") == 0
