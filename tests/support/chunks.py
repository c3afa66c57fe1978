"""Do one step of the scanner: a chunk of the next move, or of the next erasure."""

from typing import Any

from psycopg import AsyncConnection

from merganser.identity import forget, store


async def move_some(connection: AsyncConnection[Any], most: int) -> int | None:
    """Move up to `most` events of the next unfinished move; return None if there is none."""
    move = await store.lock_next_move(connection)
    return None if move is None else await store.move_chunk(connection, move, most)


async def erase_some(connection: AsyncConnection[Any], most: int) -> int | None:
    """Erase up to `most` events of the next erasure; return None if there is none."""
    profile = await forget.lock_next_erasure(connection)
    return (
        None if profile is None else await forget.erase_chunk(connection, profile, most, "scanner")
    )
