"""The offsets of a consumer group, kept in Postgres (`"consumerOffsets"`).

A batch moves them in the transaction that writes its rows, so each record takes effect exactly
once. Kafka's own committed offsets are only for monitoring.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from psycopg import AsyncConnection

from merganser.runtime import sql
from resolver.latency import Progress

_SQL = sql.load(__package__, "offsets.sql")


class Fenced(Exception):
    """Another resolver has moved a partition's offset: this batch is not ours to write."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """The offsets of one consumer group on one cluster."""

    group: str
    cluster: str

    async def progress(
        self, connection: AsyncConnection[Any], starts: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Progress]:
        """Return the group's progress; a partition that it has never read begins at its start.

        Args:
            connection: in a transaction.
            starts: the first offset of each partition's log.

        Raises:
            psycopg.errors.LockNotAvailable: another member is moving an offset, or was suspended
                while it did. Try again: after some tries its session is ended.
        """
        scope = self._scope(starts)
        await connection.execute(_SQL["set_lock_timeout"])
        await connection.execute(_SQL["release"], scope)
        cursor = await connection.execute(
            _SQL["ensure"], {**scope, "starts": list(starts.values())}
        )
        first = set(await cursor.fetchall())
        return {
            partition: progress._replace(first=tuple(partition) in first)
            for partition, progress in (await self._read(connection, starts)).items()
        }

    async def stored(
        self, connection: AsyncConnection[Any], partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the stored offsets; a partition that the group has never read is missing."""
        read = await self._read(connection, partitions)
        return {partition: progress.position for partition, progress in read.items()}

    async def advance(
        self,
        connection: AsyncConnection[Any],
        olds: Mapping[TopicPartition, int],
        news: Mapping[TopicPartition, int],
    ) -> None:
        """Move offsets from `olds` to `news`.

        Args:
            connection: in a transaction.
            olds: of the partitions of `news` at least.
            news: the next offset of each partition.

        Raises:
            Fenced: the stored offsets are not `olds`.
        """
        values = {
            **self._scope(news),
            "olds": [olds[partition] for partition in news],
            "news": list(news.values()),
        }
        cursor = await connection.execute(_SQL["advance"], values)
        if cursor.rowcount != len(news):
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
    ) -> dict[TopicPartition, Progress]:
        cursor = await connection.execute(_SQL["read"], self._scope(partitions))
        return {
            TopicPartition(topic, partition): Progress(offset, moved_at, first=False)
            for topic, partition, offset, moved_at in await cursor.fetchall()
        }

    def _scope(self, partitions: Collection[TopicPartition]) -> dict[str, Any]:
        return {
            "group": self.group,
            "cluster": self.cluster,
            "topics": [partition.topic for partition in partitions],
            "partitions": [partition.partition for partition in partitions],
        }
