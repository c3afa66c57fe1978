"""Whether a system has come to rest: nothing is left to read, to resolve, to move or to count."""

from collections.abc import Mapping

from tests.support.database import Database


async def unfinished(database: Database, ends: Mapping[int, int], unresolvable: int = 0) -> str:
    """What is still to be done, in words; the empty string when there is nothing.

    Args:
        database: of one consumer group and one topic.
        ends: the offset after the last record of each partition.
        unresolvable: rows that will never have a profile, as they name nobody.
    """
    stored = dict(await database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"'))
    left = {
        "records of the topic": sum(end - stored.get(number, 0) for number, end in ends.items()),
        "rows without a profile": await database.unresolved() - unresolvable,
        "moves": await database.count("eventMoves"),
        "notes for properties": await database.count("eventChanges"),
        "profiles to count again": await database.count("propertyRecounts"),
    }
    return ", ".join(f"{count:,} {what}" for what, count in left.items() if count > 0)
