"""The Kafka broker dies, stops, and freezes; its topic grows."""

import asyncio
import signal
from collections.abc import AsyncIterator

from tests.chaos.faults.fault import Harm, fault
from tests.chaos.stage import Stage


@fault("broker killed", "broker", weight=2)
async def killed(stage: Stage) -> AsyncIterator[Harm]:
    assert stage.kafka.process
    await asyncio.to_thread(stage.kafka.process.kill)
    yield Harm("the broker got SIGKILL", stage.random.uniform(0, 5))
    await asyncio.to_thread(stage.kafka.start)


@fault("broker stopped", "broker", quick=False)
async def stopped(stage: Stage) -> AsyncIterator[Harm]:
    seconds = stage.random.choice([5, 10, 30])
    await asyncio.to_thread(stage.kafka.stop)
    yield Harm(f"the broker is stopped for {seconds} s", seconds)
    await asyncio.to_thread(stage.kafka.start)


@fault("broker frozen", "broker", weight=2)
async def frozen(stage: Stage) -> AsyncIterator[Harm]:
    assert stage.kafka.process
    stage.kafka.process.send(signal.SIGSTOP)
    yield Harm("the broker is frozen (SIGSTOP)", stage.random.uniform(2, 9))
    stage.kafka.process.send(signal.SIGCONT)


@fault("partitions added", "broker")
async def partitions_added(stage: Stage) -> AsyncIterator[Harm]:
    count = len(await stage.topics.events.ends()) + 1
    await stage.topics.events.grow(to=count)
    yield Harm(f"the topic has {count} partitions now")
