"""The format of a dead letter keeps the complete record, whatever its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import (
    LETTER_HEADERS,
    DeadLetter,
    Header,
    InvalidDeadLetter,
    Reason,
    RecordAddress,
)

ADDRESS = RecordAddress("events", 3, 17)

headers = st.lists(
    st.tuples(st.sampled_from([*LETTER_HEADERS, "retry-of", "trace"]), st.none() | st.binary()),
    max_size=12,
)
contents = st.none() | st.binary()


@given(st.sampled_from(Reason), st.text(), contents, contents, headers)
def test_a_letter_is_read_as_it_was_written(
    reason: Reason, error: str, key: bytes | None, value: bytes | None, own: list[Header]
) -> None:
    """A record's headers may have the names of a letter's headers."""
    letter = DeadLetter.of_record(
        reason, error.encode(errors="replace").decode(), ADDRESS, key, value, own
    )
    assert DeadLetter.decode(key, value, letter.encode_headers()) == letter
    assert letter.headers == tuple(
        header for header in own if header[0] not in ("retry-of", "retry-attempt")
    )


@given(headers)
def test_any_other_record_is_a_letter_or_invalid(own: list[Header]) -> None:
    try:
        DeadLetter.decode(b"", b"", own)
    except InvalidDeadLetter as invalid:
        assert str(invalid)  # noqa: PT017 - both outcomes are right


def test_a_retried_record_has_its_origin_and_its_attempt() -> None:
    first = DeadLetter.of_record(Reason.NOBODY, "", ADDRESS, b"k", b"v", [("trace", b"t")])
    assert (first.origin, first.attempt) == (ADDRESS, 1)
    second = DeadLetter.of_record(
        Reason.REFUSED, "", RecordAddress("events", 0, 99), b"k", b"v", first.retry_headers()
    )
    assert (second.origin, second.attempt) == (ADDRESS, 2)
    assert second.record == RecordAddress("events", 0, 99)
    third = DeadLetter.of_record(
        Reason.NOBODY, "", RecordAddress("events", 0, 120), b"k", b"v", second.retry_headers()
    )
    assert (third.origin, third.attempt, third.headers) == (ADDRESS, 3, (("trace", b"t"),))


@pytest.mark.parametrize(
    "history",
    [
        {"retry-of": b"events/3/17"},
        {"retry-of": b"events/3", "retry-attempt": b"2"},
        {"retry-of": b"\x00/3/17", "retry-attempt": b"2"},
        {"retry-of": b"events/3/-17", "retry-attempt": b"2"},
        {"retry-of": b"events/3/17", "retry-attempt": b"9" * 5000},
        {"retry-of": b"events/99999999999/17", "retry-attempt": b"2"},
        {"retry-of": None, "retry-attempt": None},
        {"retry-of": b"\xff", "retry-attempt": b"2"},
    ],
)
def test_invalid_retry_headers_are_ignored(history: dict[str, bytes | None]) -> None:
    letter = DeadLetter.of_record(Reason.NOBODY, "", ADDRESS, None, None, list(history.items()))
    assert (letter.origin, letter.attempt) == (ADDRESS, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reason", b"else"),
        ("partition", b"x"),
        ("offset", b""),
        ("origin", b"events"),
        ("attempt", None),
    ],
)
def test_a_letter_of_another_version_is_invalid(name: str, value: bytes | None) -> None:
    own = dict(
        DeadLetter.of_record(Reason.NOBODY, "", ADDRESS, None, None, []).encode_headers()
    ) | {name: value}
    with pytest.raises(InvalidDeadLetter):
        DeadLetter.decode(None, None, list(own.items()))
