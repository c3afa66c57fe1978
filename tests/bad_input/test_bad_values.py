"""Every known bad value is refused with a clear 4xx, put aside, or stored exactly.

None reaches Postgres as an error of ours, and no valid event beside it is lost.
"""

from collections.abc import AsyncIterator
from itertools import product

import pytest
import pytest_asyncio

from tests.bad_input.bad_values import BAD_VALUES, BadValue
from tests.bad_input.encoding import SEGMENT, as_record
from tests.bad_input.outcomes import Dead, Outcome, Refused
from tests.bad_input.send_all import RECORDS, Answered, Results, Way, mark_of, send_all
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
    """The table sent over all ways through one system."""
    bootstrap = servers_running.kafka_bootstrap
    with cluster.database(template) as name:
        url = cluster.url_of(name)
        async with database.opened(url) as opened, topics.created(bootstrap) as created:
            env = settings_env(bootstrap, url, created)
            with opened_system(
                tmp_path_factory.mktemp("bad_values"), env, opened, created
            ) as system:
                yield await send_all(system)


def wanted(way: Way, bad_value: BadValue) -> Outcome | None:
    match way:
        case "topic":
            return bad_value.topic
        case "row":
            return bad_value.row
        case "segment" if bad_value.place == "sessionId":
            return None  # Segment has no such place
        case "segment" if bad_value.json == (b'""',) and bad_value.place == "occurredAt":
            return None  # there it says that no time is given
        case _:
            return bad_value.http


# A subtest for each bad value, as 1,000 tests would be spread over all workers, each with its own
# system.


def test_over_http(results: Results, subtests: pytest.Subtests) -> None:
    """Alone, and in batches of two dialects."""
    ways: tuple[Way, ...] = ("alone", "batch", "segment")
    for bad_value, way in product(BAD_VALUES, ways):
        want = wanted(way, bad_value)
        if want is None:
            continue
        with subtests.test(str(bad_value), way=way):
            found = results.of(way, bad_value)
            if not isinstance(want, Refused):
                assert found == want
                continue
            assert isinstance(found, Answered)
            assert found.status == (STATUS[want.code] if way == "alone" else 200)
            assert found.code == want.code
            names = SEGMENT if way == "segment" else {}
            assert want.field is None or found.fields & {want.field, names.get(want.field)}


def test_on_the_topic(results: Results, subtests: pytest.Subtests) -> None:
    """Stored, or a dead letter that says why and keeps the record as it was."""
    for bad_value in BAD_VALUES:
        if bad_value.topic is None:
            continue
        with subtests.test(str(bad_value)):
            found, want = results.of("topic", bad_value), bad_value.topic
            if not isinstance(want, Dead):
                assert found == want
                continue
            assert isinstance(found, Record)
            sent = as_record(bad_value, mark_of("topic", bad_value))
            assert (found.value, found.key) == (sent.value, sent.key)
            assert found.headers["reason"].decode() == want.reason
            assert want.field in found.headers["error"].decode()


def test_a_body_as_a_record(results: Results, subtests: pytest.Subtests) -> None:
    """A client's body is not a record: it becomes a dead letter, unchanged."""
    for body in RECORDS:
        with subtests.test(str(body)):
            letter = results.letters[str(body)]
            assert letter.value == body.raw
            assert letter.headers["reason"] == b"unreadable"


def test_as_a_row(results: Results, subtests: pytest.Subtests) -> None:
    """Stored and resolved as written, or refused by Postgres to its writer."""
    for bad_value in BAD_VALUES:
        if bad_value.row is not None:
            with subtests.test(str(bad_value)):
                assert results.of("row", bad_value) == bad_value.row


def test_no_valid_event_beside_them_is_lost(results: Results) -> None:
    lost = {mark for mark in results.good if not results.stored.get(mark, (False,))[0]}
    assert lost == set()
    assert len(results.good) > len(BAD_VALUES)


def test_none_reaches_postgres_as_an_error_of_ours(results: Results) -> None:
    refused = [mark for mark, letter in results.letters.items()
               if letter.headers["reason"] == b"refused"]  # fmt: skip
    assert refused == []
    assert [line for line in results.log if line["level"] == "error"
            and not line["logger"].startswith("aiokafka")] == []  # fmt: skip


def test_each_has_a_name_of_its_own() -> None:
    assert len({str(bad_value) for bad_value in BAD_VALUES}) == len(BAD_VALUES)
