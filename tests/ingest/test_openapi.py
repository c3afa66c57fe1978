"""ingest's OpenAPI document is equal to the code, and true: schemathesis asks what it allows."""

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
# Its own way to parametrize gives all tests one name, and pytest-xdist would run only one of them.
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
OWN = ("/api/v1/track", "/api/v1/batch")
EXAMPLES = examples.count(fast=8, full=20)


def test_its_routes_are_those_of_the_dialects() -> None:
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
    assert all(one in DIALECTS for one in routes)


def test_it_has_every_status_that_ingest_answers() -> None:
    answered = {problem.status for problem in ErrorKind if problem is not ErrorKind.CONFLICT}
    assert set(DOCUMENT["components"]["responses"]) == set(map(str, answered))
    (of_events,) = {
        frozenset(DOCUMENT["paths"][path]["post"]["responses"]) for path in OWN
    }  # fmt: skip
    assert of_events == {"200", *map(str, answered - {404, 405})}


def test_its_fields_are_those_of_an_event() -> None:
    shape = DOCUMENT["components"]["schemas"]["Event"]
    fields = {
        str(getattr(alias, "choices", [alias])[0] or name)
        for name, field in Track.model_fields.items()
        for alias in [field.validation_alias or name]
    }
    assert set(shape["properties"]) == {*fields, "apiKey"}
    assert shape["required"] == ["type"]


def test_its_limits_are_the_settings() -> None:
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


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_every_answer_is_one_that_the_document_has(gateway: Gateway, operation: Any) -> None:
    """But not all that the document allows fits: ids that mean nobody are strings, too.

    That no route ignores the key is for `test_keys.py` to show; here every request has one.
    """
    modes = [operation.as_strategy(mode) for mode in GenerationMode]
    unfit = [positive_data_acceptance, ignored_auth]
    if operation.path != "/api/v1/track":
        unfit.append(negative_data_rejection)  # a batch refuses each event by itself

    @settings(
        max_examples=EXAMPLES if operation.path in OWN else 4,
        deadline=None,
        derandomize=True,
        database=None,
    )
    @given(st.one_of(modes))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate(
            base_url=gateway.url,
            headers={"authorization": f"Bearer {gateway.key}"},
            excluded_checks=unfit,
        )

    ask()
