"""The network between each two is slow, narrow, cut, or gone."""

from collections.abc import AsyncIterator

from tests.chaos.faults.fault import Harm, fault
from tests.chaos.stage import Stage
from tests.support.proxy import Proxy


def _pair(stage: Stage) -> tuple[str, Proxy]:
    return stage.random.choice(sorted(stage.proxies.items(), key=lambda item: item[0]))


@fault("network delayed", "network", weight=2)
async def delayed(stage: Stage) -> AsyncIterator[Harm]:
    name, proxy = _pair(stage)
    proxy.delay = stage.random.choice([0.05, 0.2, 0.8])
    yield Harm(f"{name}: {proxy.delay * 1000:.0f} ms late", stage.random.uniform(3, 8))
    proxy.hurry()


@fault("network throttled", "network", weight=2)
async def throttled(stage: Stage) -> AsyncIterator[Harm]:
    name, proxy = _pair(stage)
    proxy.rate = stage.random.choice([4_000.0, 50_000.0])
    yield Harm(f"{name}: {proxy.rate / 1000:.0f} kB/s", stage.random.uniform(3, 8))
    proxy.hurry()


@fault("network cut", "network", weight=3)
async def cut(stage: Stage) -> AsyncIterator[Harm]:
    name, proxy = _pair(stage)
    await proxy.stop()
    yield Harm(f"{name}: cut", stage.random.uniform(0, 5))
    await proxy.start()


@fault("network silent", "network", weight=2)
async def silent(stage: Stage) -> AsyncIterator[Harm]:
    name, proxy = _pair(stage)
    proxy.freeze()
    yield Harm(f"{name}: nothing passes, nothing is reset", stage.random.uniform(2, 9))
    proxy.thaw()


@fault("slow database for resolvers", "network")
async def slow_consumers(stage: Stage) -> AsyncIterator[Harm]:
    proxy = stage.proxies["resolver → Postgres"]
    proxy.delay = 0.02
    yield Harm("resolvers are slow: 20 ms to Postgres", stage.random.uniform(4, 10))
    proxy.hurry()
