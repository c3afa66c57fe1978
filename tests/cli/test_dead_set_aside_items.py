"""`merganser dead` on set-aside items of all kinds."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from merganser.cli.main import app
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

ITEMS = """
    INSERT INTO "setAside" (kind, subject, place, reason) VALUES
        ('row', 'evt_1', '', 'a reason'), ('profile', 'pro_1', '', 'a reason'),
        ('value', 'pro_1', 'email', 'a reason'), ('value', 'pro_1', 'plan', 'a reason'),
        ('move', 'pro_2', 'phone', 'a reason'), ('erasure', 'pro_3', '', 'a reason')
"""
APPLIED_QUERY_RULES = """
    INSERT INTO profiles VALUES ('pro_1', 'ann');
    INSERT INTO "propertySources" VALUES ('crm', '{"url": "CRM_URL"}');
    INSERT INTO "profilePropertyRules" (key, definition)
    SELECT key, jsonb_build_object('key', key, 'type', 'string', 'query', jsonb_build_object(
        'source', 'crm', 'sql', 'SELECT id, x FROM users WHERE id = ANY(:userIds)', 'column', 'x'))
    FROM unnest(ARRAY['email', 'plan']) AS keys(key);
    INSERT INTO "profileDecorations" VALUES ('pro_1', 'crm', now() + interval '1 hour')
"""
STATES = """
    SELECT concat_ws(':', kind, subject, nullif(place, '')) FROM "setAside"
    WHERE state = %s ORDER BY 1
"""


async def dead(system: System, *arguments: str) -> Result:
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["dead", *arguments], env=system.env, catch_exceptions=False
    )


async def test_items_are_listed_selected_and_shown(system: System) -> None:
    await system.database.execute(ITEMS)
    table = (await dead(system, "list", "--table")).stdout
    assert "0 letters" in table
    assert "6 set-aside items" in table
    for arguments, count in (
        (["row:evt_1"], 1),
        (["value:pro_1"], 2),
        (["value:pro_1", "row:evt_1"], 3),
        (["--kind", "value", "--kind", "move"], 3),
        (["--since", "1h"], 6),
        (["--until", "1h"], 0),
        (["--reason", "refused"], 0),
        (["--kind", "row", "value:pro_1"], 0),
    ):
        listed = await dead(system, "list", "--json", *arguments)
        assert len(listed.stdout.splitlines()) == count, arguments
    shown = (await dead(system, "show", "move:pro_2")).stdout
    assert "phone" in shown
    assert "open" in shown
    assert (await dead(system, "show", "row:evt_2")).exit_code == 1


@pytest.mark.parametrize("wrong", ["row", "row:", "record:evt_1", "cow:evt_1", "1:x"])
async def test_an_invalid_item_name_is_refused(system: System, wrong: str) -> None:
    assert (await dead(system, "show", wrong)).exit_code == 2


async def test_set_aside_items_need_no_kafka(system: System) -> None:
    system.env["MERGANSER_KAFKA_BOOTSTRAP"] = "127.0.0.1:1"
    await system.database.execute(ITEMS)
    assert (await dead(system, "drop", "row:evt_1", "--yes")).exit_code == 0
    assert await system.database.column(STATES, "dropped") == ["row:evt_1"]


async def test_retried_items_are_scheduled_for_their_processes(system: System) -> None:
    await system.database.execute(APPLIED_QUERY_RULES)
    await system.database.execute(ITEMS)
    assert (await dead(system, "retry", "value:pro_1", "profile:pro_1")).exit_code == 0
    retried = ["profile:pro_1", "value:pro_1:email", "value:pro_1:plan"]
    assert await system.database.column(STATES, "retried") == retried
    assert await system.database.rows(
        'SELECT "profileGuid", source, "dueAt" <= now() FROM "profileDecorations"'
    ) == [("pro_1", "crm", True)]
    assert await system.database.column('SELECT "profileGuid" FROM "propertyRecounts"') == ["pro_1"]
    # An item that is not open cannot be dropped.
    assert (await dead(system, "drop", "profile:pro_1", "--yes")).exit_code == 1
    assert (await dead(system, "retry", "--all")).exit_code == 0
    assert await system.database.column(STATES, "open") == []


@pytest.mark.parametrize(
    "selection", [["--all"], ["--kind", "record"], ["record:old/0/17", "record:events/1/2"]]
)
async def test_records_whose_letters_are_deleted_can_be_dropped(
    system: System, selection: list[str]
) -> None:
    """Retention of the dead-letter topic deletes letters; other clusters have other letters."""
    await system.resolver()
    await system.events.publish_events([event("null")])
    await eventually(lambda: system.database.count("setAside"), equals(1))
    await system.database.execute("""
        INSERT INTO "setAside" (kind, subject, place, reason) VALUES
            ('record', 'old/0/17', 'old cluster', 'nobody'),
            ('record', 'events/1/2', 'a cluster', 'failed')
    """)
    listed = [
        json.loads(line) for line in (await dead(system, "list", "--json")).stdout.split("\n")[:-1]
    ]
    names = {line.get("item", line.get("letter")) for line in listed}
    assert {"record:old/0/17", "record:events/1/2"} < names
    assert len(listed) == 3
    assert "old cluster" in (await dead(system, "show", "record:old/0/17")).stdout

    retried = await dead(system, "retry", "record:old/0/17")
    assert "drop them: record:old/0/17" in retried.stderr
    assert len(await system.database.column(STATES, "open")) == 3

    assert (await dead(system, "drop", "--yes", *selection)).exit_code == 0
    left = await system.database.column(STATES, "open")
    assert "record:old/0/17:old cluster" not in left
    assert "record:events/1/2:a cluster" not in left
