"""Records that cannot be processed become dead letters with everything needed to act on them."""

import pytest
from aiokafka import AIOKafkaProducer

from schemas.event import VERSION_HEADER, encode
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import Record, record_of
from tests.support.waiting import equals, eventually

VERSION = dict([VERSION_HEADER])
BAD = {
    "unreadable": Record(b"garbage", b"a key", VERSION, partition=0),
    "tombstone": Record(None, b"a key", VERSION, partition=0),
    "version": Record(encode(event(user="1")), b"a key", {"schema-version": b"99"}, partition=0),
    "nobody": Record(encode(event(user="undefined")), None, VERSION, partition=0),
}


async def test_invalid_records_become_dead_letters(system: System) -> None:
    good = [record_of(event(user=f"u{n}"))._replace(partition=0) for n in range(len(BAD) + 1)]
    mixed = [good[0]]
    for bad, after in zip(BAD.values(), good[1:], strict=True):
        mixed += [bad, after]
    await system.events.publish(*mixed)
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(len(good)))

    letters = await eventually(system.dead.records, lambda found: len(found) == len(BAD))
    for letter, (reason, bad), offset in zip(letters, BAD.items(), (1, 3, 5, 7), strict=True):
        assert (letter.value, letter.key) == (bad.value, bad.key)
        assert letter.headers["error"]
        assert {
            name: letter.headers[name] for name in ("reason", "topic", "partition", "offset")
        } == {
            "reason": reason.encode(),
            "topic": system.events.name.encode(),
            "partition": b"0",
            "offset": str(offset).encode(),
        }
        assert letter.headers.get("schema-version") == bad.headers.get("schema-version")
    for reason in BAD:
        counted = "merganser_resolver_dead_letters_total"
        assert await resolver.metric(counted, reason=reason) == 1


async def test_a_record_without_key_and_value_becomes_a_dead_letter(system: System) -> None:
    async with AIOKafkaProducer(bootstrap_servers=system.events.bootstrap) as producer:
        nothing = producer.create_batch()
        assert nothing.append(timestamp=None, key=None, value=None)
        await (await producer.send_batch(nothing, system.events.name, partition=0))
    await system.events.publish(record_of(event(user="1"))._replace(partition=0))
    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(1))
    (letter,) = await system.dead.records()
    assert (letter.headers["reason"], letter.headers["offset"]) == (b"tombstone", b"0")
    assert (letter.key, letter.value) == (None, None)


async def test_records_too_large_for_the_dead_letter_topic(system: System) -> None:
    """A letter that is too large omits the record and has its address."""
    sizes = (6 << 20, 40 << 20)
    async with AIOKafkaProducer(
        bootstrap_servers=system.events.bootstrap,
        compression_type="gzip",
        max_batch_size=64 << 20,
        max_request_size=64 << 20,
    ) as producer:
        for size in sizes:
            await producer.send_and_wait(system.events.name, b"x" * size, key=b"k", partition=0)
    await system.events.publish(record_of(event(user="1"))._replace(partition=0))
    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(1))
    letters = {letter.headers["offset"]: letter for letter in await system.dead.records()}
    whole, without = letters[b"0"], letters[b"1"]
    assert whole.value == b"x" * sizes[0]
    assert (whole.key, whole.headers["dropped"]) == (b"k", b"0")
    assert (without.key, without.value, without.headers["dropped"]) == (
        None,
        b"",
        str(sizes[1] + 1).encode(),
    )


async def test_only_the_record_that_postgres_rejects_becomes_a_dead_letter(system: System) -> None:
    """An operator added the constraint; the resolver checks all others itself."""
    await system.database.execute(
        "ALTER TABLE events ADD CONSTRAINT mine CHECK (type <> 'forbidden')"
    )
    kinds = ["fine", "forbidden", "fine", "fine", "forbidden", "fine", "fine"]
    await system.events.publish(
        *(record_of(event(user="1", kind=kind))._replace(partition=1) for kind in kinds)
    )
    await system.resolver()
    letters = await eventually(system.dead.records, lambda found: len(found) == 2)
    assert [letter.headers["offset"] for letter in letters] == [b"1", b"4"]
    assert {letter.headers["reason"] for letter in letters} == {b"refused"}
    assert all(b"23514" in letter.headers["error"] for letter in letters)
    assert all(b"forbidden" not in letter.headers["error"] for letter in letters)
    await eventually(lambda: system.database.count("events"), equals(5))
    positions = await system.database.column(
        'SELECT "nextOffset" FROM "consumerOffsets" WHERE partition = 1'
    )
    assert positions == [7]


async def test_a_flood_of_dead_letters_halts_the_resolver_and_readyz_says_so(
    system: System,
) -> None:
    resolver = await system.resolver(resolver_dead_limit=3, resolver_batch=2)
    good = record_of(event(user="1"))._replace(partition=0)
    await system.events.publish(*[BAD["unreadable"]] * 10, good)
    reasons = await eventually(resolver.why_not_ready)
    assert list(reasons) == ["halted"]
    assert "more than 3 dead letters" in reasons["halted"]
    assert await resolver.metric("merganser_check_failing", check="halted") == 1
    assert await resolver.metric("merganser_resolver_halted") == 1
    (log_line,) = [line for line in resolver.log_lines if line["level"] == "error"]
    assert log_line["event"] == "halted: look at the dead letters, fix the cause, restart"
    assert "MERGANSER_RESOLVER_DEAD_LIMIT" in log_line["why"]
    assert resolver.running
    assert (await resolver.ops("/healthz")).status_code == 200
    assert await system.dead.size() == 3  # what the limit allows, for an operator to look at
    (position,) = await system.database.column(
        'SELECT "nextOffset" FROM "consumerOffsets" WHERE partition = 0'
    )
    assert position <= 3
    assert await resolver.stop() == 0

    fixed = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(1))
    letters = await system.dead.records()
    assert {record.headers["offset"] for record in letters} == {b"%d" % n for n in range(10)}
    assert await fixed.why_not_ready() == {}
    assert await fixed.metric("merganser_resolver_halted") == 0


@pytest.mark.parametrize("kind", ["events", "dead"])
async def test_large_records_pass(system: System, kind: str) -> None:
    """Events and invalid records may be larger than 1 MB, the default limit of Kafka."""
    big = event(user="1", text="x" * 3_000_000)
    await system.resolver()
    if kind == "events":
        await system.events.publish_events([big])
        await eventually(lambda: system.database.count("events"), equals(1))
        assert await system.database.value('SELECT length(value) FROM "eventData"') == 3_000_000
    else:
        await system.events.publish(Record(encode(big), b"k"))
        (letter,) = await eventually(system.dead.records)
        assert letter.value == encode(big)
