"""Our own processes are killed, restarted and suspended."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence

from tests.chaos.deployment import Deployment
from tests.chaos.faults.fault import Injected, Injection, fault
from tests.support.service import Service

KINDS = ("ingest", "resolver", "scanner", "properties", "decoration")

SEVERAL = "SIGKILL of several processes"

STOP_SECONDS = 10.0
"""How long a process may take to exit after SIGTERM."""


async def _kill(
    deployment: Deployment, services: Sequence[Service], seconds: float
) -> AsyncIterator[Injected]:
    with deployment.stopping(services):
        await asyncio.gather(*(service.kill() for service in services if service.running))
        deployment.kills += len(services)
        yield Injected(f"{', '.join(service.name for service in services)} got SIGKILL", seconds)
        for service in services:
            await asyncio.to_thread(service.start)


def _kill_kind(kind: str) -> Injection:
    def kill(deployment: Deployment) -> AsyncIterator[Injected]:
        of_kind = deployment.services_of(kind)
        victims = deployment.random.sample(of_kind, deployment.random.choice([1, 1, len(of_kind)]))
        return _kill(deployment, victims, deployment.random.uniform(0, 3))

    return kill


for _kind in KINDS:
    fault(f"SIGKILL of {_kind}", "processes", weight=2)(_kill_kind(_kind))


@fault("SIGKILL of everything", "processes")
def everything_killed(deployment: Deployment) -> AsyncIterator[Injected]:
    return _kill(deployment, deployment.services_of(*KINDS), deployment.random.uniform(0, 2))


@fault(SEVERAL, "processes")
def several_killed(deployment: Deployment) -> AsyncIterator[Injected]:
    """Kill one to three processes of any kind."""
    count = deployment.random.choice([1, 1, 1, 2, 3])
    victims = deployment.random.sample(deployment.services_of(*KINDS), count)
    return _kill(deployment, victims, deployment.random.uniform(0, 1))


@fault("SIGTERM and restart", "processes", weight=2)
async def restarted(deployment: Deployment) -> AsyncIterator[Injected]:
    kind = deployment.random.choice(KINDS)
    victims = deployment.random.sample(deployment.services_of(kind), 1)
    with deployment.stopping(victims):
        for service in victims:
            if service.running and (code := await service.stop(STOP_SECONDS + 1)) != 0:
                raise AssertionError(f"{service.name} ended with {code} after SIGTERM")
        yield Injected(f"{', '.join(service.name for service in victims)} got SIGTERM")
        for service in victims:
            await asyncio.to_thread(service.start)


async def _suspend(
    deployment: Deployment, service: Service, seconds: float
) -> AsyncIterator[Injected]:
    with deployment.stopping([service]):
        service.send(signal.SIGSTOP)
        yield Injected(f"{service.name} is suspended (SIGSTOP)", seconds)
        service.send(signal.SIGCONT)


@fault("resolver suspended beyond its session", "processes", weight=2, quick=False)
def suspended_beyond_session(deployment: Deployment) -> AsyncIterator[Injected]:
    """Its partitions move to others; when it continues, it believes that they are its own."""
    seconds = deployment.random.choice([8, 12, 17])  # 17: Postgres also ends its transaction
    return _suspend(
        deployment, deployment.random.choice(deployment.services_of("resolver")), seconds
    )


@fault("process suspended", "processes")
def suspended(deployment: Deployment) -> AsyncIterator[Injected]:
    service = deployment.random.choice(deployment.services_of(deployment.random.choice(KINDS)))
    return _suspend(deployment, service, deployment.random.uniform(1, 4))


@fault("rebalance storm", "processes", quick=False)
async def rebalance_storm(deployment: Deployment) -> AsyncIterator[Injected]:
    rounds = deployment.random.randrange(2, 4)
    yield Injected(f"{len(deployment.spares)} more resolvers join and leave, {rounds} times")
    for _ in range(rounds):
        for service in deployment.spares:
            await asyncio.to_thread(service.start)
            await asyncio.sleep(deployment.random.uniform(1, 4))
        for service in deployment.spares:
            if deployment.random.random() < 0.5:
                await service.kill()
            else:
                await service.stop(STOP_SECONDS + 1)
