"""The verdict: the tables held against what clients know, row by row."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from merganser.identity.audit import audit
from properties.audit import audit as audit_properties
from schemas.ids import NOBODY
from tests.chaos.history import Happening, happening
from tests.chaos.ledger import Ledger
from tests.chaos.stage import HOSTILE, Stage
from tests.identity.misplaced import misplaced
from tests.identity.reference import SentEvent, grouping

MOST = 20
"""Guids that are named of each kind."""


@dataclass
class Verdict:
    """What a run found. It is good when `failures` is empty."""

    seed: int
    seconds: float = 0.0
    acknowledged: int = 0
    stored: int = 0
    missing: int = 0
    duplicated: int = 0
    misplaced: int = 0
    altered: int = 0
    """Stored otherwise than sent."""
    invented: int = 0
    """Stored and never sent."""
    measured: int = 0
    """Innocent events that were sent right behind hostile ones."""
    delayed: int = 0
    """Those of them that were not resolved in time."""
    set_aside: int = 0
    """Hostile rows, profiles and records that were set aside."""
    profiles: int = 0
    merges: int = 0
    dead_letters: int = 0
    repeats: int = 0
    refused: int = 0
    rows: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    slowest_recovery: tuple[float, str] = (0.0, "none")
    peak_mib: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing at all was wrong."""
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {"good": self.good}

    def blame(self, what: str, found: Iterable[str]) -> int:
        """Count what was found, and name the first of it."""
        names = list(found)
        self.failures += [f"{what}: {name}" for name in names[:MOST]]
        if len(names) > MOST:
            self.failures.append(f"{what}: {len(names) - MOST:,} more")
        return len(names)


_HOSTILE_LINES = (
    '"event": "values set aside"',
    '"event": "profiles set aside"',
    '{"rule": "bait", ',
)
"""Errors in logs that hostile items cause; `_set_aside` checks whose they are."""

_UNDECORATED = """
SELECT guid FROM profiles
WHERE "userId" IS NOT NULL AND NOT starts_with("userId", 'hostile ')
    AND NOT EXISTS (
        SELECT FROM "profileProperties"
        WHERE "profileGuid" = profiles.guid AND key = 'plan' AND value = 'free'
    )
"""


async def judge(verdict: Verdict, stage: Stage, ledger: Ledger) -> None:
    """Look at everything, when all is at rest."""
    async with await stage.connect() as connection:
        await compare(verdict, connection, ledger)
        await _audits(verdict, connection)
        await _set_aside(verdict, connection)
    await _dead_letters(verdict, stage)
    started = [one for one in stage.services if one.running or one.exit_code is not None]
    verdict.blame(
        "a log",
        [
            line
            for service in started
            for line in service.defects
            if not any(text in line for text in _HOSTILE_LINES)
        ],
    )
    verdict.blame("an answer", ledger.surprises)


async def compare(
    verdict: Verdict, connection: psycopg.AsyncConnection[Any], ledger: Ledger
) -> None:
    """Hold every row of the tables against what clients sent and were told."""
    by_guid = {guid: number for number, guid in ledger.guids.items()}
    seen: Counter[int] = Counter()
    profiles: dict[str, str | None] = {}
    told: list[SentEvent] = []
    altered, invented = [], []
    async with connection.transaction(), connection.cursor("events") as cursor:
        await cursor.execute(
            'SELECT guid, type, "userId", "anonymousId", "occurredAt", "profileGuid", ARRAY('
            'SELECT ARRAY[key, value] FROM "eventData" WHERE "eventGuid" = events.guid) '
            "FROM events WHERE NOT starts_with(guid, %s)",
            (HOSTILE,),
        )
        async for guid, *stored, profile, data in cursor:
            number = by_guid.get(guid, _claimed(data, ledger))
            if number is None:
                invented.append(guid)
                continue
            event = happening(ledger.seed, number)
            seen[number] += 1
            profiles[guid] = profile
            told.append(SentEvent(guid, event.occurred_at, event.user_id, event.anonymous_id))
            if difference := _difference(event, stored, data):
                altered.append(f"{guid}: {difference}")
    verdict.acknowledged, verdict.stored = len(ledger.guids), len(profiles) + len(invented)
    verdict.missing = verdict.blame(
        "missing", (guid for number, guid in ledger.guids.items() if not seen[number])
    )
    verdict.duplicated = verdict.blame(
        "stored more than once",
        (f"event {number}, {ledger.guids.get(number)}" for number, n in seen.items() if n > 1),
    )
    verdict.altered = verdict.blame("altered", altered)
    verdict.invented = verdict.blame("invented", invented)
    verdict.misplaced = verdict.blame("misplaced", misplaced(profiles, grouping(told)))


def _claimed(data: list[list[str]], ledger: Ledger) -> int | None:
    """The number that a row says it has, if such an event may be there under a guid unknown."""
    text = dict(data).get("number", "")
    number = int(text) if text.isdecimal() else -1
    return number if number in ledger.perhaps or number in ledger.guids else None


def _difference(event: Happening, stored: list[Any], data: list[list[str]]) -> str:
    """What is stored otherwise than it was sent."""
    sent = [event.type, event.user_id, event.anonymous_id, event.occurred_at]
    rows = sorted((key, value) for key, value in data)
    expected = sorted(event.stored().items())
    if stored != sent:
        return f"{stored}, sent {sent}"
    return "" if rows == expected else f"data {rows}, sent {expected}"


async def _audits(verdict: Verdict, connection: psycopg.AsyncConnection[Any]) -> None:
    cursor = await connection.execute(
        'SELECT (SELECT count(*) FROM profiles), (SELECT count(*) FROM "profileMerges"), ('
        'SELECT count(*) FROM "eventData" WHERE NOT EXISTS ('
        'SELECT FROM events WHERE guid = "eventGuid"))'
    )
    verdict.profiles, verdict.merges, orphans = await cursor.fetchone() or (0, 0, 0)
    if orphans:
        verdict.failures.append(f"{orphans} rows of eventData belong to no event")
    report = await audit(connection, NOBODY, lambda _: None)
    verdict.blame("audit", map(str, report.disagreements))
    properties = await audit_properties(connection, datetime.now(UTC), lambda _: None)
    verdict.blame("audit of properties", map(str, properties.disagreements))
    cursor = await connection.execute(_UNDECORATED)
    verdict.blame("without its value of the source", [guid for (guid,) in await cursor.fetchall()])
    if properties.profiles == 0 or properties.pending:
        verdict.failures.append(f"audit of properties: {properties}")


async def _set_aside(verdict: Verdict, connection: psycopg.AsyncConnection[Any]) -> None:
    """Nothing is set aside but what is hostile. Records are compared with the dead letters."""
    cursor = await connection.execute(
        """
        SELECT kind || ' ' || subject || ': ' || reason, CASE kind
            WHEN 'record' THEN true
            WHEN 'row' THEN starts_with(subject, %s)
            ELSE NOT EXISTS (
                SELECT FROM profiles WHERE guid = subject AND "userId" NOT LIKE 'hostile %%'
            )
        END
        FROM "setAside"
        """,
        (HOSTILE,),
    )
    rows = await cursor.fetchall()
    verdict.set_aside = len(rows)
    verdict.blame("set aside", (said for said, hostile in rows if not hostile))


async def _dead_letters(verdict: Verdict, stage: Stage) -> None:
    """Each record of garbage is a dead letter, perhaps more than once, and nothing else is."""
    letters = {
        record.key or b"": record.value
        for record in await stage.topics.dead.records()
        if record.key not in stage.hostile
    }
    verdict.dead_letters = len(letters)
    garbage = stage.garbage
    verdict.blame("no dead letter", (str(key) for key in garbage if key not in letters))
    verdict.blame("not garbage", (str(key) for key in letters if key not in garbage))
    verdict.blame(
        "an altered dead letter",
        (str(key) for key in letters if key in garbage and letters[key] != garbage[key]),
    )
