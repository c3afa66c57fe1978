"""The network between two processes is slow, throttled, cut or silent."""

from collections.abc import AsyncIterator

from tests.chaos.deployment import Deployment
from tests.chaos.faults.fault import Injected, fault
from tests.support.proxy import Proxy


def _pair(deployment: Deployment) -> tuple[str, Proxy]:
    return deployment.random.choice(sorted(deployment.proxies.items(), key=lambda item: item[0]))


@fault("network delayed", "network", weight=2)
async def delayed(deployment: Deployment) -> AsyncIterator[Injected]:
    name, proxy = _pair(deployment)
    proxy.delay = deployment.random.choice([0.05, 0.2, 0.8])
    yield Injected(f"{name}: {proxy.delay * 1000:.0f} ms delay", deployment.random.uniform(3, 8))
    proxy.restore_speed()


@fault("network throttled", "network", weight=2)
async def throttled(deployment: Deployment) -> AsyncIterator[Injected]:
    name, proxy = _pair(deployment)
    proxy.rate = deployment.random.choice([4_000.0, 50_000.0])
    yield Injected(f"{name}: {proxy.rate / 1000:.0f} kB/s", deployment.random.uniform(3, 8))
    proxy.restore_speed()


@fault("network cut", "network", weight=3)
async def cut(deployment: Deployment) -> AsyncIterator[Injected]:
    name, proxy = _pair(deployment)
    await proxy.stop()
    yield Injected(f"{name}: cut", deployment.random.uniform(0, 5))
    await proxy.start()


@fault("network silent", "network", weight=2)
async def silent(deployment: Deployment) -> AsyncIterator[Injected]:
    name, proxy = _pair(deployment)
    proxy.freeze()
    yield Injected(f"{name}: nothing passes, nothing is reset", deployment.random.uniform(2, 9))
    proxy.thaw()


@fault("slow database for resolvers", "network")
async def slow_consumers(deployment: Deployment) -> AsyncIterator[Injected]:
    proxy = deployment.proxies["resolver → Postgres"]
    proxy.delay = 0.02
    yield Injected("resolvers are slow: 20 ms to Postgres", deployment.random.uniform(4, 10))
    proxy.restore_speed()
