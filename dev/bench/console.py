"""Time the pages of the console on 5,000,000 events, beside the calls of the read API under them.

Both run in this process, without a network, on the tables of `read-api`.
"""

import asyncio
import secrets
import time
from statistics import median, quantiles
from typing import NamedTuple

import httpx
from pydantic import SecretStr

from api import app as api
from console import app as console
from console.access import Access
from console.background import Background
from console.feed import Feed
from console.monitor import Monitor
from console.sessions import Lifetime
from dev.bench import read_api, servers, topics
from dev.bench.table import show
from merganser.http.authentication import ApiKeys
from merganser.queries.pool import Pool
from merganser.runtime import kafka, metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database, connect
from merganser.runtime.settings import ApiSettings, ResolverSettings, Settings
from schemas.dead_letter import DeadLetter, Reason, RecordAddress

REQUESTS = 100

MAX_SECONDS, MAX_RATIO = 0.1, 1.5
"""The targets: the median of a page, and its ratio to the calls of the read API under it."""

EVENT = "evt_01a20b62-00000007-7de5-b6d7-710b0f3a9c44"
LINK = "evt_01a20b62-00000001-7de5-b6d7-710b0f3a9c44"
SMALL, LARGE = "pro_00000004", "pro_00000001"

EVENTS, LETTERS = 10_000, 1000
"""Records of the topics."""

_IN_KAFKA = {"kafka_bootstrap", "topic", "dead_topic", "refused_topic"}
_INSERT_OLD_KEY = """
INSERT INTO "apiKeys" (guid, name, "keyHash", permissions) VALUES ('key_bench', 'old', 'x', '{}')
"""


class Page(NamedTuple):
    """A page, and the calls of the read API that have the same data, if it has any."""

    route: str
    path: str
    calls: tuple[str, ...] = ()
    """Paths of GET; after `POST `, of POST."""


def _profile(guid: str) -> Page:
    calls = (f"/profile/{guid}", f"/profile/{guid}/events?limit=50", f"/profile/{guid}/explain")
    return Page("/profiles/{guid}", f"/profiles/{guid}", calls)


PAGES = {
    "overview": Page("/", "/"),
    "live events": Page("/live", "/live"),
    "newest profiles and merges": Page("/profiles", "/profiles", ("/profiles?limit=20",)),
    "search for a userId": Page("/profiles", "/profiles?q=user-4", ("/profiles?userId=user-4",)),
    "search for a property": Page(
        "/profiles",
        "/profiles?property=plan&value=free",
        ("/profiles?property=plan&value=free&limit=50",),
    ),
    "a profile": _profile(SMALL),
    "a profile of 1,000,000 events": _profile(LARGE),
    "an event": Page("/events/{guid}", f"/events/{EVENT}", (f"/event/{EVENT}",)),
    "preview of an unlink": Page(
        "/events/{guid}/link",
        f"/events/{LINK}/link",
        (f"POST /event/{LINK}/unlink?reason=wrong&preview=true",),
    ),
    "rules": Page("/rules", "/rules"),
    "editor of rules": Page("/rules/edit", "/rules/edit"),
    "dead letters, 1,000": Page("/dead-letters", "/dead-letters"),
    "a dead letter": Page("/dead-letters/{name:path}", "/dead-letters/0:500"),
    "keys": Page("/keys", "/keys"),
    "form of a key": Page("/keys/new", "/keys/new"),
    "preview of a revocation": Page("/keys/{guid}/revoke", "/keys/key_bench/revoke"),
    "ledger of erasures": Page("/privacy", "/privacy"),
    "a person to export or forget": Page("/privacy", f"/privacy?id={SMALL}"),
    "operations": Page("/operations", "/operations"),
    "preview of a replay": Page("/operations/replay", "/operations/replay?from=0"),
    "audits": Page("/operations/audits", "/operations/audits"),
    "log of actions": Page("/actions", "/actions"),
}
"""By what they show. A test compares them with the routes of the console."""

NOT_TIMED = {
    "/login": "public, and reads nothing",
    "/login/{token}": "works once",
    "/live/stream": "a stream that does not end",
    "/privacy/export/{guid}": "a download that takes as long as there is data",
    "/static/{name}": "from memory",
    "/{path:path}": "the page for what does not exist",
}
"""The other routes, and why they are not timed."""


def main() -> None:
    """Print medians, 99th percentiles, and the ratio to the calls of the read API."""
    with servers.running(kafka=True) as running, servers.database(running) as url:
        kafka_settings = topics.backlog(running, EVENTS)
        asyncio.run(_publish_letters(kafka_settings))
        settings = ResolverSettings(
            _env_file=None,
            **kafka_settings.model_dump(include=_IN_KAFKA),
            database_url=SecretStr(url),
        )
        asyncio.run(_measure(settings))


async def _publish_letters(settings: Settings) -> None:
    async with kafka.producer(settings, "bench", timeout=30) as producer:
        for number in range(LETTERS):
            letter = DeadLetter.of_record(
                Reason.UNREADABLE,
                f"InvalidEvent: type {number % 3}",
                RecordAddress(settings.topic, 0, number),
                None,
                b'{"type": 1}',
                (),
            )
            await producer.send(
                settings.dead_topic,
                letter.value,
                letter.key,
                partition=0,
                headers=list(letter.encode_headers()),
            )


async def _measure(settings: ResolverSettings) -> None:
    url = settings.database_url.get_secret_value()
    secret = secrets.token_urlsafe()
    async with await connect(url, "bench") as connection:
        await read_api.fill(connection, secret)
        await connection.execute(_INSERT_OLD_KEY)
    database = Database(url, "keys")
    keys = ApiKeys(database, 60, Stop(), "")
    pool = Pool("bench", metrics.CONSOLE_POOL_WAIT_SECONDS, url, 8, 60)
    await pool.open()
    scan = ApiSettings(_env_file=None).api_scan
    access = Access(pool, keys, Lifetime(3600, 43_200), None)
    monitor = Monitor(pool, settings, Stop())
    await monitor.sample(None)  # in the process, a task does that
    background = Background(Stop())
    feed = Feed(pool, settings, Stop())
    reading = asyncio.create_task(feed.run())
    pages = httpx.ASGITransport(
        console.create_app(pool, keys, access, scan, monitor, settings, background, feed)
    )
    calls = httpx.ASGITransport(api.create_app(pool, keys, scan, settings.nobody_ids))
    bearer = {"authorization": f"Bearer {secret}"}
    same_origin = {"sec-fetch-site": "same-origin"}
    async with (
        httpx.AsyncClient(transport=pages, base_url="http://console") as viewer,
        httpx.AsyncClient(
            transport=calls, base_url="http://api/api/v1", headers=bearer, timeout=60
        ) as client,
    ):
        login = await viewer.post("/login", data={"key": secret}, headers=same_origin)
        assert login.status_code == httpx.codes.SEE_OTHER, login.text  # noqa: S101 - it must work
        rows = [await _row(viewer, client, name) for name in PAGES]
    reading.cancel()
    await pool.close()
    await database.close()
    show(
        f"pages of the console, {REQUESTS} each; ratios to the calls of the read API; the target "
        f"is {MAX_SECONDS * 1000:.0f} ms and a ratio of {MAX_RATIO}",
        ("what", "p50 ms", "p99 ms", "API p50 ms", "ratio", "target"),
        rows,
    )


async def _row(viewer: httpx.AsyncClient, client: httpx.AsyncClient, name: str) -> tuple[str, ...]:
    _, path, calls = PAGES[name]
    pages, answers = [], []
    for _ in range(REQUESTS):
        pages.append(await _seconds(viewer, path))
        answers.append(sum([await _seconds(client, call) for call in calls]))
    p50, p99, below = median(pages), quantiles(pages, n=100)[98], median(answers)
    milliseconds = [f"{seconds * 1000:.1f}" for seconds in (p50, p99, below)]
    is_met = p50 <= MAX_SECONDS and p50 <= MAX_RATIO * (below or p50)
    ratio = f"{p50 / below:.2f}" if below else ""
    return name, *milliseconds, ratio, "met" if is_met else "missed"


async def _seconds(client: httpx.AsyncClient, call: str) -> float:
    method, path = call.split(" ") if " " in call else ("GET", call)
    start = time.perf_counter()
    (await client.request(method, path)).raise_for_status()
    return time.perf_counter() - start
