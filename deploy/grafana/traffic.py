"""Synthetic traffic of a shop, for dashboards: visitors view pages, sign in and buy."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg

TICK = 0.25
"""Seconds between batches."""

ROW = """INSERT INTO events (type, "userId") SELECT 'refund', n FROM unnest(%s::text[]) AS n"""


async def send(
    ingest_url: str, api_url: str, key: str, database_url: str, rate: Callable[[float], float]
) -> None:
    """Send events, write rows and read profiles until canceled.

    Args:
        ingest_url: of ingest.
        api_url: of the read API, with /api/v1.
        key: an API key that may write events and read profiles.
        database_url: of the database, for rows as other systems write them.
        rate: returns events per second for the seconds since the start.

    Raises:
        httpx.HTTPStatusError: ingest or the read API responds with an error.
    """
    chance, start = random.Random(1), time.monotonic()  # noqa: S311 - made-up people
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=30) as http,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        while True:
            events = [_event(chance) for _ in range(round(rate(time.monotonic() - start) * TICK))]
            # The last one is not a valid event.
            body = {"events": [*events, {"type": ""}]}
            response = await http.post(f"{ingest_url}/api/v1/batch", json=body)
            response.raise_for_status()
            users = [str(chance.randrange(2000)) for _ in range(len(events) // 50 + 1)]
            await connection.execute(ROW, [users])
            (await http.get(f"{api_url}/profiles", params={"limit": 5})).raise_for_status()
            await asyncio.sleep(TICK)


def _event(chance: random.Random) -> dict[str, Any]:
    user = chance.randrange(2000)
    device = f"device_{user}_{chance.randrange(5)}"
    kind = chance.choices(("pageview", "item-added-to-cart", "purchase", "sign-in"), (80, 12, 5, 3))
    known = {"userId": user} if kind[0] in ("purchase", "sign-in") else {}
    data = {"price": round(chance.uniform(1, 90), 2)} if kind == ["purchase"] else {}
    return {"type": kind[0], "anonymousId": device, "data": data, **known}
