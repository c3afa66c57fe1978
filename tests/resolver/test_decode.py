"""Records become a batch of events and dead letters, with the offsets after them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from resolver.decode import Record, decode_records, split_batch
from schemas.dead_letter import Header, RecordAddress
from schemas.event import VERSION_HEADER, encode
from schemas.ids import NOBODY
from tests.support.events import event

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
GOOD = encode(event(user="1"))


@dataclass
class FetchedRecord:
    """A record as aiokafka returns it."""

    partition: int
    offset: int
    value: bytes | None = GOOD
    headers: Sequence[Header] = field(default_factory=lambda: [VERSION_HEADER])
    key: bytes | None = b"key"
    topic: str = "t"
    timestamp: int = 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (FetchedRecord(0, 7, value=None), "tombstone"),
        (FetchedRecord(0, 7, headers=[]), "version"),
        (FetchedRecord(0, 7, headers=[("schema-version", b"2")]), "version"),
        (FetchedRecord(0, 7, value=b"garbage"), "unreadable"),
        (FetchedRecord(0, 7, value=b""), "unreadable"),
        (FetchedRecord(0, 7, value=encode(event())), "nobody"),
        (FetchedRecord(0, 7, value=encode(event(user="undefined", anonymous=" NULL"))), "nobody"),
    ],
)
def test_a_bad_record_is_a_dead_letter_and_its_neighbours_are_events(
    bad: FetchedRecord, reason: str
) -> None:
    fetched: dict[TopicPartition, Sequence[Record]] = {
        P0: [FetchedRecord(0, 6), bad, FetchedRecord(0, 9)]
    }
    batch = decode_records(fetched, NOBODY)
    assert [record.offset for record, _ in batch.records] == [6, 9]
    (letter,) = batch.dead_letters
    assert (letter.reason, letter.record, letter.origin) == (
        reason,
        RecordAddress("t", 0, 7),
        letter.record,
    )
    assert (letter.key, letter.value, letter.headers) == (bad.key, bad.value, tuple(bad.headers))
    assert letter.error
    assert (batch.first_offsets, batch.next_offsets, batch.size) == ({P0: 6}, {P0: 10}, 3)


def test_the_offset_moves_past_a_bad_record_at_the_end() -> None:
    batch = decode_records(
        {
            P0: [FetchedRecord(0, 6), FetchedRecord(0, 8, value=None)],
            P1: [FetchedRecord(1, 3, value=b"")],
        },
        NOBODY,
    )
    assert batch.next_offsets == {P0: 9, P1: 4}
    assert batch.first_offsets == {P0: 6, P1: 3}


def test_an_id_of_nobody_beside_one_of_somebody_is_left_out() -> None:
    ((_, kept),) = decode_records(
        {P0: [FetchedRecord(0, 1, value=encode(event(user="0", anonymous="a")))]}, NOBODY
    ).records
    assert (kept["userId"], kept["anonymousId"]) == (None, "a")


def test_other_headers_beside_the_version_do_not_matter() -> None:
    traced = FetchedRecord(0, 1, headers=[("trace", b"x"), VERSION_HEADER])
    assert len(decode_records({P0: [traced]}, NOBODY).records) == 1


def test_halves_end_where_the_whole_would() -> None:
    whole = decode_records(
        {
            P0: [FetchedRecord(0, 5), FetchedRecord(0, 6, value=b""), FetchedRecord(0, 7)],
            P1: [FetchedRecord(1, 1), FetchedRecord(1, 2)],
        },
        NOBODY,
    )
    first, second = split_batch(whole)
    assert [r.offset for r, _ in first.records + second.records] == [5, 7, 1, 2]
    assert first.next_offsets | second.next_offsets == whole.next_offsets
    assert first.next_offsets == {P0: 8}
