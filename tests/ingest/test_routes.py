"""Routes find the function that reads a request."""

import pytest

from ingest.dialects import ParsedRequest, StaticResponse
from ingest.request import Request
from ingest.routes import Routes
from merganser.http.errors import ErrorKind, HttpError


def events(_: Request) -> ParsedRequest:
    return ParsedRequest(None, [], lambda _: {})


def settings(_: Request) -> StaticResponse:
    return StaticResponse({})


def own(_: Request) -> StaticResponse:
    return StaticResponse({"own": True})


ROUTES = Routes(
    [
        {"POST /v1/batch": events, "GET /v1/projects/*/settings": settings},
        {"GET /v1/batch": settings, "GET /v1/projects/own/settings": own},
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/batch", (events, ())),
        ("POST", "//v1///batch/", (events, ())),
        ("GET", "/v1/batch", (settings, ())),
        ("GET", "/v1/projects/k.1/settings", (settings, ("k.1",))),
        ("GET", "/v1/projects/own/settings", (own, ())),
    ],
)
def test_a_route_is_found(method: str, path: str, found: object) -> None:
    assert ROUTES.find(method, path) == found


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v1/batchx", "/v1/projects/a/b/settings", "/v1/projects//settings"]
)
def test_an_unknown_path_has_no_route(path: str) -> None:
    with pytest.raises(HttpError) as caught:
        ROUTES.find("GET", path)
    assert caught.value.kind is ErrorKind.NOT_FOUND


def test_a_wrong_method_lists_the_allowed_ones() -> None:
    with pytest.raises(HttpError) as caught:
        ROUTES.find("PUT", "/v1/batch")
    assert caught.value.kind is ErrorKind.METHOD_NOT_ALLOWED
    assert caught.value.headers == [(b"allow", b"POST, GET, OPTIONS")]


def test_two_dialects_cannot_have_the_same_route() -> None:
    with pytest.raises(ValueError, match="POST /v1/batch"):
        Routes([{"POST /v1/batch": events}, {"POST /v1/batch": events}])
