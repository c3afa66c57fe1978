"""`merganser forget --placeholder` while the processes run."""

import asyncio
import json
from pathlib import Path
from random import Random

from tests.cli.test_forget import read_all_rows
from tests.identity.misplaced import misplaced
from tests.identity.reference import SentEvent, grouping
from tests.support.command import CommandResult, command
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

NOBODY = "nobody-in-particular"
DEVICES = [f"device-{number}" for number in range(5)]
REMOVE = ("forget", "--placeholder", "--reason", "no person")
RULES = """
rules:
  - {key: userId, type: string, unique: true, identifying: true}
  - {key: views, type: integer, events: {type: pageview, aggregation: count}}
"""
SUPPRESSED = "merganser_events_suppressed_total"


async def publish_merged_devices(system: System) -> dict[str, str]:
    """Publish events of devices that a placeholder merges; return the profile before, by device."""
    await system.events.publish_events([event(user=NOBODY, kind="of no device")])
    await eventually(lambda: system.database.count("events"), equals(1))
    await system.events.publish_events([event(anonymous=device) for device in DEVICES])
    await eventually(lambda: system.database.count("events"), equals(6))
    before = dict(
        await system.database.rows('SELECT "anonymousId", "profileGuid" FROM "anonymousIds"')
    )
    await system.events.publish_events(
        [event(user=NOBODY, anonymous=device, at=1) for device in DEVICES]
        + [event(user="ann", anonymous=DEVICES[0], at=2), event(user="ann", at=3)]
    )
    await eventually(lambda: system.database.count("events"), equals(13))
    assert await system.database.count("profiles") == 2
    return before


async def remove(system: System) -> CommandResult:
    result = await command(system.env, *REMOVE, NOBODY, "--yes")
    assert result.status == 0, result.err
    return result


async def test_devices_that_a_placeholder_merged_keep_their_events_and_new_ones(
    system: System,
) -> None:
    resolver, scanner = await asyncio.gather(system.resolver(), system.scanner())
    before = await publish_merged_devices(system)
    result = await remove(system)
    (line,) = [line for line in result.log if line["event"] == "placeholder removed"]
    assert (line["kept"], line["erased"], line["anonymous_ids"]) == (10, 1, 5)
    assert NOBODY not in result.err

    ann = await system.database.profile_of("ann")
    profiles = 'SELECT "anonymousId", "profileGuid" FROM "anonymousIds"'
    assert dict(await system.database.rows(profiles)) == {**before, DEVICES[0]: ann}
    assert await system.database.count("events") == 12
    assert NOBODY not in await read_all_rows(system.database)
    (merged,) = json.loads(await system.cli("explain", before[DEVICES[0]], "--json"))
    assert merged["profile"] == ann
    await system.cli("audit")

    await system.events.publish_events(
        [event(anonymous=device, kind="later") for device in DEVICES]
    )
    await system.events.publish_events(
        [event(user=NOBODY, anonymous=device, kind="later") for device in DEVICES]
        + [event(user=NOBODY, kind="later")]
    )
    await system.database.execute(
        """INSERT INTO events (type, "userId", "anonymousId")
        VALUES ('later', %s, 'device-1'), ('later', %s, NULL)""",
        NOBODY,
        NOBODY,
    )
    await eventually(lambda: resolver.metric(SUPPRESSED), equals(1))
    await eventually(lambda: scanner.metric(SUPPRESSED), equals(1))
    later = """SELECT "anonymousId", count(*) FROM events
        WHERE type = 'later' AND "profileGuid" IS NOT NULL GROUP BY 1"""
    assert dict(await system.database.rows(later)) == {
        device: 3 if device == "device-1" else 2 for device in DEVICES
    }
    assert dict(await system.database.rows(profiles)) == {**before, DEVICES[0]: ann}
    assert NOBODY not in await read_all_rows(system.database)
    await system.cli("audit")


async def test_a_removed_placeholder_is_known_and_can_be_readmitted(system: System) -> None:
    await system.resolver()
    await publish_merged_devices(system)
    unconfirmed = await command(system.env, *REMOVE, NOBODY)
    assert unconfirmed.status == 1
    assert ": 5 anonymousIds get another profile\n10 events with" in unconfirmed.err
    assert "\n1 events without an anonymousId are erased" in unconfirmed.err
    assert await system.database.count("events") == 13
    await remove(system)
    assert (await command(system.env, *REMOVE, NOBODY, "--yes")).status == 1
    result = await command(system.env, "suppressed", NOBODY)
    assert result.out.startswith("suppressed as placeholder since ")
    for device in DEVICES:
        assert (await command(system.env, "suppressed", device)).status == 3
    assert (await command(system.env, "readmit", NOBODY)).status == 0
    await system.events.publish_events([event(user=NOBODY, anonymous=DEVICES[4], at=9)])
    await eventually(lambda: system.database.count("events"), equals(13))
    assert await system.database.profile_of(NOBODY)
    await system.cli("audit")


async def test_only_a_userid_with_a_profile_is_removed(system: System) -> None:
    await system.resolver()
    await publish_merged_devices(system)
    profile = await system.database.profile_of(NOBODY)
    for name in ("unknown", DEVICES[1], profile):
        result = await command(system.env, *REMOVE, name, "--yes")
        assert result.status == 1
        assert "no profile has this userId" in result.err
    refused = await command(
        system.env,
        "forget",
        "--reason",
        "no person",
        "--placeholder",
        "--no-suppress",
        NOBODY,
        "--yes",
    )
    assert refused.status == 2
    assert await system.database.count("events") == 13


async def test_a_placeholder_is_removed_while_its_devices_send_events(
    system: System, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    await asyncio.gather(
        system.resolver(),
        system.resolver(),
        system.scanner(scanner_interval=1),
        system.properties(),
    )
    await system.cli("rules", "apply", "--yes", str(rules))
    random = Random(0)
    sent = [
        event(
            user=random.choice([NOBODY, None, None, f"user-{random.randrange(40)}"]),
            anonymous=f"device-{random.randrange(200)}",
            at=random.randrange(1000),
        )
        for _ in range(6000)
    ]
    await system.events.publish_events(sent[:3000])
    await eventually(lambda: system.database.count("events"), equals(3000))
    removing = asyncio.create_task(remove(system))
    for start in range(3000, 6000, 100):
        await system.events.publish_events(sent[start : start + 100])
    await removing
    await eventually(lambda: system.database.count("events"), equals(6000))
    await system.consumed()
    history = [
        SentEvent(
            event["guid"],
            event["occurredAt"],
            None if event["userId"] == NOBODY else event["userId"],
            event["anonymousId"],
        )
        for event in sent
    ]
    stored = dict(await system.database.rows('SELECT guid, "profileGuid" FROM events'))
    assert next(misplaced(stored, grouping(history)), None) is None
    changes = 'SELECT count(*) FROM "eventChanges"'
    await eventually(lambda: system.database.value(changes), equals(0))
    await system.cli("audit", "--properties")
    assert NOBODY not in await read_all_rows(system.database)
