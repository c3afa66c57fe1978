"""The offsets of a consumer group, kept in Postgres (`"consumerOffsets"`).

A batch advances them in the transaction that writes its rows, so each record takes effect exactly
once. Kafka's own committed offsets are only for monitoring.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "offsets.sql")


class Fenced(Exception):
    """Another resolver has moved a partition's offset: this resolver must not write its batch."""


class StoredOffset(NamedTuple):
    """A partition's row in `"consumerOffsets"`."""

    next_offset: int
    """Offset of the first record that the group has not resolved."""
    updated_at: float
    """When the group advanced the offset last, in seconds since 1970."""
    is_new: bool
    """Whether the row was created just now: the group reads the partition for the first time."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """The offsets of one consumer group on one cluster."""

    group: str
    cluster: str

    async def read_or_create(
        self, connection: AsyncConnection[Any], log_starts: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, StoredOffset]:
        """Return the stored offsets; a partition without one gets the start of its log.

        Args:
            connection: in a transaction.
            log_starts: the first offset of each partition's log.

        Raises:
            psycopg.errors.LockNotAvailable: another resolver has locked an offset, and may have
                been suspended while it did. Retry: later tries end its session.
        """
        scope = self._scope(log_starts)
        await connection.execute(_SQL["set_lock_timeout"])
        await connection.execute(_SQL["end_suspended_sessions"], scope)
        cursor = await connection.execute(
            _SQL["create_missing"], {**scope, "starts": list(log_starts.values())}
        )
        created = set(await cursor.fetchall())
        return {
            partition: stored._replace(is_new=tuple(partition) in created)
            for partition, stored in (await self._read(connection, log_starts)).items()
        }

    async def read(
        self, connection: AsyncConnection[Any], partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the stored offsets; a partition that the group has never read is missing."""
        stored = await self._read(connection, partitions)
        return {partition: offset.next_offset for partition, offset in stored.items()}

    async def advance(
        self,
        connection: AsyncConnection[Any],
        old_offsets: Mapping[TopicPartition, int],
        next_offsets: Mapping[TopicPartition, int],
    ) -> None:
        """Replace the stored offsets, if they are the expected ones.

        Args:
            connection: in a transaction.
            old_offsets: the expected offset of each partition of `next_offsets`, and maybe others.
            next_offsets: the new offset of each partition.

        Raises:
            Fenced: a stored offset is not the expected one.
        """
        values = {
            **self._scope(next_offsets),
            "old_offsets": [old_offsets[partition] for partition in next_offsets],
            "next_offsets": list(next_offsets.values()),
        }
        cursor = await connection.execute(_SQL["advance"], values)
        if cursor.rowcount != len(next_offsets):
            raise Fenced

    async def rewind(
        self, connection: AsyncConnection[Any], targets: Mapping[TopicPartition, int]
    ) -> None:
        """Move offsets back to `targets`, never forward; running resolvers notice.

        One statement for each partition: it locks one row, so it cannot deadlock with a resolver.

        Args:
            connection: in autocommit mode.
            targets: the next offset of each partition.
        """
        for partition, target in targets.items():
            await connection.execute(
                _SQL["rewind"],
                {
                    "group": self.group,
                    "cluster": self.cluster,
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "target": target,
                },
            )

    async def _read(
        self, connection: AsyncConnection[Any], partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, StoredOffset]:
        cursor = await connection.execute(_SQL["read"], self._scope(partitions))
        return {
            TopicPartition(topic, partition): StoredOffset(next_offset, updated_at, is_new=False)
            for topic, partition, next_offset, updated_at in await cursor.fetchall()
        }

    def _scope(self, partitions: Collection[TopicPartition]) -> dict[str, Any]:
        return {
            "group": self.group,
            "cluster": self.cluster,
            "topics": [partition.topic for partition in partitions],
            "partitions": [partition.partition for partition in partitions],
        }
