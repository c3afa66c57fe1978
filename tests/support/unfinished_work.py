"""What a system still has to do before its tables can be compared with what was sent."""

from collections.abc import Mapping

from tests.support.database import Database


async def describe_unfinished_work(
    database: Database, ends: Mapping[int, int], unresolvable: int = 0
) -> str:
    """Return the work that waits, in words; the empty string if none does.

    Args:
        database: of one consumer group and one topic.
        ends: the offset after the last record of each partition.
        unresolvable: the number of rows that never get a profile, as they have no usable id.
    """
    stored = dict(await database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"'))
    left = {
        "records of the topic": sum(end - stored.get(number, 0) for number, end in ends.items()),
        "rows without a profile": await database.unresolved() - unresolvable,
        "moves": await database.count("eventMoves"),
        "event changes for properties": await database.count("eventChanges"),
        "profiles to count again": await database.count("propertyRecounts"),
    }
    return ", ".join(f"{count:,} {what}" for what, count in left.items() if count > 0)
