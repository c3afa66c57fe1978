"""Kafka fails: ingest answers 503 soon, never 200 for an event that can be lost, and recovers."""

import asyncio

import pytest

from dev.stack.kafka import Kafka
from ingest.refused_events import MAX_WAITING as MAX_WAITING_RECORDS
from schemas.event import decode
from tests.support.freezing import freeze, thaw
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults


async def accepts(gateway: Gateway, kind: str) -> bool:
    return (await gateway.track(type=kind, userId="1")).status_code == 200


async def test_a_broker_is_frozen(broker: Kafka, system: System) -> None:
    gateway = await system.ingest()
    accepted = {await gateway.tracked(type="before", userId="1")}
    freeze(broker)
    answers = await asyncio.gather(
        *(gateway.track(type="during", userId=f"u{n}") for n in range(20))
    )
    for answer in answers:
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["code"] == answer.json()["error"]["code"] == "unavailable"
        assert answer.elapsed.total_seconds() < 10
    reasons, warnings = await gateway.readiness()
    assert (reasons, list(warnings)) == ({}, ["kafka"])
    assert await gateway.metric("merganser_check_failing", check="kafka") == 1
    # ingest knows that Kafka does not answer, so further requests do not wait for it.
    again = await gateway.track(type="during", userId="1")
    assert again.status_code == 503

    thaw(broker)
    await eventually(lambda: accepts(gateway, "after"))
    await eventually(gateway.readiness, equals(({}, {})))
    accepted.add(await gateway.tracked(type="after", userId="1"))
    found = {decode(record.value or b"")["guid"] for record in await system.events.records()}
    assert accepted <= found
    assert await gateway.metric("merganser_ingest_waiting_bytes") == 0


async def test_a_broker_is_killed_and_started(broker: Kafka, system: System) -> None:
    gateway = await system.ingest()
    accepted = [await gateway.tracked(type="before", userId=f"u{n}") for n in range(10)]
    assert broker.process
    broker.process.kill()
    answer = await gateway.track(type="during", userId="1")
    assert answer.status_code == 503
    await asyncio.to_thread(broker.start)
    await eventually(lambda: accepts(gateway, "after"), within=60)
    accepted.append(await gateway.tracked(type="after", userId="1"))
    found = {decode(record.value or b"")["guid"] for record in await system.events.records()}
    assert set(accepted) <= found


MAX_WAITING = 512 << 10


async def test_waiting_events_take_bounded_memory(broker: Kafka, system: System) -> None:
    """Beyond the limit the answer is 503 at once."""
    gateway = await system.ingest(ingest_max_waiting=MAX_WAITING, ingest_publish_timeout=30)
    freeze(broker)
    big = {"type": "t", "userId": "1", "data": {"a": "x" * 50_000}}
    waiting = [asyncio.create_task(gateway.track(**big)) for _ in range(20)]
    refused = await eventually(lambda: [task for task in waiting if task.done()], len)
    assert {task.result().status_code for task in refused} == {503}
    assert await gateway.metric("merganser_ingest_waiting_bytes") <= MAX_WAITING
    thaw(broker)
    statuses = [(await task).status_code for task in waiting]
    assert 200 in statuses
    assert set(statuses) == {200, 503}


async def test_events_are_refused_as_ever_while_kafka_is_frozen(
    broker: Kafka, system: System
) -> None:
    """Their records wait up to a limit; those that fit into it are published later."""
    name = "merganser_ingest_refused_records_total"
    gateway = await system.ingest(ingest_refused_rate=1_000_000)
    answer = await gateway.batch([{}])
    await eventually(lambda: gateway.metric(name, outcome="published"), equals(1))
    freeze(broker)
    for _ in range(5):
        again = await gateway.batch([{}] * 1000)
        assert again.status_code == answer.status_code
        assert again.json()["rejected"] == 1000
    assert await gateway.metric(name, outcome="dropped") >= 5000 - 2 * MAX_WAITING_RECORDS
    thaw(broker)
    await eventually(lambda: accepts(gateway, "after"))
    await eventually(
        lambda: gateway.metric(name, outcome="published"), lambda count: count > MAX_WAITING_RECORDS
    )
    assert gateway.defects == []


@pytest.mark.parametrize("kind", ["ingest", "resolver"])
async def test_sigterm_while_kafka_is_frozen_ends_it_in_time(
    broker: Kafka, system: System, kind: str
) -> None:
    service = await (system.ingest() if kind == "ingest" else system.resolver())
    freeze(broker)
    if isinstance(service, Gateway):
        assert (await service.track(type="t", userId="1")).status_code == 503
        assert (await service.track(type="t")).status_code == 422
    assert await service.stop() == 0


async def test_sigterm_lets_ingest_answer_open_requests(system: System) -> None:
    gateway = await system.ingest()
    requests = [
        asyncio.create_task(gateway.track(type="t", userId=f"u{n}", data={"a": "x" * 1000}))
        for n in range(50)
    ]
    await eventually(lambda: any(task.done() for task in requests))
    assert await gateway.stop() == 0
    answers = await asyncio.gather(*requests, return_exceptions=True)
    accepted = {
        answer.json()["event"]["guid"]
        for answer in answers
        if not isinstance(answer, BaseException) and answer.status_code == 200
    }
    found = {decode(record.value or b"")["guid"] for record in await system.events.records()}
    assert accepted
    assert accepted <= found
