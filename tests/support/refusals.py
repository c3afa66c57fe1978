"""Check that refusals have the shape that all of them share."""

from collections.abc import Mapping
from typing import Any

import httpx


def shape_of(body: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Check the shape of an error and return its code and its fields."""
    error = body["error"]
    assert set(error) == {"code", "message", "fields"}
    assert body["code"] == error["code"] != ""
    assert body["message"] == error["message"] != ""
    fields: dict[str, str] = error["fields"]
    assert all(fields.values())
    return error["code"], fields


def assert_refused(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    """Check status, code and shape of an error response and return its fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"code", "message", "error"}
    actual, fields = shape_of(body)
    assert actual == code
    return fields
