"""Each command that changes something writes it to the log of actions, and no other does."""

import json
from pathlib import Path

from merganser.cli.terminal import operator
from merganser.identity.plan import EventIds
from tests.identity.test_trail import PAGES, at, page_views, resolve
from tests.properties.harness import COUNT, PATHS, USER_ID
from tests.support.actions import read_actions
from tests.support.command import command
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import Record
from tests.support.waiting import equals, eventually


async def run(system: System, *arguments: str, status: int = 0) -> str:
    result = await command(system.env, *arguments)
    assert result.status == status, result.err
    return result.out.strip()


async def find_actions(system: System) -> list[tuple[object, ...]]:
    """Return action, subject, reason and counts that are not 0; check who did it."""
    actions = await read_actions(system.database)
    assert {(source, actor) for source, actor, *_ in actions} <= {("cli", operator())}
    await system.database.execute("DELETE FROM actions")
    return [
        (action, subject, reason, {name: count for name, count in counts.items() if count})
        for _, _, action, subject, reason, counts in actions
    ]


async def test_keys(system: System, tmp_path: Path) -> None:
    await run(system, "keys", "create", "shop", "--permission", "console:read")
    await run(system, "keys", "create", "page", "--publishable")
    guids = dict(await system.database.rows('SELECT name, guid FROM "apiKeys"'))
    shop, page = f"shop ({guids['shop']})", f"page ({guids['page']})"
    await run(system, "keys", "change", "page", "--rate", "5")
    await run(system, "keys", "login", "shop")
    await run(system, "keys", "revoke", "shop")
    await run(system, "keys", "revoke", "shop", status=1)
    await run(system, "keys", "login", "shop", status=1)
    await run(system, "keys", "list")
    assert await find_actions(system) == [
        ("key created", shop, None, {}),
        ("key created", page, None, {}),
        ("key changed", page, None, {}),
        ("login link created", "shop", None, {}),
        ("key revoked", shop, None, {}),
    ]
    for _ in range(2):
        file = str(tmp_path / "key")
        await run(system, "keys", "ensure", "stack", "--secret-file", file)
    assert [action for action, *_ in await find_actions(system)] == ["key created"]


async def test_dead_letters_and_items(system: System) -> None:
    await system.resolver()
    await system.events.publish(*(Record(b"%d" % n, partition=0) for n in range(7)))
    await eventually(system.dead.size, equals(7))
    await system.database.execute(
        """INSERT INTO "setAside" (kind, subject, reason) VALUES ('row', 'evt_1', 'a reason'),
        ('profile', 'pro_1', 'a reason')"""
    )
    first = "0:0"
    await run(system, "dead", "list")
    await run(system, "dead", "show", first)
    await run(system, "dead", "drop", first, "--yes")
    await run(system, "dead", "drop", first, "--yes")
    await run(system, "dead", "retry", "row:evt_1", "profile:pro_1")
    dropped, retried = await find_actions(system)
    assert dropped == ("dead letters dropped", first, None, {"letters": 1})
    assert retried == ("dead letters retried", None, None, {"items": 2})
    await run(system, "dead", "retry", "--all")
    ((action, subject, _, counts),) = await find_actions(system)
    assert (action, counts) == ("dead letters retried", {"letters": 6})
    assert str(subject).endswith(" and 1 more")


async def test_links(system: System) -> None:
    links = [EventIds(f"evt_{number}", at(number), "ann", "phone") for number in range(2)]
    await resolve(system.database, *page_views("phone"), *links)
    await run(system, "unlink", "evt_0", "--reason", "a tablet", status=1)  # needs --yes
    assert await find_actions(system) == []
    await run(system, "unlink", "evt_0", "--all", "--reason", "a tablet", "--yes")
    await run(system, "unlink", "evt_0", "--all", "--reason", "again", "--yes")
    await run(system, "relink", "evt_0", "--reason", "no, ours", "--yes")
    trail = dict(await system.database.rows('SELECT guid, action FROM "linkChanges"'))
    unlinked, relinked = await find_actions(system)
    assert unlinked[0] == "event unlinked"
    assert trail[str(unlinked[1])] == "unlinked"
    assert unlinked[2:] == (None, {"links": 2, "events": PAGES})
    assert relinked[0] == "event relinked"
    assert trail[str(relinked[1])] == "relinked"


async def test_erasures(system: System, tmp_path: Path) -> None:
    await resolve(system.database, EventIds("evt_0", at(0), "ann", "phone"))
    await resolve(system.database, EventIds("evt_1", at(0), "nobody@example.com", "tablet"))
    await run(system, "forget", "ann", "--reason", "asked", status=1)  # needs --yes
    await run(system, "forget", "ann", "--reason", "asked", "--yes")
    await run(system, "readmit", "ann")
    await run(system, "readmit", "ann", status=1)
    await run(system, "suppressed", "ann", status=3)
    options = ["--placeholder", "--reason", "a default", "--yes"]
    await run(system, "forget", "nobody@example.com", *options)
    file = str(tmp_path / "ledger")
    await run(system, "erasures", "export", file)
    await run(system, "erasures", "replay", file, "--yes")
    ledger = dict(await system.database.rows('SELECT reason, guid FROM "erasureLedger"'))
    forgotten, readmitted, placeholder, replayed = await find_actions(system)
    assert forgotten[:3] == ("person forgotten", ledger["asked"], "asked")
    assert forgotten[3] == {"events": 1, "anonymousIds": 1, "profiles": 1}
    assert readmitted == ("id readmitted", None, None, {})
    assert placeholder[:3] == ("placeholder removed", ledger["a default"], "a default")
    assert replayed[:3] == ("erasures replayed", None, None)


async def test_rules_prune_and_replay(system: System, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"rules": [USER_ID, COUNT, PATHS]}))
    await run(system, "rules", "apply", str(file), status=1)  # needs --yes
    await run(system, "rules", "apply", str(file), "--yes", "--no-wait")
    await run(system, "rules", "apply", str(file), "--yes", "--no-wait")
    file.write_text(json.dumps({"rules": [USER_ID, COUNT]}))
    await run(system, "rules", "apply", str(file), "--yes", "--no-wait")
    assert await find_actions(system) == [
        ("rules applied", None, None, {"added": 3}),
        ("rules applied", None, None, {"removed": 1}),
    ]
    resolver = await system.resolver()
    await system.events.publish_events([event("ann", at=number) for number in range(3)])
    await eventually(lambda: system.database.count("events"), equals(3))
    await resolver.stop()
    await run(system, "prune", "--older-than", "1d", "--dry-run")
    await run(system, "prune", "--older-than", "1d")
    await run(system, "replay", "--from", "start", "--dry-run")
    await run(system, "replay", "--from", "start", "--yes")
    pruned, replayed = await find_actions(system)
    assert pruned[0] == "events pruned"
    assert str(pruned[1]).startswith("events before 2")
    assert pruned[3] == {"deleted": 3}
    assert replayed == ("topic replayed", system.events.name, None, {"partitions": 1, "records": 3})


async def test_an_action_does_not_name_a_person(system: System) -> None:
    await resolve(system.database, EventIds("evt_link", at(0), "ann", "phone"))
    await run(system, "unlink", "evt_link", "--reason", "not hers", "--yes")
    await run(system, "relink", "evt_link", "--reason", "hers", "--yes")
    await run(system, "forget", "ann", "--reason", "asked", "--yes")
    await run(system, "readmit", "phone")
    rows = json.dumps(await system.database.rows("SELECT row_to_json(actions) FROM actions"))
    for trace in ("evt_link", "ann", "phone", "hers"):
        assert trace not in rows.replace(operator(), "")
