"""`merganser erasures` on a real system."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from tests.cli.test_forget import ANN, LAPTOP, PHONE, forget, publish_history
from tests.support.command import command
from tests.support.system import System
from tests.support.waiting import equals, eventually

DAY = 24 * 3600 * 1000


async def test_the_list_says_who_was_erased_why_and_what_the_topics_hold(system: System) -> None:
    await system.resolver()
    await publish_history(system)
    profile = await system.database.profile_of(ANN)
    await eventually(lambda: system.events.configured("retention.ms"), equals(str(7 * DAY)))
    await eventually(lambda: system.dead.configured("retention.ms"), equals(str(30 * DAY)))
    await forget(system)
    listed = await command(system.env, "erasures", "list", "--json")
    assert listed.status == 0, listed.err
    (erasure,) = listed.lines
    assert (erasure["profileGuid"], erasure["reason"]) == (profile, "a request")
    assert erasure["requestedBy"]
    assert erasure["finishedAt"] >= erasure["startedAt"]
    until = datetime.fromisoformat(erasure["startedAt"]) + timedelta(days=14)
    assert erasure["topic"] == {"holdsMs": 14 * DAY, "until": until.isoformat()}
    assert erasure["deadTopic"]["holdsMs"] == 37 * DAY
    assert {
        (count["table"], count["action"], count["doneBy"]): count["rows"]
        for count in erasure["counts"]
    } == {
        ("anonymousIds", "deleted", "command"): 2,
        ("eventData", "deleted", "command"): 3,
        ("events", "changed", "command"): 1,
        ("events", "deleted", "command"): 4,
        ("profileMerges", "deleted", "command"): 1,
        ("profiles", "deleted", "command"): 1,
    }
    for name in (ANN, PHONE, LAPTOP, profile):
        found = await command(system.env, "erasures", "list", "--id", name)
        assert [line["guid"] for line in found.lines] == [erasure["guid"]], name
    other = await command(system.env, "erasures", "list", "--id", "bob")
    assert (other.status, other.lines) == (0, [])


async def test_counts_are_exact_while_the_scanner_helps(system: System) -> None:
    events = 30_000
    await system.scanner(scanner_move=100)
    await system.database.execute(
        """WITH ann AS (INSERT INTO profiles (guid, "userId") VALUES ('pro_1', 'ann') RETURNING *)
        INSERT INTO events (type, "userId", "profileGuid", "occurredAt")
        SELECT 't', "userId", guid, now() FROM ann, generate_series(1, %s)""",
        events,
    )
    result = await forget(system, name="ann")
    (line,) = [line for line in result.log if line["event"] == "person forgotten"]
    assert line["events"] == events
    counted = """SELECT sum(rows)::int FROM "erasureCounts" WHERE "table" = 'events'"""
    assert await system.database.value(counted) == events


def find_partial_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.partial"))


REFUSE_DELETIONS = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE TRIGGER refuse BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def test_a_file_is_written_and_replayed(system: System, tmp_path: Path) -> None:
    """What a replay erases is in `tests/admin/test_erasures_replay.py`."""
    resolver = await system.resolver()
    await publish_history(system)
    await forget(system)
    path = tmp_path / "erasures.jsonl"
    assert (await command(system.env, "erasures", "export", str(path))).status == 0
    exported = await command(system.env, "erasures", "export")
    assert exported.out == path.read_text()
    assert [line["kind"] for line in exported.lines][:2] == ["header", "erasure"]
    assert find_partial_files(tmp_path) == []

    # A database in which none of it has happened is restored.
    resolver.close()
    await system.database.execute('TRUNCATE "erasureLedger", erasures, "suppressedIds" CASCADE')
    await system.database.execute(
        """WITH known AS (INSERT INTO profiles (guid, "userId") VALUES ('pro_1', %s) RETURNING *)
        INSERT INTO events (type, "userId", "profileGuid") SELECT 't', "userId", guid FROM known""",
        ANN,
    )
    unconfirmed = await command(system.env, "erasures", "replay", str(path))
    assert unconfirmed.status == 1
    await system.database.execute(REFUSE_DELETIONS)
    failed = await command(system.env, "erasures", "replay", str(path), "--yes")
    assert failed.status == 1
    assert "pro_1: RaiseException P0001" in failed.err
    (line,) = [line for line in failed.log if line["event"] == "erasures replayed"]
    assert (line["imported"], line["profiles"], line["failures"]) == (1, 0, 1)
    await system.database.execute("DROP TRIGGER refuse ON events")
    replayed = await command(system.env, "erasures", "replay", str(path), "--yes")
    assert replayed.status == 0, replayed.err
    (line,) = [line for line in replayed.log if line["event"] == "erasures replayed"]
    assert (line["imported"], line["profiles"], line["events"]) == (0, 1, 1)
    assert (await command(system.env, "suppressed", ANN)).status == 0
    path.write_text(json.dumps({"kind": "header"}))
    damaged = await command(system.env, "erasures", "replay", str(path), "--yes")
    assert damaged.status == 1
    assert "is not a file of `merganser erasures export`" in " ".join(damaged.err.split())
    unwritable = await command(system.env, "erasures", "export", str(tmp_path / "no" / "file"))
    assert unwritable.status == 1
    assert "cannot write" in unwritable.err


async def test_a_mistyped_id_fails_while_an_erasure_is_unfinished(system: System) -> None:
    await system.database.execute(
        """WITH entry AS (
            INSERT INTO "erasureLedger" ("profileGuid", "requestedBy", reason, suppresses)
            VALUES ('pro_1', 'me', 'why', 'all') RETURNING *
        ), begun AS (
            INSERT INTO erasures ("profileGuid", "ledgerGuid") SELECT "profileGuid", guid FROM entry
        ), ids AS (
            INSERT INTO "erasedIds"
            SELECT guid, 'userId', "suppressionHash"('userId', 'ann'), true FROM entry
        )
        INSERT INTO events (type, "userId", "profileGuid") VALUES ('t', 'ann', 'pro_1')"""
    )
    mistyped = await command(system.env, "forget", "anne", "--reason", "why", "--yes")
    assert mistyped.status == 1
    assert "no profile has this userId" in mistyped.err
    assert await system.database.count("events") == 1
    again = await command(system.env, "forget", "ann", "--reason", "why", "--yes")
    assert again.status == 0, again.err
    assert await system.database.count("events") == 0
    assert (await command(system.env, "forget", "ann", "--reason", "why", "--yes")).status == 1
