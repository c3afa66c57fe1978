"""A fix for aiokafka's reading of records whose header names are not UTF-8.

Kafka stores any bytes as the name of a header, and some clients send them. aiokafka raises
UnicodeDecodeError where it comes to such a record, at every try, so it would end the consumer and
never get past that record.
"""

import itertools
import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy as PythonRecordBatch
from aiokafka.record.util import decode_varint

_LENGTH = struct.Struct(">8xi")
"""Bytes of a batch after its first field and this one."""
_MAGIC_POSITION = 16
_WITH_HEADERS = 2
"""The first version of the format that has headers."""


class TolerantRecords:
    """The batches in the answer to a fetch."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._start = 0
        self._records = MemoryRecords(data)

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of aiokafka's object."""
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        """Return the next batch, or None if the answer has no further complete batch."""
        batch = self._records.next_batch()
        if batch is None:
            return None
        (length,) = _LENGTH.unpack_from(self._data, self._start)
        end = self._start + _LENGTH.size + length
        data, self._start = self._data[self._start : end], end
        return _TolerantBatch(batch, data) if data[_MAGIC_POSITION] >= _WITH_HEADERS else batch


class _TolerantBatch:
    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        count = 0
        try:
            for record in self._batch:
                yield record
                count += 1
        except UnicodeDecodeError:
            yield from itertools.islice(_read_repaired(self._data), count, None)


def _read_repaired(data: memoryview) -> Iterator[Any]:
    """Return the records of a batch, with `?` for the bytes of such a name that are not ASCII."""
    batch = PythonRecordBatch(data)
    records: Iterator[Any] = iter(batch)  # unpacks the buffer
    buffer, position = batch._buffer, batch._pos  # noqa: SLF001 - aiokafka offers no other way
    while position < len(buffer):
        position = _repair_record(buffer, position)
    return records


def _repair_record(buffer: bytearray, position: int) -> int:
    """Repair the names of a record's headers in place, and return where the record ends."""
    length, position = decode_varint(buffer, position)
    end: int = position + length
    for _ in ("attributes", "timestamp", "offset"):
        _, position = decode_varint(buffer, position)
    for _ in ("key", "value"):
        size, position = decode_varint(buffer, position)
        position += max(size, 0)
    count, position = decode_varint(buffer, position)
    for _ in range(count):
        size, position = decode_varint(buffer, position)
        name = buffer[position : position + size]
        try:
            name.decode()
        except UnicodeDecodeError:
            buffer[position : position + size] = name.decode("ascii", "replace").encode(
                "ascii", "replace"
            )
        position += size
        size, position = decode_varint(buffer, position)
        position += max(size, 0)
    return end


def install() -> None:
    """Make all aiokafka consumers use this class; aiokafka has no option for it."""
    fetcher.MemoryRecords = TolerantRecords
