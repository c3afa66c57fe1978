"""The OpenAPI document of ingest matches its code; schemathesis sends what the document allows."""

import importlib
import json
import pkgutil
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from ingest import dialects, openapi
from ingest.dialects import StaticResponse
from ingest.main import DIALECTS
from merganser.http.errors import ErrorKind
from merganser.runtime.settings import IngestSettings
from schemas.track import Track
from tests.support import examples
from tests.support.gateway import Gateway

SETTINGS = IngestSettings(_env_file=None)
PAGES = openapi.pages(DIALECTS, SETTINGS)
DOCUMENT = openapi.document([*DIALECTS, PAGES], SETTINGS)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# schemathesis' own parametrize gives all tests one name, so pytest-xdist would run only one.
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
NATIVE = ("/api/v1/track", "/api/v1/batch")
EXAMPLES = examples.count(fast=8, full=20)


def test_the_document_has_the_routes_of_all_dialects() -> None:
    documented = {
        f"{method.upper()} {path.replace('{part}', '*')}": operation
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    served = {route: reader for dialect in [*DIALECTS, PAGES] for route, reader in dialect.items()}
    assert set(documented) == set(served)
    for route, operation in documented.items():
        assert operation["description"], route
        needs_no_key = served[route].__annotations__["return"] is StaticResponse
        assert ("security" not in operation) == needs_no_key, route


def test_every_dialect_is_served() -> None:
    modules = [
        importlib.import_module(f"{dialects.__name__}.{found.name}")
        for found in pkgutil.iter_modules(dialects.__path__)
    ]
    routes = [module.ROUTES for module in modules if hasattr(module, "ROUTES")]
    assert len(routes) >= 6
    assert all(dialect in DIALECTS for dialect in routes)


def test_the_document_has_every_status() -> None:
    expected = {problem.status for problem in ErrorKind if problem is not ErrorKind.CONFLICT}
    assert set(DOCUMENT["components"]["responses"]) == set(map(str, expected))
    (statuses,) = {
        frozenset(DOCUMENT["paths"][path]["post"]["responses"]) for path in NATIVE
    }  # fmt: skip
    assert statuses == {"200", *map(str, expected - {404, 405})}


def test_the_document_has_the_fields_of_an_event() -> None:
    shape = DOCUMENT["components"]["schemas"]["Event"]
    fields = {
        str(getattr(alias, "choices", [alias])[0] or name)
        for name, field in Track.model_fields.items()
        for alias in [field.validation_alias or name]
    }
    assert set(shape["properties"]) == {*fields, "apiKey"}
    assert shape["required"] == ["type"]


def test_the_document_has_the_limits_of_the_settings() -> None:
    others = {name: number for number, name in enumerate(openapi.LIMITS, start=61)}
    described = openapi.document(DIALECTS, IngestSettings(_env_file=None, **others))  # type: ignore[arg-type] # all are numbers
    for number in others.values():
        assert str(number) in described["info"]["description"]
    event = described["components"]["schemas"]["Event"]["properties"]
    assert event["userId"]["anyOf"][0]["maxLength"] == others["ingest_max_id"]
    assert event["data"]["anyOf"][0]["maxProperties"] == others["ingest_max_keys"]


async def test_any_client_can_read_the_document(gateway: Gateway) -> None:
    headers = {"origin": "https://a.example"}
    response = await gateway.request("GET", "/openapi.json", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == "https://a.example"
    assert response.json() == json.loads(json.dumps(DOCUMENT))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda found: f"{found.method} {found.path}")
def test_every_response_matches_the_document(gateway: Gateway, operation: Any) -> None:
    """Requests that match the document may be refused: placeholder ids are strings too.

    Each request has a key; `test_keys.py` tests requests without one.
    """
    modes = [operation.as_strategy(mode) for mode in GenerationMode]
    excluded = [positive_data_acceptance, ignored_auth]
    if operation.path != "/api/v1/track":
        excluded.append(negative_data_rejection)  # a batch refuses single events

    @settings(
        max_examples=EXAMPLES if operation.path in NATIVE else 4,
        deadline=None,
        derandomize=True,
        database=None,
    )
    @given(st.one_of(modes))
    def send(case: Case[Any]) -> None:
        case.call_and_validate(
            base_url=gateway.url,
            headers={"authorization": f"Bearer {gateway.key}"},
            excluded_checks=excluded,
        )

    send()
