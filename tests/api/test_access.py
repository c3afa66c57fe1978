"""Which permissions each route needs, and where a request has its key."""

import base64
from itertools import product

from merganser.http.authentication import Permission
from tests.api.reader import Reader
from tests.support.events import event

GUID = "evt_018bcfe5-0000-7000-8000-000000000000"
PERMISSIONS = {
    "/events": "events:read",
    "/events/counts": "events:read",
    "/events/types": "events:read",
    "/events/autocompleteType": "events:read",
    f"/event/{GUID}": "events:read",
    f"DELETE /event/{GUID}": "events:delete",
    f"POST /event/{GUID}/unlink?reason=wrong": "links:write",
    f"POST /event/{GUID}/relink?reason=right": "links:write",
    "/profiles": "profiles:read",
    "/profile/pro_1": "profiles:read",
    "/profile/pro_1/events": "events:read",
    "/profile/pro_1/merges": "profiles:read",
    "/profile/pro_1/explain": "profiles:read",
}


async def test_each_route_needs_exactly_its_permission(api: Reader) -> None:
    kinds = sorted(Permission)
    keys = {permission: await api.new_key(permission) for permission in kinds}
    for (route, needed), permission in product(PERMISSIONS.items(), keys):
        method, _, path = route.rpartition(" ")
        response = await api.request(
            method or "GET",
            f"/api/v1{path}",
            {"authorization": f"Bearer {keys[permission]}"},
        )
        if permission == needed:
            assert response.status_code in {200, 404}, (route, permission)
        else:
            assert response.status_code == 403, (route, permission)
            assert needed in response.json()["message"]


async def test_a_publishable_key_cannot_read_or_delete_even_with_permissions(api: Reader) -> None:
    await api.store(event("ann"))
    for constraint in ("a publishable key can only send events", "kind is secret or publishable"):
        await api.database.execute(f'ALTER TABLE "apiKeys" DROP CONSTRAINT "{constraint}"')
    for kind in ("publishable", "of another version"):
        key = await api.new_key(*Permission, kind=kind)
        for route in PERMISSIONS:
            method, _, path = route.rpartition(" ")
            authorization = {"authorization": f"Bearer {key}"}
            response = await api.request(method or "GET", f"/api/v1{path}", authorization)
            assert response.status_code == 403, (kind, route)
            assert response.json()["code"] == "forbidden"
            assert "use a secret key" in response.json()["message"]
    assert await api.database.count("events") == 1


async def test_an_event_has_the_kind_of_its_key(api: Reader) -> None:
    for kind in ("publishable", "secret"):
        await api.new_key("events:write", kind=kind)
    await api.database.execute('UPDATE "apiKeys" SET "revokedAt" = now(), name = kind')
    await api.database.execute(
        """INSERT INTO events (type, "userId", "producerGuid", "occurredAt")
        SELECT name, '1', guid, now() FROM "apiKeys"
        UNION ALL VALUES ('unknown', '1', 'key_unknown', now()), ('row', '1', NULL, now())"""
    )
    reader = await api.new_key("events:read")
    authorization = {"authorization": f"Bearer {reader}"}
    kinds = {"publishable": "publishable", "secret": "secret", "unknown": None, "row": None}
    listed = (await api.request("GET", "/api/v1/events", authorization)).json()["events"]
    assert {e["type"]: e["producerKind"] for e in listed} == kinds
    for item in listed:
        found = await api.request("GET", f"/api/v1/event/{item['guid']}", authorization)
        assert found.json()["event"]["producerKind"] == item["producerKind"]


async def test_the_openapi_document_names_the_permission_of_each_route(api: Reader) -> None:
    paths = (await api.request("GET", "/openapi.json")).json()["paths"]
    named = [
        operation["responses"]["403"]["description"]
        for operations in paths.values()
        for operation in operations.values()
    ]
    assert sorted(named) == sorted(
        f"The key has no permission {needed}." for needed in PERMISSIONS.values()
    )


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


async def test_a_key_is_read_from_the_header_or_the_query(api: Reader) -> None:
    for authorization in (f"bearer {api.key}", basic(f"{api.key}:"), basic(api.key)):
        response = await api.request("GET", "/api/v1/events", {"authorization": authorization})
        assert response.status_code == 200, authorization
    response = await api.request("GET", "/api/v1/events", {"authorization": ""}, apiKey=api.key)
    assert response.status_code == 200


async def test_a_request_without_a_key_gets_no_data(api: Reader) -> None:
    """Not even whether its parameters are valid or a guid exists."""
    await api.store(event("ann"))
    for path in ("/events?limit=no", "/events?nonsense=1", "/event/evt_none", "/profile/pro_none"):
        response = await api.request("GET", f"/api/v1{path}", {"authorization": ""})
        assert response.status_code == 401, path
