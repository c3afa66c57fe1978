"""How values of PostgreSQL are read, so that none of them makes its row unreadable."""

from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from decoration.texts import Json

_PARTIAL = ("date", "time", "timetz", "timestamp", "timestamptz")
"""Types with values that Python has none for, such as `infinity` and the year 10000."""


class _TextLoader(Loader):
    """Leaves as they are written the values that Python has others for: a month has no length."""

    def load(self, data: Buffer) -> str:
        return _written(data)


class _JsonLoader(Loader):
    """Leaves JSON as it is written: parsing it may fail, and would round numbers."""

    def load(self, data: Buffer) -> Json:
        return Json(_written(data))


def register(connection: psycopg.Connection[Any]) -> None:
    """Have a connection read JSON as `Json`, and as texts what Python has no such values for."""
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, _JsonLoader)
    connection.adapters.register_loader("interval", _TextLoader)
    for name in _PARTIAL:
        type_ = connection.adapters.types[name]
        loader = connection.adapters.get_loader(type_.oid, Format.TEXT)
        if loader:
            connection.adapters.register_loader(name, _or_text(loader))


def _or_text(loader: Any) -> type[Loader]:
    class OrText(Loader):
        """Reads as the loader does, and what that refuses as the text that Postgres wrote."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = loader(oid, context).load

        def load(self, data: Buffer) -> Any:
            try:
                return self._load(data)
            except psycopg.DataError:
                return _written(data)

    return OrText


def _written(data: Buffer) -> str:
    return bytes(data).decode(errors="surrogateescape")
