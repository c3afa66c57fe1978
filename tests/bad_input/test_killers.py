"""Every known killer is refused with a clear 4xx, put aside, or stored exactly.

None reaches Postgres as an error of ours, and no valid event beside it is lost.
"""

from collections.abc import AsyncIterator
from itertools import product

import pytest
import pytest_asyncio

from tests.bad_input.driven import RECORDS, Answered, Driven, Way, drive, mark_of
from tests.bad_input.killers import KILLERS, Killer
from tests.bad_input.outcomes import Dead, Outcome, Refused
from tests.bad_input.written import SEGMENT, as_record
from tests.support import database, topics
from tests.support.database import Cluster
from tests.support.servers import Servers
from tests.support.system import opened_system, settings_env
from tests.support.topics import Record

STATUS = {"invalid": 422, "too_large": 413}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driven(
    servers_running: Servers,
    cluster: Cluster,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Driven]:
    """The table sent over all ways through one system."""
    bootstrap = servers_running.kafka_bootstrap
    with cluster.database(template) as name:
        url = cluster.url_of(name)
        async with database.opened(url) as opened, topics.made(bootstrap) as made:
            env = settings_env(bootstrap, url, made)
            with opened_system(tmp_path_factory.mktemp("killers"), env, opened, made) as system:
                yield await drive(system)


def wanted(way: Way, killer: Killer) -> Outcome | None:
    match way:
        case "topic":
            return killer.topic
        case "row":
            return killer.row
        case "segment" if killer.place == "sessionId":
            return None  # Segment has no such place
        case "segment" if killer.json == (b'""',) and killer.place == "occurredAt":
            return None  # there it says that no time is given
        case _:
            return killer.http


# A subtest for each killer, as 1,000 tests would be spread over all workers, each with its own
# system.


def test_over_http(driven: Driven, subtests: pytest.Subtests) -> None:
    """Alone, and in batches of two dialects."""
    ways: tuple[Way, ...] = ("alone", "batch", "segment")
    for killer, way in product(KILLERS, ways):
        want = wanted(way, killer)
        if want is None:
            continue
        with subtests.test(str(killer), way=way):
            found = driven.of(way, killer)
            if not isinstance(want, Refused):
                assert found == want
                continue
            assert isinstance(found, Answered)
            assert found.status == (STATUS[want.code] if way == "alone" else 200)
            assert found.code == want.code
            names = SEGMENT if way == "segment" else {}
            assert want.field is None or found.fields & {want.field, names.get(want.field)}


def test_on_the_topic(driven: Driven, subtests: pytest.Subtests) -> None:
    """Stored, or a dead letter that says why and keeps the record as it was."""
    for killer in KILLERS:
        if killer.topic is None:
            continue
        with subtests.test(str(killer)):
            found, want = driven.of("topic", killer), killer.topic
            if not isinstance(want, Dead):
                assert found == want
                continue
            assert isinstance(found, Record)
            sent = as_record(killer, mark_of("topic", killer))
            assert (found.value, found.key) == (sent.value, sent.key)
            assert found.headers["reason"].decode() == want.reason
            assert want.field in found.headers["error"].decode()


def test_a_body_as_a_record(driven: Driven, subtests: pytest.Subtests) -> None:
    """A client's body is not a record: it becomes a dead letter, unchanged."""
    for body in RECORDS:
        with subtests.test(str(body)):
            letter = driven.letters[str(body)]
            assert letter.value == body.raw
            assert letter.headers["reason"] == b"unreadable"


def test_as_a_row(driven: Driven, subtests: pytest.Subtests) -> None:
    """Stored and resolved as written, or refused by Postgres to its writer."""
    for killer in KILLERS:
        if killer.row is not None:
            with subtests.test(str(killer)):
                assert driven.of("row", killer) == killer.row


def test_no_valid_event_beside_them_is_lost(driven: Driven) -> None:
    lost = {mark for mark in driven.good if not driven.stored.get(mark, (False,))[0]}
    assert lost == set()
    assert len(driven.good) > len(KILLERS)


def test_none_reaches_postgres_as_an_error_of_ours(driven: Driven) -> None:
    refused = [mark for mark, letter in driven.letters.items()
               if letter.headers["reason"] == b"refused"]  # fmt: skip
    assert refused == []
    assert [line for line in driven.log if line["level"] == "error"
            and not line["logger"].startswith("aiokafka")] == []  # fmt: skip


def test_each_has_a_name_of_its_own() -> None:
    assert len({str(killer) for killer in KILLERS}) == len(KILLERS)
