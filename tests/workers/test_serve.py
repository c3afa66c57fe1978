"""`merganser serve`: all processes, or some, in one container."""

import httpx

from dev.stack.ports import free_port
from tests.support.service import Metrics, Service
from tests.support.system import System
from tests.support.waiting import equals, eventually
from tests.workers.processes import processes

KINDS = ["ingest", "resolver", "scanner", "properties", "decoration", "api", "console"]


class Served:
    """A `merganser serve` on free ports."""

    def __init__(self, system: System, **settings: object) -> None:
        ports = [free_port() for _ in range(3)]
        self.events_url, self.api_url = (f"http://127.0.0.1:{port}/api/v1" for port in ports[:2])
        self.service: Service = system.new(
            "serve", ingest_port=ports[0], api_port=ports[1], console_port=ports[2], **settings
        )


async def test_serve_runs_all_processes(system: System) -> None:
    served = Served(system, ingest_workers=2)
    served.service.start()
    await served.service.ready()
    assert set(processes(served.service)) == {"ingest-2", *(f"{kind}-1" for kind in KINDS)}
    key = await system.key("all", "events:write", "profiles:read")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
        event = {"type": "purchase", "userId": "1"}
        assert (await client.post(f"{served.events_url}/track", json=event)).status_code == 200

        async def profile() -> int:
            return (await client.get(f"{served.api_url}/profiles?userId=1")).status_code

        await eventually(profile, equals(200))
    page = await served.service.metrics()
    for kind in KINDS:
        assert page.value("merganser_build_info", worker=f"{kind}-1") == 1
        own = Metrics((await served.service.ops(f"/metrics?process={kind}")).text)
        assert own.value("merganser_build_info") == (2 if kind == "ingest" else 1)
    assert {line["process"] for line in served.service.log_lines} == {"serve", *KINDS}
    assert await served.service.stop(within=20) == 0
    assert served.service.defects == []


async def test_serve_runs_the_processes_of_the_option_only(system: System) -> None:
    served = Served(system)
    served.service.arguments = ["--only", "scanner, resolver"]
    served.service.start()
    await served.service.ready()
    assert set(processes(served.service)) == {"scanner-1", "resolver-1"}
    assert (await served.service.ops("/metrics?process=ingest")).status_code == 503


async def test_a_worker_that_cannot_start_stops_no_other(system: System) -> None:
    """Kafka lost its data, for example: the resolver refuses to start, ingest must not."""
    resolver = await system.resolver()
    await system.consumed()
    assert await resolver.stop() == 0
    await system.database.execute('UPDATE "consumerOffsets" SET "nextOffset" = 1000')
    served = Served(system)
    served.service.start()
    await eventually(lambda: served.service.log.count("it starts again") >= 2)

    async def unready() -> set[str]:
        return {name.split("/")[0] for name in await served.service.why_not_ready()}

    await eventually(unready, equals({"resolver-1"}))
    reasons = await served.service.why_not_ready()
    assert reasons["resolver-1/alive"] == "ended with exit code 1"
    key = await system.key("all", "events:write", "profiles:read")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
        event = {"type": "purchase", "userId": "1"}
        assert (await client.post(f"{served.events_url}/track", json=event)).status_code == 200
        assert (await client.get(f"{served.api_url}/profiles?userId=1")).status_code == 200
    page = await served.service.metrics()
    for kind in KINDS:
        labels = {"worker": f"{kind}-1", "check": "alive"}
        if kind != "resolver":
            assert page.value("merganser_build_info", worker=f"{kind}-1") == 1
        assert page.value("merganser_check_failing", **labels) == (kind == "resolver")
    # It starts as soon as it can.
    await system.database.execute('UPDATE "consumerOffsets" SET "nextOffset" = 0')
    await served.service.ready()


async def test_an_unknown_process_is_refused(system: System) -> None:
    served = Served(system)
    served.service.arguments = ["--only", "ingest,gateway"]
    served.service.start()
    assert await served.service.ended() == 2
    assert "gateway: not among ingest, resolver" in " ".join(served.service.log.split())


async def test_an_invalid_setting_of_any_process_is_refused(system: System) -> None:
    served = Served(system, properties_batch="many")
    served.service.start()
    assert await served.service.ended() == 2
    assert "merganser: MERGANSER_PROPERTIES_BATCH: " in served.service.log
    assert "worker started" not in served.service.log
