"""The migration that bounds states makes the process rebuild all properties from the events."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from merganser.rulebook import rule_store
from schemas import migrations
from tests.properties.harness import COUNT, NOW, PATHS, USER_ID, PropertyHarness
from tests.support import database

BOUNDS = 11
"""The number of the migration."""

OLD_WRITE_STATES = """
INSERT INTO "propertyStates" ("profileGuid", state, "expiresAt")
VALUES ('pro_1', '{"1": 7}'::json, NULL)
ON CONFLICT ("profileGuid") DO UPDATE SET state = excluded.state
"""


async def test_an_upgrade_rebuilds_all_properties(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.available()
    with monkeypatch.context() as patched:
        before = [migration for migration in known if migration.version < BOUNDS]
        patched.setattr(migrations, "available", lambda: before)
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
        # Profiles that are younger than the rules, one counted and one in a rebuild, as an older
        # version stored them.
        for profile in ("pro_1", "pro_2"):
            await harness.add_profile(profile)
            await harness.add_views(profile, range(3), path="/a")
        await opened.execute('DELETE FROM "eventChanges"')
        await opened.execute(
            """
            INSERT INTO "propertyStates" VALUES ('pro_1', '{"1": 3, "2": [[1, "x", 0, "/a"]]}');
            INSERT INTO "propertyRecounts" VALUES ('pro_2', now(), '{"1": 3}', '2026-06-15', 'evt');
            INSERT INTO "profileProperties" VALUES ('pro_1', 'paths', 0, repeat('x', 50000));
            """
        )
        revisions = set(await opened.column('SELECT revision FROM "profilePropertyRules"'))

        applied_now = await migrations.migrate(empty_database_url)
        assert BOUNDS in [migration.version for migration in applied_now]
        with pytest.raises(psycopg.errors.NotNullViolation):
            await opened.execute(OLD_WRITE_STATES)  # as a process of the older version does
        assert await harness.read_values("pro_1", "paths") == ["x" * 50_000], (
            "values stay until the rebuild"
        )
        applied = await rule_store.read_rules(opened.connection)
        assert {stored.rule.key for stored in applied if stored.backfilled_to == ""} == {
            "paths",
            "visits",
        }
        assert len(revisions & {stored.revision for stored in applied}) == 1, (
            "only the revision of userId stays"
        )

        await harness.add_views("pro_1", [9], path="/b")
        await harness.add_profile("pro_3")
        await harness.add_views("pro_3", [1], path="/c")
        await harness.run_process()
        assert await harness.read_values("pro_1", "paths") == ["/a"] * 3 + ["/b"]
        assert await harness.read_values("pro_2", "visits") == ["3"]
        assert await harness.read_values("pro_3", "paths") == ["/c"]
        assert await harness.find_disagreements() == []
        assert await opened.value('SELECT "occurredAt" FROM events ORDER BY 1 LIMIT 1') == NOW
