"""The console as a process."""

import httpx

from tests.console.viewer import FROM_PAGE
from tests.support.system import System


async def test_the_console_starts_serves_and_stops(system: System) -> None:
    service, url = await system.console()
    key = await system.key("viewer", "console:read")
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/")).headers["location"] == "/login"
        headers = {**FROM_PAGE, "origin": url}
        response = await client.post("/login", data={"key": key}, headers=headers)
        assert response.status_code == 303
        page = await client.get("/")
        assert page.status_code == 200
        assert "Records that wait" in page.text
    assert await service.metric("merganser_console_logins_total", outcome="accepted") == 1
    labels = {"route": "/", "status": "200"}
    assert await service.metric("merganser_console_request_seconds_count", **labels) == 1
    assert await service.stop(within=10) == 0
    assert service.defects == []


async def test_a_link_of_the_command_logs_in_once(system: System) -> None:
    service, url = await system.console()
    await system.key("viewer", "console:read")
    system.env["MERGANSER_CONSOLE_URL"] = url
    link = (await system.cli("keys", "login", "viewer")).strip()
    assert link.startswith(f"{url}/login/")
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get(link)).headers["location"] == "/"
        assert (await client.get("/profiles")).status_code == 200
        assert (await client.get(link)).status_code == 401
    assert "/login/" + link.rpartition("/")[2] not in service.log
    assert await service.stop() == 0
