"""Reports of the offsets: once a second, and before a rebalance, so two at a time."""

import asyncio
from typing import Any, cast

from aiokafka import TopicPartition

from merganser.runtime.lifecycle import Stop
from resolver.partitions import AssignedPartitions

PARTITION = TopicPartition("events", 0)


class _Consumer:
    """The second report finds its position when the first commit ends; the second commit waits."""

    def __init__(self) -> None:
        self.second_commit = asyncio.Event()
        self.commits = 0
        self._reports = 0
        self._first_commit_ends = asyncio.Event()
        self._second_report = asyncio.Event()

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 5)

    async def position(self, _: TopicPartition) -> int:
        self._reports += 1
        if self._reports == 2:
            self._second_report.set()
            await self._first_commit_ends.wait()
        return 5

    async def commit(self, _: dict[TopicPartition, int]) -> None:
        self.commits += 1
        if self.commits == 1:
            await self._second_report.wait()
            self._first_commit_ends.set()
        else:
            await self.second_commit.wait()


async def test_a_report_does_not_wait_for_the_next_reports_commit() -> None:
    consumer = _Consumer()
    partitions = AssignedPartitions(
        cast("Any", consumer),
        cast("Any", None),
        cast("Any", None),
        Stop(),
        1.0,
    )
    partitions.next_offsets[PARTITION] = 5
    first, second = (asyncio.create_task(partitions.report()) for _ in range(2))
    await first
    assert consumer.commits == 2
    assert not second.done()
    consumer.second_commit.set()
    await second
