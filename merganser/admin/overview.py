"""What all processes have left to do, from the tables: the figures of the console's first page."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiokafka import TopicPartition

from merganser.admin.audit import Audit, read_audits
from merganser.queries import profiles
from merganser.rulebook.rule_store import count_broken_rules
from merganser.runtime.postgres import Connection
from merganser.runtime.set_aside import Kind
from properties.incremental import read_oldest_age
from resolver.offsets import Offsets
from scanner.scan import RowScanner

MAX_COUNT = 10_000
"""Rows and merges that are counted."""

MERGE_HOURS = 1


@dataclass(frozen=True, slots=True)
class TableFigures:
    """What the tables say at one moment."""

    next_offsets: Mapping[TopicPartition, int]
    """The first offset of each partition that no resolver has processed."""
    unresolved: int
    """Rows that the scanner will resolve, at most `MAX_COUNT`."""
    oldest_seconds: float
    """Age of the oldest of them."""
    moves: int
    """Merges whose older events still move."""
    set_aside: Mapping[Kind, int]
    """Open items by kind; records are dead letters."""
    merges: int
    """Of the last hour, at most `MAX_COUNT`."""
    staleness: float
    """Seconds since the oldest change that the properties do not have yet."""
    broken_rules: int
    audit: Audit | None
    """The last one."""


async def read_figures(
    connection: Connection,
    group: str,
    cluster: str | None,
    partitions: Collection[TopicPartition],
    nobody_ids: frozenset[str],
    now: datetime,
) -> TableFigures:
    """Read the figures.

    Args:
        connection: in a transaction.
        group: the resolvers' consumer group.
        cluster: Kafka's id of it; None while Kafka does not answer.
        partitions: of the topic of events.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        now: the current time.
    """
    backlog = await RowScanner(nobody_ids, 1, 1).measure_backlog(connection, MAX_COUNT)
    offsets = {}
    if cluster:
        offsets = await Offsets(group, cluster).read(connection, partitions)
    audits = await read_audits(connection, 1)
    since = now - timedelta(hours=MERGE_HOURS)
    return TableFigures(
        offsets,
        backlog.resolvable,
        backlog.oldest_seconds,
        backlog.moves,
        backlog.set_aside,
        await profiles.count_merges(connection, since, MAX_COUNT),
        await read_oldest_age(connection),
        await count_broken_rules(connection),
        audits[0] if audits else None,
    )
