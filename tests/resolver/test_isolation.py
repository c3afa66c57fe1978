"""A record that Postgres rejects becomes a dead letter and does not affect others."""

import pytest

from tests.support.events import event
from tests.support.system import System
from tests.support.topics import record_of
from tests.support.waiting import equals, eventually

RAISES = """
    CREATE FUNCTION hostile() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'secret' USING ERRCODE = '{state}';
    END
    $$;
    CREATE TRIGGER hostile BEFORE INSERT ON events
        FOR EACH ROW WHEN (NEW.type = 'hostile') EXECUTE FUNCTION hostile()
"""


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("22003", "NumericValueOutOfRange 22003"),
        ("23503", "ForeignKeyViolation 23503"),
        ("54000", "ProgramLimitExceeded 54000"),
        ("XX000", "InternalError_ XX000"),
        ("P0001", "RaiseException P0001"),  # plain RAISE EXCEPTION
        ("38000", "ExternalRoutineException 38000"),
        # Usually a retry of these succeeds; for these rows each retry fails.
        ("40001", "SerializationFailure 40001"),
        ("57014", "QueryCanceled 57014"),
        ("53200", "OutOfMemory 53200"),
    ],
)
async def test_a_record_whose_row_always_fails(system: System, state: str, reason: str) -> None:
    await system.database.connection.execute(RAISES.format(state=state).encode())
    kinds = ["fine"] * 60
    kinds[17] = kinds[41] = "hostile"
    await system.events.publish(
        *(record_of(event(user=f"u{n}", kind=kind)) for n, kind in enumerate(kinds))
    )
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(58), within=20)
    letters = await eventually(system.dead.records, lambda found: len(found) == 2)
    assert {letter.headers["reason"] for letter in letters} == {b"refused"}
    assert all(letter.headers["error"].decode().startswith(reason) for letter in letters)
    states = 'SELECT kind, reason, attempts, state FROM "setAside"'
    await eventually(
        lambda: system.database.rows(states), equals([("record", "refused", 1, "open")] * 2)
    )
    assert resolver.running


async def test_a_unique_violation_that_no_other_worker_caused(system: System) -> None:
    """It becomes a dead letter at once: only conflicts between workers are retried."""
    await system.database.execute(
        "CREATE UNIQUE INDEX mine ON events (type) WHERE type = 'hostile'"
    )
    resolver = await system.resolver()
    await system.events.publish_events([event("1", kind="hostile"), event("2", kind="hostile")])
    await eventually(lambda: system.database.count("setAside"), equals(1))
    assert await system.database.count("events") == 1
    tried_again = [line for line in resolver.log_lines if "trying again" in line["event"]]
    assert tried_again == []
