"""Our own processes die, leave, and sleep."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.faults.fault import Fault, Harm, fault
from tests.chaos.stage import Stage
from tests.support.service import Service

KINDS = ("ingest", "resolver", "scanner", "properties", "decoration")

STOP_SECONDS = 10.0
"""What the design allows a process after SIGTERM."""


@contextmanager
def _handling(stage: Stage, services: Sequence[Service]) -> Iterator[None]:
    """Keep the supervisor from starting what is down on purpose."""
    names = {service.name for service in services}
    stage.handled |= names
    try:
        yield
    finally:
        stage.handled -= names


async def _kill(stage: Stage, services: Sequence[Service], seconds: float) -> AsyncIterator[Harm]:
    with _handling(stage, services):
        await asyncio.gather(*(service.kill() for service in services if service.running))
        yield Harm(f"{', '.join(service.name for service in services)} got SIGKILL", seconds)
        for service in services:
            await asyncio.to_thread(service.start)


def _killing(kind: str) -> Fault:
    def kill(stage: Stage) -> AsyncIterator[Harm]:
        of_kind = stage.of(kind)
        victims = stage.random.sample(of_kind, stage.random.choice([1, 1, len(of_kind)]))
        return _kill(stage, victims, stage.random.uniform(0, 3))

    return kill


for _kind in KINDS:
    fault(f"SIGKILL of {_kind}", "processes", weight=2)(_killing(_kind))


@fault("SIGKILL of everything", "processes")
def everything_killed(stage: Stage) -> AsyncIterator[Harm]:
    everything = [service for kind in KINDS for service in stage.of(kind)]
    return _kill(stage, everything, stage.random.uniform(0, 2))


@fault("SIGTERM and restart", "processes", weight=2)
async def restarted(stage: Stage) -> AsyncIterator[Harm]:
    kind = stage.random.choice(KINDS)
    victims = stage.random.sample(stage.of(kind), 1)
    with _handling(stage, victims):
        for service in victims:
            if service.running and (code := await service.stop(STOP_SECONDS + 1)) != 0:
                raise AssertionError(f"{service.name} ended with {code} after SIGTERM")
        yield Harm(f"{', '.join(service.name for service in victims)} got SIGTERM")
        for service in victims:
            await asyncio.to_thread(service.start)


async def _suspend(stage: Stage, service: Service, seconds: float) -> AsyncIterator[Harm]:
    with _handling(stage, [service]):
        service.send(signal.SIGSTOP)
        yield Harm(f"{service.name} is suspended (SIGSTOP)", seconds)
        service.send(signal.SIGCONT)


@fault("resolver asleep beyond its session", "processes", weight=2, quick=False)
def zombie(stage: Stage) -> AsyncIterator[Harm]:
    """Its partitions go to others, and it wakes up believing that they are still its own."""
    seconds = stage.random.choice([8, 12, 17])  # 17: beyond Postgres' patience with its locks, too
    return _suspend(stage, stage.random.choice(stage.of("resolver")), seconds)


@fault("process asleep", "processes")
def asleep(stage: Stage) -> AsyncIterator[Harm]:
    service = stage.random.choice(stage.of(stage.random.choice(KINDS)))
    return _suspend(stage, service, stage.random.uniform(1, 4))


@fault("rebalance storm", "processes", quick=False)
async def rebalance_storm(stage: Stage) -> AsyncIterator[Harm]:
    rounds = stage.random.randrange(2, 4)
    yield Harm(f"{len(stage.extras)} more resolvers join and leave, {rounds} times")
    for _ in range(rounds):
        for service in stage.extras:
            await asyncio.to_thread(service.start)
            await asyncio.sleep(stage.random.uniform(1, 4))
        for service in stage.extras:
            if stage.random.random() < 0.5:
                await service.kill()
            else:
                await service.stop(STOP_SECONDS + 1)
