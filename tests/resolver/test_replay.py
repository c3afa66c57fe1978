"""Replay the topic from an offset or a time, while resolvers run."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from typer.testing import CliRunner, Result

from merganser.cli.main import app
from tests.resolver.backlog import Backlog
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import record_of
from tests.support.waiting import equals, eventually

CONSUMED = "merganser_resolver_records_consumed_total"


async def replay(system: System, *arguments: str) -> Result:
    def run() -> Result:
        return CliRunner().invoke(app, ["replay", *arguments], env=system.env)

    return await asyncio.to_thread(run)


async def tables(system: System) -> list[list[tuple[Any, ...]]]:
    """Return the rows of all tables of events and identity."""
    names = ("events", "eventData", "profiles", "anonymousIds", "profileMerges")
    rows = [await system.database.rows(f'SELECT * FROM "{name}"') for name in names]
    return [sorted(some, key=str) for some in rows]


async def read_offsets(system: System) -> dict[int, int]:
    rows = await system.database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"')
    return dict(rows)


async def test_a_full_replay_while_resolvers_run_changes_nothing(system: System) -> None:
    resolvers = await asyncio.gather(*(system.resolver(resolver_batch=50) for _ in range(2)))
    backlog = await Backlog.published(system, 600)
    await backlog.resolved_once()
    before = await tables(system)

    async def consumed() -> float:
        return sum([await resolver.metric(CONSUMED) for resolver in resolvers])

    await eventually(consumed, equals(600))
    dry = await replay(system, "--from", "start", "--dry-run")
    assert "600 records would be read again" in dry.stdout
    # Without a terminal the command cannot ask for confirmation.
    assert (await replay(system, "--from", "start")).exit_code == 1
    assert await read_offsets(system) == await system.events.ends()

    result = await replay(system, "--from", "start", "--yes")
    assert result.exit_code == 0, result.output
    await eventually(consumed, equals(1200))
    await backlog.resolved_once()
    assert await tables(system) == before
    for resolver in resolvers:
        assert resolver.running
        assert await eventually(resolver.why_not_ready, equals({})) == {}


async def test_a_replay_restores_lost_rows(system: System) -> None:
    """From a time or an offset of one partition; rows from before stay lost."""
    events = [event(user="1", kind=f"kind-{n}") for n in range(6)]
    records = [record_of(one)._replace(partition=0) for one in events]
    await system.resolver()
    await system.events.publish(*records[:3])
    await eventually(lambda: system.database.count("events"), equals(3))
    moment = datetime.now(UTC).isoformat()
    await system.events.publish(*records[3:])
    await eventually(lambda: system.database.count("events"), equals(6))

    async def kinds() -> list[str]:
        return sorted(await system.database.column("SELECT type FROM events"))

    expected = [f"kind-{n}" for n in range(6)]
    await system.database.execute("TRUNCATE events")
    assert (await replay(system, "--from", moment, "--yes")).exit_code == 0
    assert await eventually(kinds, equals(expected[3:]))
    assert (await replay(system, "--from", "2", "--partition", "0", "--yes")).exit_code == 0
    assert await eventually(kinds, equals(expected[2:]))
    await eventually(lambda: read_offsets(system), lambda found: found[0] == 6)


async def test_a_replay_restores_rows_deleted_by_mistake(system: System) -> None:
    """As the documentation says: first delete their rows of `deletedEvents`."""
    await system.resolver()
    await system.events.publish_events([event(user="1"), event(user="2")])
    await eventually(lambda: system.database.count("events"), equals(2))
    await system.database.execute("DELETE FROM events")
    await system.database.execute(
        """DELETE FROM "deletedEvents" WHERE "deletedAt" > now() - interval '1 hour'"""
    )
    assert (await replay(system, "--from", "start", "--yes")).exit_code == 0
    await eventually(lambda: system.database.count("events"), equals(2))


async def test_an_offset_that_does_not_exist_is_rejected(system: System) -> None:
    await system.events.publish(
        *(record_of(event(user=f"u{n}"))._replace(partition=n % 4) for n in range(8))
    )
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(8))
    await resolver.stop()
    await system.events.publish_events(event(user=f"u{n}") for n in range(20))
    before = await read_offsets(system)
    for wrong, message in (
        (["--from", "99"], "holds offsets 0 to"),
        (["--from", "0", "--partition", "7"], "no partition 7"),
    ):
        result = await replay(system, *wrong, "--yes")
        assert result.exit_code == 1
        assert message in result.stderr
    assert (await replay(system, "--from", "yesterday", "--yes")).exit_code == 2
    # A time or offset that the group has not reached does not move it forward.
    for ahead in (["--from", "2"], ["--from", "2099-01-01"]):
        result = await replay(system, *ahead, "--yes")
        assert "nothing to do" in result.stderr
    assert await read_offsets(system) == before
    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(28))
