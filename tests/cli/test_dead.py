"""`merganser dead` on a topic with one bad record of each kind."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from merganser.admin.dead_letters import service
from merganser.admin.dead_letters.service import Selection
from merganser.cli.dead_output import hexdump
from merganser.cli.main import app
from merganser.runtime.settings import Settings
from schemas.event import VERSION_HEADER, encode
from tests.support.actions import OPERATOR
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import Record
from tests.support.waiting import equals, eventually

VERSION = dict([VERSION_HEADER])
WHOLE = encode(event(user="1"))
NOBODY = event(user="root", k="v")
REFUSED = event(user="2", kind="forbidden")

BAD = {
    "garbage": Record(bytes(range(256)), b"\xff\x00", VERSION),
    "other version": Record(WHOLE, b"a key", {"schema-version": b"99", "trace": b"t"}),
    "no version": Record(WHOLE, b"another key"),
    "tombstone": Record(None, b"a key", VERSION),
    "nothing at all": Record(None, None, VERSION),
    "a mebibyte": Record(b"\n" * (1 << 20), None, VERSION),
    "no event": Record(b'{"type": "purchase"}', b"a key", VERSION),
    "nobody": Record(encode(NOBODY), b"root", VERSION),
    "refused": Record(encode(REFUSED), b"2", VERSION),
}
REASONS = "unreadable version version tombstone tombstone unreadable unreadable nobody refused"


def invoke(system: System, arguments: Sequence[str]) -> Result:
    return CliRunner().invoke(app, ["dead", *arguments], env=system.env)


async def dead(system: System, *arguments: str) -> Result:
    return await asyncio.to_thread(invoke, system, arguments)


async def list_json(system: System, *arguments: str) -> list[dict[str, Any]]:
    """Return what `dead list` prints, as data."""
    result = await dead(system, "list", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


async def publish_bad_records(system: System, *records: Record, **settings: object) -> None:
    """Publish records to one partition and wait for a resolver to write their letters."""
    before = await system.dead.size()
    async with AIOKafkaProducer(bootstrap_servers=system.events.bootstrap) as producer:
        for bad in records:
            batch = (
                producer.create_batch()
            )  # unlike `send`, it accepts a record with neither key nor value
            headers = list(bad.headers.items())
            assert batch.append(timestamp=None, key=bad.key, value=bad.value, headers=headers)
            await (await producer.send_batch(batch, system.events.name, partition=0))
    if not system.services:
        await system.resolver(nobody_ids="root", **settings)
    await eventually(system.dead.size, equals(before + len(records)))


def offset(letter: dict[str, Any]) -> int:
    """Return the offset of a letter's record; letters of a batch are written in any order."""
    return int(letter["origin"].rsplit("/")[-1])


async def test_each_kind_of_letter_is_listed_shown_retried_and_dropped(system: System) -> None:
    await system.database.execute(
        "ALTER TABLE events ADD CONSTRAINT mine CHECK (type <> 'forbidden')"
    )
    await publish_bad_records(system, *BAD.values())
    letters = sorted(await list_json(system), key=offset)
    assert [letter["reason"] for letter in letters] == REASONS.split()
    assert {letter["letter"] for letter in letters} == {f"0:{n}" for n in range(len(BAD))}
    assert all(letter["attempt"] == 1 and letter["complete"] for letter in letters)
    for number, kind in ((0, "garbage"), (5, "a mebibyte")):
        raw = await dead(system, "show", letters[number]["letter"], "--raw")
        assert raw.stdout_bytes == BAD[kind].value

    # What still fails comes back as the same letter's next attempt, what was fixed does not.
    (resolver,) = system.services
    await resolver.stop()
    await system.database.execute("ALTER TABLE events DROP CONSTRAINT mine")
    await system.resolver(nobody_ids="toor")
    assert (await dead(system, "retry", "--all")).exit_code == 0
    await eventually(lambda: system.database.count("events"), equals(2))
    assert set(await system.database.column("SELECT guid FROM events")) == {
        NOBODY["guid"],
        REFUSED["guid"],
    }
    again = await eventually(lambda: list_json(system), lambda found: len(found) == len(BAD) - 2)
    assert [(letter["origin"], letter["reason"]) for letter in sorted(again, key=offset)] == [
        (letter["origin"], letter["reason"]) for letter in letters[:-2]
    ]
    assert {letter["attempt"] for letter in again} == {2}
    records = {(r.key, r.value): dict(r.headers) for r in await system.dead.records()}
    for bad in list(BAD.values())[:-2]:
        own = records[bad.key, bad.value]
        assert {name: own[name] for name in bad.headers} == dict(bad.headers)
        assert "retry-of" not in own

    # A resolved letter is not open again.
    nothing = await dead(system, "retry", letters[-1]["letter"])
    assert "0 sent again" in nothing.stderr
    assert (
        await dead(system, "drop", "--reason", "version")
    ).exit_code == 1  # cannot ask for a confirmation
    assert (await dead(system, "drop", "--reason", "version", "--yes")).exit_code == 0
    assert "version" not in {letter["reason"] for letter in await list_json(system)}
    assert {letter["outcome"] for letter in await list_json(system, "--handled")} == {
        "retried",
        "dropped",
    }
    assert (await dead(system, "drop", "--all", "--yes")).exit_code == 0
    assert await list_json(system) == []
    assert await system.dead.size() == 2 * len(BAD) - 2  # all are still in the topic


async def test_letters_are_selected(system: System) -> None:
    kinds = list(BAD.values())[:-1]
    await publish_bad_records(system, *kinds[:4])
    await publish_bad_records(system, *kinds[4:])
    everything = await list_json(system)
    times = [letter["at"] for letter in everything]
    assert [letter["letter"] for letter in await list_json(system, "0:3", "0:5")] == ["0:3", "0:5"]
    assert [letter["at"] for letter in await list_json(system, "--since", times[4])] == times[4:]
    assert [letter["at"] for letter in await list_json(system, "--until", times[4])] == times[:4]
    both = await list_json(
        system, "--reason", "nobody", "--reason", "tombstone", "--since", times[4]
    )
    assert sorted(letter["reason"] for letter in both) == ["nobody", "tombstone"]
    table = await dead(system, "list", "--table")
    assert f"{len(everything)} letters: 3 unreadable, " in table.stdout
    for wrong in (["retry"], ["drop", "--yes"], ["retry", "--all", "0:1"], ["retry", "0:99"]):
        assert (await dead(system, *wrong)).exit_code == 1
    for wrong in (["list", "17"], ["list", "--since", "x"], ["drop", "--reason", "x"]):
        assert (await dead(system, *wrong)).exit_code == 2


async def test_show_prints_everything_and_no_control_characters(system: System) -> None:
    escape = Record(b"\x1b[2Jtext", "schlüssel".encode(), {**VERSION, "trace": b"\x00"})
    await publish_bad_records(system, escape)
    shown = (await dead(system, "show", "0:0")).stdout
    assert "unreadable: record: Invalid JSON" in shown
    assert "schlüssel" in shown
    assert "header trace" in shown
    assert "1b 5b 32 4a 74 65 78 74" in shown
    assert "\x1b[2J" not in shown
    assert "open" in shown
    assert (await dead(system, "show", "0:7")).exit_code == 1


async def test_a_foreign_record_is_reported_and_left_alone(system: System) -> None:
    await publish_bad_records(system, BAD["tombstone"])
    await system.dead.publish(Record(b"hello", b"k", {"reason": b"none"}))
    assert "0:1 is not a dead letter" in (await dead(system, "list", "--table")).stderr
    assert (await dead(system, "show", "0:1")).exit_code == 1
    assert (await dead(system, "drop", "--all", "--yes")).exit_code == 0
    assert len(await list_json(system, "--handled")) == 1


async def test_two_operators_at_once_send_each_record_once(system: System) -> None:
    await publish_bad_records(system, *(BAD["no event"]._replace(key=b"%d" % n) for n in range(5)))
    (resolver,) = system.services
    await resolver.stop()
    before = await system.events.size()
    settings = Settings(
        _env_file=None,
        kafka_bootstrap=system.events.bootstrap,
        topic=system.events.name,
        dead_topic=system.dead.name,
        database_url=SecretStr(system.database.url),
    )
    barrier = asyncio.Barrier(3)

    async def retry() -> int:
        listing = await service.find_open(settings, Selection.build())
        await barrier.wait()  # each has listed the same open letters
        return (await service.retry(settings, OPERATOR, listing)).sent

    assert sum(await asyncio.gather(*(retry() for _ in range(3)))) == 5
    assert await system.events.size() == before + 5
    assert await list_json(system) == []


async def test_a_retry_that_crashed_before_its_commit_can_be_repeated(system: System) -> None:
    """The topic then has its records twice, but the database one row, and one letter is open."""
    await publish_bad_records(system, BAD["nobody"], BAD["no event"])
    (resolver,) = system.services
    await resolver.stop()
    assert (await dead(system, "retry", "--all")).exit_code == 0
    await system.database.execute('DELETE FROM "setAside"')
    assert (await dead(system, "retry", "--all")).exit_code == 0
    await system.resolver(nobody_ids="toor")
    await eventually(system.dead.size, equals(4))
    assert await eventually(lambda: system.database.column("SELECT guid FROM events")) == [
        NOBODY["guid"]
    ]
    (letter,) = await list_json(system)
    assert (letter["attempt"], letter["reason"]) == (2, "unreadable")
    assert (await dead(system, "drop", letter["letter"], "--yes")).exit_code == 0
    assert await list_json(system) == []


async def test_retried_letters_do_not_halt_the_resolver(system: System) -> None:
    """Records that fail again do not count toward the limit of dead letters per minute."""
    limit = {"resolver_dead_limit": 4}
    await publish_bad_records(
        system, *(BAD["no event"]._replace(key=b"%d" % n) for n in range(4)), **limit
    )
    await system.services[0].stop()
    resolver = await system.resolver(**{**limit, "resolver_dead_limit": 1})
    assert (await dead(system, "retry", "--all")).exit_code == 0
    await eventually(system.dead.size, equals(8))
    assert await resolver.why_not_ready() == {}


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"ab\x00", [f"00000000  {'61 62 00':47}  |ab.|"]),
        (
            bytes(17),
            [f"00000000  {' '.join(['00'] * 16)}  |{'.' * 16}|", f"00000010  {'00':47}  |.|"],
        ),
    ],
)
def test_hexdump(data: bytes, lines: list[str]) -> None:
    assert list(hexdump(data)) == lines
