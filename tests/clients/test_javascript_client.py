"""The JavaScript client of Merganser, in a browser and in Node, with the running system."""

import asyncio
import gzip
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.clients import network_trouble
from tests.clients.network_trouble import Trouble
from tests.support import ROOT
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

HOME = ROOT / "clients" / "javascript"
MINUTE = 60
QUICK = {"flushInterval": 20, "retryMin": 50, "retryMax": 500}


@pytest.fixture(scope="module", autouse=True)
def built() -> Path:
    """Build the client from its source as `npm test` does; return the folder."""
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    if not (HOME / "node_modules" / "esbuild").exists():
        _run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund")
    _run("npm", "run", "--silent", "build")
    return HOME / "dist"


class Client:
    """A client in a Node process that a test calls."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, name: str, *values: Any) -> Any:
        """Call a function of the client and return its result."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([name, *values]).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, f"{name}: the process exited"
        return json.loads(line)


@asynccontextmanager
async def client(
    url: str,
    key: str,
    environment: Literal["server", "browser"] = "server",
    *,
    intervals: Mapping[str, int] = QUICK,
    **options: int,
) -> AsyncIterator[Client]:
    """Run a program with the client; in a `browser`, it can open and leave pages."""
    configuration = json.dumps({"apiKey": key, "endpoint": url, **intervals, **options})
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HOME / "test" / "driver.mjs"),
        environment,
        configuration,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def gateway(system: System) -> Gateway:
    gateway = await system.ingest()
    await system.resolver()
    return gateway


async def wait_until_resolved(system: System, events: int) -> None:
    """Wait until this number of events is stored, each with a profile."""
    query = 'SELECT count(*) FROM events WHERE "profileGuid" IS NOT NULL'
    await eventually(lambda: system.database.value(query), equals(events), within=60)
    assert await system.database.count("events") == events


async def data_of(system: System, kind: str) -> dict[str, str]:
    """Return the data of the only event of a type."""
    rows = await system.database.rows(
        'SELECT key, value FROM "eventData" JOIN events ON events.guid = "eventGuid" '
        "WHERE type = %s",
        kind,
    )
    assert len(dict(rows)) == len(rows)
    return dict(rows)


async def test_events_before_and_after_the_sign_in_are_on_one_profile(
    system: System, gateway: Gateway
) -> None:
    """The demo story over several pages, then another visitor after `reset`."""
    start = datetime.now(UTC)
    async with client(gateway.url, gateway.key, "browser") as call:
        await call("open", "https://shop.example/?utm_source=google&utm_medium=cpc")
        await call("page")
        visitor = await call("anonymousId")
        await call("leave")
        await call("open", "https://shop.example/account")
        await call("identify", 123, {"email": "a@b.example"})
        await call("track", {"type": "purchase", "data": {"total": 12.5, "items": ["mug"]}})
        assert await call("flush")
        await call("reset")
        await call("track", {"type": "somebody-else"})
        assert await call("flush")
    await wait_until_resolved(system, 4)
    assert await system.database.grouping() == {
        frozenset({"pageview", "identify", "purchase"}),
        frozenset({"somebody-else"}),
    }
    rows = await system.database.rows(
        'SELECT type, "userId", "anonymousId", "occurredAt" FROM events WHERE "profileGuid" = %s',
        await system.database.profile_of("123"),
    )
    # occurredAt does not give their order: it is corrected for each request separately, by a
    # difference that includes the duration of the request.
    assert {row[:3] for row in rows} == {
        ("pageview", None, visitor),
        ("identify", "123", visitor),
        ("purchase", "123", visitor),
    }
    assert len(rows) == 3
    slack = timedelta(seconds=1)
    assert all(start - slack <= at <= datetime.now(UTC) + slack for *_, at in rows)
    assert await data_of(system, "pageview") == {
        "path": "/",
        "url": "https://shop.example/?utm_source=google&utm_medium=cpc",
        "referrer": "",
        "title": "Shop",
        "utm_source": "google",
        "utm_medium": "cpc",
    }
    assert await data_of(system, "identify") == {"email": "a@b.example"}
    assert await data_of(system, "purchase") == {"total": "12.5", "items": '["mug"]'}


async def test_a_server_sends_events_of_many_users(system: System, gateway: Gateway) -> None:
    async with client(gateway.url, gateway.key) as call:
        for user in ("ann", "ben"):
            await call("identify", user, {"name": user}, {"anonymousId": f"device of {user}"})
            await call("track", {"type": f"bought by {user}", "userId": user})
            await call("track", {"type": f"seen by {user}", "anonymousId": f"device of {user}"})
        assert await call("close")
    await wait_until_resolved(system, 6)
    assert await system.database.grouping() == {
        frozenset({"identify", f"bought by {user}", f"seen by {user}"}) for user in ("ann", "ben")
    }


@pytest.mark.parametrize("trouble", ["unavailable", "cut", "slow"])
async def test_each_event_is_stored_once_despite_network_trouble(
    system: System, gateway: Gateway, trouble: Trouble
) -> None:
    """Answers 503, connections cut after the gateway has accepted the events, and late answers."""
    async with (
        network_trouble.run(gateway.port, trouble) as proxy,
        client(proxy.url, gateway.key, "browser", timeout=1000, batchSize=10) as call,
    ):
        await call("open", "https://shop.example/")
        for number in range(35):
            await call("track", {"type": f"step {number}"})
        await call("identify", 1)
        await call("flush")
        await wait_until_resolved(system, 36)
        await eventually(lambda: call("flush"), within=60)
        assert proxy.troubled
    kinds = Counter(await system.database.column("SELECT type FROM events"))
    assert kinds == Counter(["identify", *(f"step {number}" for number in range(35))])
    assert await system.database.count("profiles") == 1


async def test_each_event_is_stored_once_if_the_gateway_is_killed(
    system: System, gateway: Gateway
) -> None:
    """The gateway is killed twice during a stream of events, while the visitor leaves pages."""
    steps = 0

    async def walk(pages: int) -> None:
        nonlocal steps
        for _ in range(pages):
            for _ in range(20):
                await call("track", {"type": f"step {steps}"})
                steps += 1
            await call("leave")
            await call("open", "https://shop.example/")

    async with client(gateway.url, gateway.key, "browser", batchSize=10) as call:
        await call("open", "https://shop.example/")
        for _ in range(2):
            await walk(3)
            await gateway.kill()
            await walk(3)
            gateway.start()
            await walk(1)
            await gateway.ready()
        await call("identify", 9)
        await eventually(lambda: call("flush"), within=60)
    await wait_until_resolved(system, steps + 1)
    kinds = await system.database.column("SELECT type FROM events")
    assert set(kinds) == {"identify", *(f"step {number}" for number in range(steps))}
    assert await system.database.grouping() == {frozenset(kinds)}


async def test_a_minute_without_the_gateway_loses_no_event(
    system: System, gateway: Gateway
) -> None:
    """With the default intervals, a visitor on many pages and a busy server."""
    async with (
        client(gateway.url, gateway.key, "browser", intervals={}) as visit,
        client(gateway.url, gateway.key, intervals={}) as serve,
    ):
        await visit("open", "https://shop.example/")
        await gateway.kill()
        away, seconds = time.monotonic(), 0
        while time.monotonic() - away < MINUTE:
            for number in range(10):
                await visit("track", {"type": f"visit {seconds} {number}"})
                await serve("track", {"type": f"serve {seconds} {number}", "userId": f"u{number}"})
            if seconds % 10 == 9:
                await visit("leave")
                await visit("open", "https://shop.example/")
            seconds += 1
            await asyncio.sleep(away + seconds - time.monotonic())
        gateway.start()
        await gateway.ready()
        back = time.monotonic()
        await wait_until_resolved(system, 20 * seconds)
        print(f"{20 * seconds} events stored {time.monotonic() - back:.1f} s after the restart")  # noqa: T201
        assert await visit("flush")
        assert await serve("close")
    kinds = await system.database.column("SELECT type FROM events")
    assert set(kinds) == {
        f"{action} {second} {number}"
        for action in ("visit", "serve")
        for second in range(seconds)
        for number in range(10)
    }
    assert await system.database.count("events") == 20 * seconds


async def test_a_bad_event_does_not_affect_others(system: System, gateway: Gateway) -> None:
    bad = [
        {"type": "", "userId": "1"},
        {"type": "nobody"},
        {"type": "nul", "userId": "1", "data": {"a": "\0"}},
        {"type": "surrogate", "userId": "1", "data": {"\ud800": "\udfff"}},
        {"type": "long", "userId": "1" * 10_000},
        {"type": "large", "userId": "1", "data": {"a": "x" * 2_000_000}},
    ]
    async with client(gateway.url, gateway.key) as call:
        for number, event in enumerate(bad):
            await call("track", event)
            await call("track", {"type": f"good {number}", "userId": "1"})
        assert await call("close")
    good = {f"good {number}" for number in range(len(bad))}
    await eventually(
        lambda: system.database.column("SELECT type FROM events"), lambda kinds: good <= set(kinds)
    )
    kinds = await system.database.column("SELECT type FROM events")
    assert set(kinds) - good <= {"nul", "surrogate"}, "stored exactly, or refused"
    assert len(kinds) == len(set(kinds))


async def test_events_wait_while_the_key_is_refused(system: System, gateway: Gateway) -> None:
    key = await system.key("late")
    (guid,) = await system.database.column('SELECT guid FROM "apiKeys" WHERE name = %s', "late")
    await system.database.execute(
        'UPDATE "apiKeys" SET permissions = %s WHERE guid = %s', ["events:read"], guid
    )
    async with client(gateway.url, key) as call:
        await eventually(lambda: _status(gateway, key), equals(403))
        await call("track", {"type": "t", "userId": "1"})
        assert not await call("flush")
        await system.database.execute(
            'UPDATE "apiKeys" SET permissions = %s WHERE guid = %s', ["events:write"], guid
        )
        assert await call("close")
    await wait_until_resolved(system, 1)


async def test_the_committed_script_is_built_from_its_source(gateway: Gateway, built: Path) -> None:
    """If it fails, run `npm run build -- --commit`."""
    script = (built / "merganser.js").read_bytes()
    response = await gateway.request("GET", "/merganser.js")
    assert response.content == script
    assert len(gzip.compress(script)) < 5_000


async def _status(gateway: Gateway, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return (await gateway.post("/api/v1/batch", b'{"events": []}', headers)).status_code


def _run(*command: str) -> None:
    result = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
