"""From records to a batch: what is an event, what is a dead letter, and the positions after."""

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
class Given:
    """A record as Kafka's client gives it."""

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
        (Given(0, 7, value=None), "tombstone"),
        (Given(0, 7, headers=[]), "version"),
        (Given(0, 7, headers=[("schema-version", b"2")]), "version"),
        (Given(0, 7, value=b"garbage"), "unreadable"),
        (Given(0, 7, value=b""), "unreadable"),
        (Given(0, 7, value=encode(event())), "nobody"),
        (Given(0, 7, value=encode(event(user="undefined", anonymous=" NULL"))), "nobody"),
    ],
)
def test_a_bad_record_is_a_dead_letter_and_its_neighbours_are_events(
    bad: Given, reason: str
) -> None:
    fetched: dict[TopicPartition, Sequence[Record]] = {P0: [Given(0, 6), bad, Given(0, 9)]}
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


def test_the_position_moves_past_a_bad_record_at_the_end() -> None:
    batch = decode_records(
        {P0: [Given(0, 6), Given(0, 8, value=None)], P1: [Given(1, 3, value=b"")]}, NOBODY
    )
    assert batch.next_offsets == {P0: 9, P1: 4}
    assert batch.first_offsets == {P0: 6, P1: 3}


def test_an_id_of_nobody_beside_one_of_somebody_is_left_out() -> None:
    ((_, kept),) = decode_records(
        {P0: [Given(0, 1, value=encode(event(user="0", anonymous="a")))]}, NOBODY
    ).records
    assert (kept["userId"], kept["anonymousId"]) == (None, "a")


def test_other_headers_beside_the_version_do_not_matter() -> None:
    traced = Given(0, 1, headers=[("trace", b"x"), VERSION_HEADER])
    assert len(decode_records({P0: [traced]}, NOBODY).records) == 1


def test_halves_end_where_the_whole_would() -> None:
    whole = decode_records(
        {P0: [Given(0, 5), Given(0, 6, value=b""), Given(0, 7)], P1: [Given(1, 1), Given(1, 2)]},
        NOBODY,
    )
    first, second = split_batch(whole)
    assert [r.offset for r, _ in first.records + second.records] == [5, 7, 1, 2]
    assert first.next_offsets | second.next_offsets == whole.next_offsets
    assert first.next_offsets == {P0: 8}
