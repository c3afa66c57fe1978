"""Which ids a dead letter names."""

import pytest

from merganser.admin.dead_letters.letter_ids import read_ids
from merganser.identity.person_ids import PersonIds
from schemas.dead_letter import DeadLetter, Reason, RecordAddress
from schemas.event import encode
from schemas.ids import NOBODY
from tests.support.events import event

ANN = 'ann "é" \\ \U0001f986'
"""JSON writes it in several ways."""
ESCAPED = rb"ann \"\u00e9\" \\ \ud83e\udd86"
PERSON = PersonIds(frozenset([ANN]), frozenset(["phone"]), frozenset(["pro_1"]))


def letter(
    value: bytes | None, key: bytes | None = None, header: bytes | None = None
) -> DeadLetter:
    address = RecordAddress("events", 0, 17)
    headers = (("schema-version", header),)
    return DeadLetter.of_record(Reason.UNREADABLE, "", address, key, value, headers)


def names(found: DeadLetter) -> bool:
    return read_ids(found, NOBODY).names(PERSON)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(letter(encode(event(ANN, "other"))), id="an event of the user"),
        pytest.param(letter(encode(event("bob", "phone"))), id="an event of the device"),
        pytest.param(letter(b'{"anonymousId": "phone"}'), id="an object without a type"),
        pytest.param(letter(b'{"userId": "' + ESCAPED + b'"}'), id="an escaped id"),
        pytest.param(letter(b'{"batch": [{"anonymousId": "phone"}]}'), id="a list of events"),
        pytest.param(letter(b'{"userId": "' + ESCAPED + b'", "a'), id="half an object"),
        pytest.param(letter(b'\xff", "' + ESCAPED + b'", '), id="bytes with a quote too many"),
        pytest.param(letter(b"phone"), id="only the id"),
        pytest.param(letter(None, ANN.encode()), id="the key"),
        pytest.param(letter(b"", None, ANN.encode()), id="a header"),
    ],
)
def test_the_ids_of_a_letter_are_found(found: DeadLetter) -> None:
    assert names(found)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(letter(None), id="no value"),
        pytest.param(letter(encode(event("bob", "other", note=ANN))), id="data of an event"),
        pytest.param(letter(encode(event("bob")), ANN.encode()), id="the key of an event"),
        pytest.param(letter(b"userId=phone&x=1"), id="a form"),
        pytest.param(letter(b'"phonebook"'), id="part of a text"),
        pytest.param(letter(b"[" * 200_000), id="too deep"),
    ],
)
def test_other_letters_are_not(found: DeadLetter) -> None:
    assert not names(found)


def test_an_event_of_another_user_on_a_shared_device_is_that_users() -> None:
    ids = read_ids(letter(encode(event("bob", "phone"))), NOBODY)
    assert not ids.of_owner().names(PERSON)
    placeholder = read_ids(letter(encode(event("null", "phone"))), NOBODY)
    assert placeholder.of_owner().names(PERSON)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(letter(b'"null"', b"undefined", b"0"), id="placeholders"),
        pytest.param(letter(b'"\\u0000"', b"x\x00", b"\x00"), id="NUL"),
        pytest.param(letter(b'{"userId": "\\u0000"}'), id="NUL in the field"),
        pytest.param(letter(b'"\\ud800"'), id="half a character"),
        pytest.param(letter(b'"%s"' % (b"x" * 513), b"x" * 513), id="too long"),
    ],
)
def test_a_text_that_no_id_column_can_have_is_not_an_id(found: DeadLetter) -> None:
    assert not read_ids(found, NOBODY).user_ids


@pytest.mark.parametrize("piece", [b'"', b'\\"', b'"a', b"\\", b'"\\'])
def test_hostile_bytes_take_linear_time(piece: bytes) -> None:
    """With quadratic time, this would take hours."""
    assert not names(letter(piece * ((8 << 20) // len(piece))))
