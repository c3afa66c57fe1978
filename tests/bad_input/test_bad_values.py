"""Each known bad value is refused with a 4xx, set aside, or stored exactly.

None causes an error in Postgres that only the resolver sees, and no valid event is lost.
"""

from collections.abc import AsyncIterator
from itertools import product

import pytest
import pytest_asyncio

from tests.bad_input.bad_values import BAD_VALUES, BadValue
from tests.bad_input.encoding import SEGMENT, as_record
from tests.bad_input.outcomes import DeadLetter, Outcome, Refused
from tests.bad_input.send_all import RECORDS, Channel, ErrorResponse, Results, mark_of, send_all
from tests.support import database, topics
from tests.support.database import Cluster
from tests.support.servers import Servers
from tests.support.system import opened_system, settings_env
from tests.support.topics import Record

STATUS = {"invalid": 422, "too_large": 413}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def results(
    servers_running: Servers,
    cluster: Cluster,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Results]:
    """All bad values, sent over all channels through one system."""
    bootstrap = servers_running.kafka_bootstrap
    with cluster.database(template) as name:
        url = cluster.url_of(name)
        async with database.opened(url) as opened, topics.created(bootstrap) as created:
            env = settings_env(bootstrap, url, created)
            with opened_system(
                tmp_path_factory.mktemp("bad_values"), env, opened, created
            ) as system:
                yield await send_all(system)


def find_expected(channel: Channel, bad_value: BadValue) -> Outcome | None:
    match channel:
        case "topic":
            return bad_value.topic
        case "row":
            return bad_value.row
        case "segment" if bad_value.field == "sessionId":
            return None  # Segment has no such field
        case "segment" if bad_value.json == (b'""',) and bad_value.field == "occurredAt":
            return None  # an empty string means no time
        case _:
            return bad_value.http


# Subtests, because pytest-xdist would spread 1,000 tests over workers, each with its own system.


def test_bad_values_over_http(results: Results, subtests: pytest.Subtests) -> None:
    """As single events, and in batches of two dialects."""
    channels: tuple[Channel, ...] = ("alone", "batch", "segment")
    for bad_value, channel in product(BAD_VALUES, channels):
        expected = find_expected(channel, bad_value)
        if expected is None:
            continue
        with subtests.test(str(bad_value), channel=channel):
            found = results.of(channel, bad_value)
            if not isinstance(expected, Refused):
                assert found == expected
                continue
            assert isinstance(found, ErrorResponse)
            assert found.status == (STATUS[expected.code] if channel == "alone" else 200)
            assert found.code == expected.code
            names = SEGMENT if channel == "segment" else {}
            assert expected.field is None or found.fields & {
                expected.field,
                names.get(expected.field),
            }


def test_bad_values_in_records(results: Results, subtests: pytest.Subtests) -> None:
    """Each is stored, or becomes a dead letter with the reason and the unchanged record."""
    for bad_value in BAD_VALUES:
        if bad_value.topic is None:
            continue
        with subtests.test(str(bad_value)):
            found, expected = results.of("topic", bad_value), bad_value.topic
            if not isinstance(expected, DeadLetter):
                assert found == expected
                continue
            assert isinstance(found, Record)
            sent = as_record(bad_value, mark_of("topic", bad_value))
            assert (found.value, found.key) == (sent.value, sent.key)
            assert found.headers["reason"].decode() == expected.reason
            assert expected.field in found.headers["error"].decode()


def test_a_body_as_a_record_becomes_a_dead_letter(
    results: Results, subtests: pytest.Subtests
) -> None:
    """The body of a request is not a record."""
    for body in RECORDS:
        with subtests.test(str(body)):
            letter = results.letters[str(body)]
            assert letter.value == body.raw
            assert letter.headers["reason"] == b"unreadable"


def test_bad_values_in_rows(results: Results, subtests: pytest.Subtests) -> None:
    """Each is stored and resolved unchanged, or Postgres refuses it."""
    for bad_value in BAD_VALUES:
        if bad_value.row is not None:
            with subtests.test(str(bad_value)):
                assert results.of("row", bad_value) == bad_value.row


def test_no_valid_event_is_lost(results: Results) -> None:
    lost = {mark for mark in results.good if not results.stored.get(mark, (False,))[0]}
    assert lost == set()
    assert len(results.good) > len(BAD_VALUES)


def test_no_bad_value_causes_an_internal_error(results: Results) -> None:
    refused = [mark for mark, letter in results.letters.items()
               if letter.headers["reason"] == b"refused"]  # fmt: skip
    assert refused == []
    assert [line for line in results.log if line["level"] == "error"
            and not line["logger"].startswith("aiokafka")] == []  # fmt: skip


def test_each_bad_value_has_its_own_name() -> None:
    assert len({str(bad_value) for bad_value in BAD_VALUES}) == len(BAD_VALUES)
