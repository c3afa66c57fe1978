"""The broker and the database of the local stack, without its other processes."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from dev.stack import Servers, StackError, kafka, kafka_jars, local_servers
from dev.stack.home import Home
from dev.stack.kafka import Kafka
from dev.stack.ports import free_port
from dev.stack.postgres import Postgres
from tests.dev import processes
from tests.support.freezing import freeze, thaw


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    home = tmp_path_factory.mktemp("servers")
    with local_servers(home) as running:
        yield running
    assert processes.of(home) == []


@pytest.fixture
def database(servers: Servers) -> Postgres:
    assert servers.postgres
    return servers.postgres


@pytest.fixture
def broker(servers: Servers) -> Kafka:
    assert servers.kafka
    return servers.kafka


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill"])
def test_the_database_keeps_committed_rows(database: Postgres, number: signal.Signals) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 'Zoë' AS name")
    end(database, number)
    assert not database.ready()
    database.start()
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT name FROM kept").fetchall() == [("Zoë",)]


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="stop", marks=pytest.mark.slow), signal.SIGKILL],
)
async def test_the_broker_keeps_acknowledged_records(broker: Kafka, number: signal.Signals) -> None:
    topic = f"kept-{number}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, b"event")
    end(broker, number)
    assert not broker.ready()
    broker.start()
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        assert (await consumer.getone()).value == b"event"


async def test_the_broker_does_not_create_topics_automatically(broker: Kafka) -> None:
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap) as consumer:
        assert "misspelt" not in await consumer.topics()
        consumer.subscribe(["misspelt"])
        assert "misspelt" not in await consumer.topics()


def test_a_suspended_server_is_not_ready(database: Postgres, broker: Kafka) -> None:
    for server in (database, broker):
        freeze(server)
        assert not server.ready()
        thaw(server)
        processes.eventually(server.ready, "the server answers again")


def test_postgres_is_durable_by_default(database: Postgres) -> None:
    with psycopg.connect(database.url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_a_pid_file_with_the_pid_of_another_process_is_ignored(database: Postgres) -> None:
    database.stop()
    data = database.data
    with subprocess.Popen(["sleep", "60"], user=data.stat().st_uid) as stranger:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n{database.port}\n\n\n\n")
        database.start()
        assert stranger.poll() is None
        stranger.kill()


def test_another_database_on_the_port_is_not_used(home: Path, database: Postgres) -> None:
    """It would accept our connections, because it has the same user."""
    place = Home(home)
    with place.owned():
        ours = Postgres(place, database.port, unsafe_fast=True)
        with pytest.raises(StackError, match=r"(?s)postgres ended with code 1.*in use"):
            ours.start()


def test_a_copy_of_the_data_on_the_port_is_not_used(home: Path, database: Postgres) -> None:
    """A copied home directory has the same data and the same port."""
    place = Home(home)
    with place.owned():
        ours = Postgres(place, database.port, unsafe_fast=True)
        place.postgres.mkdir()
        subprocess.run(["cp", "-a", database.data, ours.data], check=False)  # some files may vanish
        with pytest.raises(StackError, match=r"(?s)postgres ended with code 1.*in use"):
            ours.start()


def test_another_broker_on_the_port_is_not_used(home: Path, broker: Kafka) -> None:
    place = Home(home)
    with place.owned():
        ours = Kafka(place, broker.port, free_port())
        with pytest.raises(StackError, match=r"(?s)kafka ended with code 1.*in use"):
            ours.start()


@pytest.mark.parametrize(
    "response", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x0a" + b"\x7f" * 10]
)
def test_a_server_that_is_not_a_broker_has_no_cluster(response: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(response)

        thread = threading.Thread(target=answer)
        thread.start()
        assert kafka.cluster_of(f"127.0.0.1:{port}") in {None, ""}
        thread.join()


def test_a_busy_query_ends_with_its_owner_and_guard(home: Path) -> None:
    """Both are killed at once, and the backend never reads from its connection."""
    code = """
import os, signal, threading, time
from pathlib import Path
import psycopg
from dev.stack import local_servers
with local_servers(Path(os.environ["MERGANSER_HOME"]), kafka=False, unsafe_fast=True) as servers:
    connection = psycopg.connect(servers.database_url)
    endless = "SELECT count(*) FROM generate_series(1, 1000000000000)"
    threading.Thread(target=connection.execute, args=[endless]).start()
    print(connection.info.backend_pid, flush=True)
    time.sleep(0.5)  # the query has started
    os.kill(servers.postgres.process.guard_pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    owner = processes.python(home, code)
    assert owner.stdout
    backend = int(owner.stdout.readline())
    assert not processes.gone(backend)
    owner.communicate()
    processes.eventually(lambda: processes.gone(backend), "the backend ends")


@pytest.mark.slow
def test_killing_the_owner_ends_both_servers(home: Path) -> None:
    code = """
import os, time
from pathlib import Path
from dev.stack import local_servers
with local_servers(Path(os.environ["MERGANSER_HOME"]), unsafe_fast=True) as servers:
    print("ready", flush=True)
    time.sleep(1000)
"""
    owner = processes.python(home, code)
    assert owner.stdout
    assert owner.stdout.readline() == "ready\n"
    assert len(processes.of(home)) > 5
    owner.kill()
    owner.communicate()
    processes.wait_until_none_left(home)


@pytest.mark.slow
@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}], ids=str)
def test_home_and_checkout_can_have_any_name_in_any_locale(
    home: Path, jars: Path, locale: dict[str, str]
) -> None:
    code = """
import os, sys
from pathlib import Path
sys.path.remove("")  # the working directory is another checkout
import psycopg
from dev import stack
with stack.local_servers(Path(os.environ["MERGANSER_HOME"]), unsafe_fast=True) as servers:
    psycopg.connect(servers.database_url).close()
    print(servers.kafka.ready(), stack.__file__, flush=True)
"""
    named, checkout = home / "zu Hause 家 🦆ö \\u0041", home / "chëck 🦆 out"
    named.mkdir()
    (named / "kafka_libs").symlink_to(jars)
    checkout.symlink_to(processes.ROOT)
    unset = {"LANG": "", "LC_ALL": "", "LC_CTYPE": ""}
    program = processes.python(named, code, **{**unset, **locale, "PYTHONPATH": str(checkout)})
    out, _ = program.communicate(timeout=120)
    assert out == f"True {checkout / 'dev' / 'stack' / '__init__.py'}\n"
    assert (named / "kafka" / "data" / "meta.properties").exists()
    assert "BrokerServer" in Home(named).log("kafka").read_text()  # our own log4j2.properties
    assert {path.name for path in home.iterdir()} == {named.name, checkout.name, "kafka_libs"}


def test_a_home_with_a_comma_is_refused(home: Path, jars: Path) -> None:
    named = Home(home / "one, two")
    with named.owned(), pytest.raises(StackError, match=r"set MERGANSER_HOME .* without one"):
        Kafka(named, 1, 2, cache=jars).start()
    assert {path.name for path in home.iterdir()} == {"one, two", "kafka_libs"}


def test_a_server_that_was_not_started_is_named_in_the_error(home: Path) -> None:
    with local_servers(home, kafka=False, unsafe_fast=True) as servers:
        assert servers.database_url
        with pytest.raises(StackError, match="without Kafka"):
            _ = servers.kafka_bootstrap


@pytest.mark.parametrize("program", ["java", "mvn"])
def test_the_error_names_a_missing_program(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    place = Home(home)
    place.logs.mkdir()
    only_other = tmp_path / "bin"
    only_other.mkdir()
    (only_other / ("mvn" if program == "java" else "java")).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(only_other))
    with pytest.raises(StackError, match=f"(?s)`{program}` was not found.*Install it"):
        Kafka(place, 1, 2, cache=tmp_path / "no-jars").start()


def test_a_failed_download_leaves_no_files(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Home(home)
    place.logs.mkdir()
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no route to the repository; exit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    cache = tmp_path / "cache"
    with pytest.raises(StackError, match="no route to the repository"):
        kafka_jars.fetch(cache, place)
    assert kafka_jars.fetched(cache) is None
    assert list(cache.iterdir()) == []


def test_a_port_without_a_server_does_not_answer() -> None:
    start = time.monotonic()
    assert not kafka.answers("127.0.0.1:1")
    assert time.monotonic() - start < 2


def end(server: Postgres | Kafka, number: signal.Signals) -> None:
    """Stop the server or kill it, and wait until it has exited."""
    if number == signal.SIGTERM:
        server.stop()
    else:
        os.kill(server.pid or 0, number)
        assert server.process
        assert server.process.wait(10)
