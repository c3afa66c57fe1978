"""How values of PostgreSQL are read, so that none of them makes its row unreadable."""

from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from decoration.texts import Array, Json

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


def _array_loader(loader: Any) -> type[Loader]:
    class ArrayLoader(Loader):
        """Leaves an array as it is written."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._parse = loader(oid, context).load

        def load(self, data: Buffer) -> Array:
            return Array(bytes(data), self._parse)

    return ArrayLoader


def register(connection: psycopg.Connection[Any]) -> None:
    """Have a connection read JSON and arrays later, and as texts what Python has no values for."""
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, _JsonLoader)
    connection.adapters.register_loader("interval", _TextLoader)
    for name in _PARTIAL:
        type_ = connection.adapters.types[name]
        loader = connection.adapters.get_loader(type_.oid, Format.TEXT)
        if loader:
            connection.adapters.register_loader(name, _or_text(loader))
    for type_ in connection.adapters.types:
        loader = connection.adapters.get_loader(type_.array_oid, Format.TEXT)
        if type_.array_oid and loader:
            connection.adapters.register_loader(type_.array_oid, _array_loader(loader))


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
