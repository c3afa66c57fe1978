"""A running ingest process, and the requests that clients send to it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx

from dev.stack.home import Home
from tests.support.service import Service


class Gateway(Service):
    """The ingest process."""

    def __init__(
        self, home: Home, name: str, env: Mapping[str, str], ports: tuple[int, int], key: str
    ) -> None:
        own_port, ops_port = ports
        super().__init__(
            home, name, "ingest", {**env, "MERGANSER_INGEST_PORT": str(own_port)}, ops_port
        )
        self.port = own_port
        self.url = f"http://127.0.0.1:{own_port}"
        self.key = key
        """The API key that requests have by default."""

    async def request(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str | bytes] | None = None,
    ) -> httpx.Response:
        """Send a request and return the response."""
        async with httpx.AsyncClient(verify=False, timeout=30) as client:  # noqa: S501 - no TLS
            raw = [
                (name.encode(), value if isinstance(value, bytes) else value.encode())
                for name, value in (headers or {}).items()
            ]
            return await client.request(method, self.url + path, content=content, headers=raw)

    async def post(
        self, path: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST bytes with the API key as a bearer token, unless the headers have another."""
        authorization = {"authorization": f"Bearer {self.key}"}
        return await self.request("POST", path, content, {**authorization, **(headers or {})})

    async def track(self, **event: Any) -> httpx.Response:
        """POST one event with the key in its body."""
        body = json.dumps({"apiKey": self.key, **event}).encode()
        return await self.request("POST", "/api/v1/track", body)

    async def batch(self, events: list[Any], **fields: Any) -> httpx.Response:
        """POST a batch of events with the key in its body."""
        body = json.dumps({"apiKey": self.key, "events": events, **fields}).encode()
        return await self.request("POST", "/api/v1/batch", body)

    async def tracked(self, **event: Any) -> str:
        """POST one event that must be accepted, and return its guid."""
        answer = await self.track(**event)
        assert answer.status_code == 200, answer.text
        guid: str = answer.json()["event"]["guid"]
        return guid

    async def raw(self, request: bytes) -> tuple[int, bytes]:
        """Send exactly these bytes on a new connection; return the answer's status and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(30):
                writer.write(request)
                await writer.drain()
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                _, _, length = head.partition("\r\ncontent-length: ")
                body = await reader.readexactly(int(length.split("\r\n")[0]))
                return int(head.split()[1]), body
        finally:
            writer.close()
