"""The format of a dead letter keeps the complete record, whatever its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import OWN, Foreign, Header, Letter, Place, Reason

PLACE = Place("events", 3, 17)

headers = st.lists(
    st.tuples(st.sampled_from([*OWN, "retry-of", "trace"]), st.none() | st.binary()), max_size=12
)
contents = st.none() | st.binary()


@given(st.sampled_from(Reason), st.text(), contents, contents, headers)
def test_a_letter_is_read_as_it_was_written(
    reason: Reason, error: str, key: bytes | None, value: bytes | None, own: list[Header]
) -> None:
    """A record's headers may have the names of a letter's headers."""
    letter = Letter.of(reason, error.encode(errors="replace").decode(), PLACE, key, value, own)
    assert Letter.decoded(key, value, letter.encoded()) == letter
    assert letter.headers == tuple(
        header for header in own if header[0] not in ("retry-of", "retry-attempt")
    )


@given(headers)
def test_any_other_record_is_foreign_or_a_letter(own: list[Header]) -> None:
    try:
        Letter.decoded(b"", b"", own)
    except Foreign as foreign:
        assert str(foreign)  # noqa: PT017 - both outcomes are right


def test_a_retried_record_has_its_origin_and_its_attempt() -> None:
    first = Letter.of(Reason.NOBODY, "", PLACE, b"k", b"v", [("trace", b"t")])
    assert (first.origin, first.attempt) == (PLACE, 1)
    second = Letter.of(Reason.REFUSED, "", Place("events", 0, 99), b"k", b"v", first.retried())
    assert (second.origin, second.attempt) == (PLACE, 2)
    assert second.failed == Place("events", 0, 99)
    third = Letter.of(Reason.NOBODY, "", Place("events", 0, 120), b"k", b"v", second.retried())
    assert (third.origin, third.attempt, third.headers) == (PLACE, 3, (("trace", b"t"),))


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
    letter = Letter.of(Reason.NOBODY, "", PLACE, None, None, list(history.items()))
    assert (letter.origin, letter.attempt) == (PLACE, 1)


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
def test_a_letter_of_another_version_is_foreign(name: str, value: bytes | None) -> None:
    own = dict(Letter.of(Reason.NOBODY, "", PLACE, None, None, []).encoded()) | {name: value}
    with pytest.raises(Foreign):
        Letter.decoded(None, None, list(own.items()))
