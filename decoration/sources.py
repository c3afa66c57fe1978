"""The company's databases as they are defined: a broken definition costs its source alone."""

from typing import Any

from psycopg import AsyncConnection
from pydantic import ValidationError

from merganser.rulebook.language import Source
from merganser.runtime import isolation, sql

_SQL = sql.load(__package__, "source_status.sql")

MISSING = 'there is no such source in "propertySources": apply the rules again'
"""Why a source that rules name cannot be asked."""


async def sources(connection: AsyncConnection[Any]) -> dict[str, Source | str]:
    """Each source by name, or what is wrong with its definition."""
    cursor = await connection.execute(_SQL["sources"])
    return {name: _read(definition) for name, definition in await cursor.fetchall()}


def _read(definition: str) -> Source | str:
    try:
        return Source.model_validate_json(definition)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, mistake["loc"]))
        said = f"{place}: {mistake['msg']}" if place else mistake["msg"]
    except Exception as error:  # noqa: BLE001 - it is anything that JSON can be
        said = isolation.reason(error)
    return f'the definition in "propertySources" is broken: {said}; apply the rules again'
