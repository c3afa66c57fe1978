"""The topic read again from an offset or a time, while resolvers run."""

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
    """All that events and identity hold."""
    names = ("events", "eventData", "profiles", "anonymousIds", "profileMerges")
    rows = [await system.database.rows(f'SELECT * FROM "{name}"') for name in names]
    return [sorted(some, key=str) for some in rows]


async def positions(system: System) -> dict[int, int]:
    rows = await system.database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"')
    return dict(rows)


async def test_all_of_it_while_resolvers_run_changes_nothing(system: System) -> None:
    resolvers = await asyncio.gather(*(system.resolver(resolver_batch=50) for _ in range(2)))
    backlog = await Backlog.published(system, 600)
    await backlog.resolved_once()
    before = await tables(system)

    async def consumed() -> float:
        return sum([await resolver.metric(CONSUMED) for resolver in resolvers])

    await eventually(consumed, equals(600))
    dry = await replay(system, "--from", "start", "--dry-run")
    assert "600 records would be read again" in dry.stdout
    assert (await replay(system, "--from", "start")).exit_code == 1  # nobody is there to ask
    assert await positions(system) == await system.events.ends()

    result = await replay(system, "--from", "start", "--yes")
    assert result.exit_code == 0, result.output
    await eventually(consumed, equals(1200))
    await backlog.resolved_once()
    assert await tables(system) == before
    for resolver in resolvers:
        assert resolver.running
        assert await eventually(resolver.why_not_ready, equals({})) == {}


async def test_rows_that_were_lost_come_back(system: System) -> None:
    """From a time, from an offset of one partition; what lies before stays lost."""
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
    await eventually(lambda: positions(system), lambda found: found[0] == 6)


async def test_rows_that_were_deleted_by_mistake_come_back(system: System) -> None:
    """As the documentation says: what is remembered of them goes first."""
    await system.resolver()
    await system.events.publish_events([event(user="1"), event(user="2")])
    await eventually(lambda: system.database.count("events"), equals(2))
    await system.database.execute("DELETE FROM events")
    await system.database.execute(
        """DELETE FROM "deletedEvents" WHERE "deletedAt" > now() - interval '1 hour'"""
    )
    assert (await replay(system, "--from", "start", "--yes")).exit_code == 0
    await eventually(lambda: system.database.count("events"), equals(2))


async def test_what_is_not_there_is_refused_and_nothing_is_skipped(system: System) -> None:
    await system.events.publish(
        *(record_of(event(user=f"u{n}"))._replace(partition=n % 4) for n in range(8))
    )
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(8))
    await resolver.stop()
    await system.events.publish_events(event(user=f"u{n}") for n in range(20))
    before = await positions(system)
    for wrong, said in (
        (["--from", "99"], "holds offsets 0 to"),
        (["--from", "0", "--partition", "7"], "no partition 7"),
    ):
        result = await replay(system, *wrong, "--yes")
        assert result.exit_code == 1
        assert said in result.stderr
    assert (await replay(system, "--from", "yesterday", "--yes")).exit_code == 2
    # Neither a time nor an offset that the group has not reached moves it forward.
    for ahead in (["--from", "2"], ["--from", "2099-01-01"]):
        result = await replay(system, *ahead, "--yes")
        assert "nothing to do" in result.stderr
    assert await positions(system) == before
    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(28))
