"""The migration that bounds states: all is computed from the events again, under way or not."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from merganser.rulebook import rule_store
from schemas import migrations
from tests.properties.harness import COUNT, NOW, PATHS, USER_ID, PropertyHarness
from tests.support import database

BOUNDS = 11
"""Its number."""

OLD_PUT_STATES = """
INSERT INTO "propertyStates" ("profileGuid", state, "expiresAt")
VALUES ('pro_1', '{"1": 7}'::json, NULL)
ON CONFLICT ("profileGuid") DO UPDATE SET state = excluded.state
"""


async def test_an_upgrade_computes_all_properties_again(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.available()
    with monkeypatch.context() as earlier:
        before = [one for one in known if one.version < BOUNDS]
        earlier.setattr(migrations, "available", lambda: before)
        await migrations.migrate(empty_database_url)
    async with database.opened(empty_database_url) as opened:
        harness = PropertyHarness(opened)
        for rule in (USER_ID, COUNT, PATHS):
            await opened.execute(
                'INSERT INTO "profilePropertyRules" (key, definition, "appliedAt", "backfilledTo") '
                "VALUES (%s, %s, now(), NULL)",
                *(rule["key"], Jsonb(rule)),
            )
        await opened.execute('SELECT "takeNotes"(true)')
        # A profile younger than the rules, as an older version left it: counted, and being counted.
        for profile in ("pro_1", "pro_2"):
            await harness.profile(profile)
            await harness.views(profile, range(3), path="/a")
        await opened.execute('DELETE FROM "eventChanges"')
        await opened.execute(
            """
            INSERT INTO "propertyStates" VALUES ('pro_1', '{"1": 3, "2": [[1, "x", 0, "/a"]]}');
            INSERT INTO "propertyRecounts" VALUES ('pro_2', now(), '{"1": 3}', '2026-06-15', 'evt');
            INSERT INTO "profileProperties" VALUES ('pro_1', 'paths', 0, repeat('x', 50000));
            """
        )
        revisions = set(await opened.column('SELECT revision FROM "profilePropertyRules"'))

        assert BOUNDS in [one.version for one in await migrations.migrate(empty_database_url)]
        with pytest.raises(psycopg.errors.NotNullViolation):
            await opened.execute(OLD_PUT_STATES)  # by a process of the older version
        assert await harness.value("pro_1", "paths") == ["x" * 50_000], "it stays until then"
        applied = await rule_store.read_rules(opened.connection)
        assert {one.rule.key for one in applied if one.backfilled_to == ""} == {"paths", "visits"}
        assert len(revisions & {one.revision for one in applied}) == 1, "that of userId"

        await harness.views("pro_1", [9], path="/b")
        await harness.profile("pro_3")
        await harness.views("pro_3", [1], path="/c")
        await harness.serve()
        assert await harness.value("pro_1", "paths") == ["/a"] * 3 + ["/b"]
        assert await harness.value("pro_2", "visits") == ["3"]
        assert await harness.value("pro_3", "paths") == ["/c"]
        assert await harness.disagreements() == []
        assert await opened.value('SELECT "occurredAt" FROM events ORDER BY 1 LIMIT 1') == NOW
