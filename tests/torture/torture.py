"""One run: a hostile history through real processes that are killed at random, then the verdict."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from merganser.identity.audit import audit
from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from properties.audit import audit as audit_properties
from schemas.event import Event
from schemas.ids import NOBODY, somebody
from tests.identity.histories import hostile
from tests.identity.misplaced import misplaced
from tests.identity.reference import SentEvent, grouping
from tests.support import database, topics
from tests.support.database import Cluster, Database
from tests.support.system import System, opened_system, settings_env
from tests.support.topics import Topics
from tests.support.unfinished_work import describe_unfinished_work
from tests.support.waiting import eventually


def _rule(key: str, kind: str, *, array: bool = False, **events: object) -> dict[str, object]:
    source = {"type": ["record", "row"], **events}
    return {"key": key, "type": kind, "array": array, "events": source}


PARTITIONS = 8
CHUNK = 200
"""Events published or inserted at a time."""

RULES = RuleFile.model_validate(
    {
        "rules": [
            {"key": "userId", "type": "string", "unique": True, "identifying": True},
            _rule("events", "integer", aggregation="count"),
            _rule("numbers", "integer", aggregation="distinct count", column="data.number"),
            _rule("last", "string", aggregation="most recent", column="data.number"),
            _rule("first", "date", aggregation="min", column="occurredAt"),
            _rule("age", "float", aggregation="diff", column="occurredAt"),
            _rule("spent", "float", aggregation="sum", column="data.price"),
            _rule("lately", "integer", aggregation="count", window=3650),
            _rule("texts", "string", aggregation="all values", column="data.text", array=True),
        ]
    }
)

SETTLE_SECONDS = 180.0
"""For all to be resolved after the last kill: generous, for a rebalance waits for the dead."""


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    events: int = 20_000
    resolvers: int = 4
    scanners: int = 2
    kills: int = 12
    repeated: float = 0.2
    """Share of the topic's events that are delivered twice."""
    external: float = 0.15
    """Share of the events that come as rows of other systems."""


@dataclass
class Verdict:
    """What a run found. It is good when there are no disagreements."""

    seed: int
    events: int
    kills: int = 0
    merges: int = 0
    seconds: float = 0.0
    disagreements: list[str] = field(default_factory=list)


Progress = Callable[[str], None]


async def torture(
    bootstrap: str,
    cluster: Cluster,
    template: str,
    place: Path,
    seed: int,
    size: Size,
    say: Progress,
) -> Verdict:
    """Run once on a new database and new topics; the same seed makes the same history."""
    start = time.monotonic()
    random = Random(seed)
    history = hostile(random, size.events, people=max(size.events // 15, 10))
    with cluster.database(template) as name:
        async with (
            topics.made(bootstrap, PARTITIONS) as made,
            database.opened(cluster.url_of(name)) as opened,
        ):
            env = settings_env(bootstrap, opened.url, made)
            with opened_system(place, env, opened, made) as system:
                run = _Run(system, opened, made, random, history, size, say)
                verdict = await run.judge(Verdict(seed, len(history)))
    verdict.seconds = time.monotonic() - start
    return verdict


class _Run:
    def __init__(
        self,
        system: System,
        opened: Database,
        made: Topics,
        random: Random,
        history: Sequence[SentEvent],
        size: Size,
        say: Progress,
    ) -> None:
        self.database = opened
        self.topics = made
        self.random = random
        self.history = history
        self.size = size
        self.say = say
        self.services = [
            system.new("resolver", **self._resolver(number)) for number in range(size.resolvers)
        ] + [
            system.new("scanner", scanner_batch=random.randrange(20, 200), scanner_move=25)
            for _ in range(size.scanners)
        ]
        self.services += [
            system.new("properties", properties_batch=random.randrange(20, 400)) for _ in range(2)
        ]

    async def judge(self, verdict: Verdict) -> Verdict:
        external = set(
            self.random.sample(self.history, int(len(self.history) * self.size.external))
        )
        # What names nobody never passes the gate: it can only come as a row.
        rows = [event for event in self.history if event in external or not _names(event)]
        records = [event for event in self.history if event not in external and _names(event)]
        repeated = self.random.sample(records, int(len(records) * self.size.repeated))
        for deliveries in (deliverable := records + repeated, rows):
            self.random.shuffle(deliveries)
        await rule_store.apply_file(self.database.connection, RULES)
        for service in self.services:
            service.start()
        await asyncio.gather(*(service.ready() for service in self.services))
        feeding = asyncio.gather(self._publish(deliverable), self._insert(rows))
        verdict.kills = await self._kill(feeding)
        await feeding
        try:
            await eventually(self._left, lambda left: not left, within=SETTLE_SECONDS)
        except AssertionError as late:
            verdict.disagreements.append(f"not everything was resolved: {late}")
        verdict.merges = await self.database.count("profileMerges")
        verdict.disagreements += await self._disagreements()
        return verdict

    def _resolver(self, number: int) -> dict[str, object]:
        """Small batches and moves, so that crashes fall between and into them."""
        settings: dict[str, object] = {
            "resolver_batch": self.random.randrange(20, 400),
            "resolver_move": self.random.choice([5, 50, 5000]),
            "resolver_session_timeout": 6,
        }
        # Half of them keep their name over a restart, the others make the group rebalance.
        return settings | ({"resolver_instance": f"static-{number}"} if number % 2 else {})

    async def _publish(self, deliveries: Sequence[SentEvent]) -> None:
        for start in range(0, len(deliveries), CHUNK):
            await self.topics.events.publish_events(map(_event, deliveries[start : start + CHUNK]))
            self.say(f"published {start + CHUNK:,}")
            await asyncio.sleep(self.random.uniform(0, self._pause(deliveries)))

    async def _insert(self, rows: Sequence[SentEvent]) -> None:
        async with database.opened(self.database.url) as own:
            for start in range(0, len(rows), CHUNK):
                async with own.connection.cursor() as cursor:
                    await cursor.executemany(
                        'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt") '
                        "VALUES (%s, 'row', %s, %s, %s)",
                        [
                            (e.guid, e.user_id, e.anonymous_id, e.occurred_at)
                            for e in rows[start : start + CHUNK]
                        ],
                    )
                await asyncio.sleep(self.random.uniform(0, self._pause(rows)))

    def _pause(self, deliveries: Sequence[SentEvent]) -> float:
        """Between chunks, at most: so that events flow about as long as processes are killed."""
        return 4 * self.size.kills * CHUNK / max(len(deliveries), 1)

    async def _kill(self, feeding: "asyncio.Future[tuple[None, None]]") -> int:
        """Kill and restart while events flow, and on until the number is reached."""
        kills = 0
        while kills < self.size.kills or not feeding.done():
            await asyncio.sleep(self.random.uniform(0.2, 2.5))
            if kills >= self.size.kills:
                continue
            victims = self.random.sample(self.services, self.random.choice([1, 1, 1, 2, 3]))
            await asyncio.gather(*(victim.kill() for victim in victims))
            kills += len(victims)
            self.say(f"killed {', '.join(victim.name for victim in victims)}")
            await asyncio.sleep(self.random.uniform(0, 1.0))
            for victim in victims:
                victim.start()
        return kills

    async def _left(self) -> str:
        """What is still to be done, or the empty string."""
        nobody = sum(not _names(event) for event in self.history)
        left = await describe_unfinished_work(
            self.database, await self.topics.events.ends(), nobody
        )
        dead = [service.name for service in self.services if not service.running]
        self.say(f"{left or 'nothing'} to go {' '.join(dead)}")
        return left

    async def _disagreements(self) -> list[str]:
        stored = dict(await self.database.rows('SELECT guid, "profileGuid" FROM events'))
        found = [
            f"{what}: {first}"
            for what, first in (
                (
                    "an event is missing",
                    next((e for e in self.history if e.guid not in stored), None),
                ),
                ("grouping", next(misplaced(stored, grouping(self.history)), None)),
            )
            if first is not None
        ]
        if len(stored) != len(self.history):
            found.append(f"{len(stored)} rows for {len(self.history)} events")
        users = await self.database.rows(
            'SELECT events.guid FROM events JOIN profiles ON profiles.guid = "profileGuid" '
            'WHERE lower(events."userId") <> ALL(%s) AND events."userId" <> profiles."userId"',
            list(NOBODY),
        )
        found += [f"{guid} lies on another user's profile" for (guid,) in users[:1]]
        report = await audit(self.database.connection, NOBODY, lambda _: None)
        found += [f"audit: {disagreement}" for disagreement in report.disagreements[:1]]
        properties = await audit_properties(
            self.database.connection, datetime.now(UTC), lambda _: None
        )
        if properties.profiles == 0 or properties.pending:
            found.append(f"audit of properties: {properties}")
        found += [f"properties: {disagreement}" for disagreement in properties.disagreements[:1]]
        return found + [line for service in self.services for line in service.defects][:3]


def _names(event: SentEvent) -> bool:
    return any(somebody(name, NOBODY) for name in (event.user_id, event.anonymous_id))


def _event(told: SentEvent) -> Event:
    return {
        "guid": told.guid,
        "producerGuid": "key_torture",
        "ipAddress": None,
        "createdAt": told.occurred_at,
        "occurredAt": told.occurred_at,
        "type": "record",
        # ingest drops ids that mean nobody, the resolver would too
        "userId": somebody(told.user_id, NOBODY),
        "anonymousId": somebody(told.anonymous_id, NOBODY),
        "data": {"number": told.guid[-4:]},
    }
