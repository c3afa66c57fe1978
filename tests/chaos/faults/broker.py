"""The Kafka broker is killed, stopped and frozen; its topic gets more partitions."""

import asyncio
import signal
from collections.abc import AsyncIterator

from tests.chaos.deployment import Deployment
from tests.chaos.faults.fault import Injected, fault


@fault("broker killed", "broker", weight=2)
async def killed(deployment: Deployment) -> AsyncIterator[Injected]:
    assert deployment.kafka.process
    await asyncio.to_thread(deployment.kafka.process.kill)
    yield Injected("the broker got SIGKILL", deployment.random.uniform(0, 5))
    await asyncio.to_thread(deployment.kafka.start)


@fault("broker stopped", "broker", quick=False)
async def stopped(deployment: Deployment) -> AsyncIterator[Injected]:
    seconds = deployment.random.choice([5, 10, 30])
    await asyncio.to_thread(deployment.kafka.stop)
    yield Injected(f"the broker is stopped for {seconds} s", seconds)
    await asyncio.to_thread(deployment.kafka.start)


@fault("broker frozen", "broker", weight=2)
async def frozen(deployment: Deployment) -> AsyncIterator[Injected]:
    assert deployment.kafka.process
    deployment.kafka.process.send(signal.SIGSTOP)
    yield Injected("the broker is frozen (SIGSTOP)", deployment.random.uniform(2, 9))
    deployment.kafka.process.send(signal.SIGCONT)


@fault("partitions added", "broker")
async def partitions_added(deployment: Deployment) -> AsyncIterator[Injected]:
    count = len(await deployment.topics.events.ends()) + 1
    await deployment.topics.events.grow(to=count)
    yield Injected(f"the topic has {count} partitions now")
