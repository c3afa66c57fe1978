"""A real Kafka broker: one KRaft node on 127.0.0.1, with its data in the home directory."""

import base64
import shutil
import signal
import socket
import struct
import uuid
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from dev.stack.errors import StackError
from dev.stack.home import Home, jar_cache
from dev.stack.kafka_jars import LOGGING_CONFIG, fetch, find_program, java_environment
from dev.stack.process import Process, run

_FORMAT_SECONDS = 60.0
_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_ANSWER_SECONDS = 1.0
_API_VERSIONS = struct.Struct(">ihhih").pack(10, 18, 0, 1, -1)
"""A request that every broker answers: length, key 18, version 0, correlation id, no client id."""
_METADATA = struct.Struct(">ihhihi").pack(14, 3, 2, 2, -1, 0)
"""A metadata request: length, key 3, version 2, correlation id, no client id, no topics."""
_LARGEST_ANSWER = 65_536


class Kafka:
    """The broker; `port` is for clients, `controller_port` for the broker's own use.

    `cache` is the folder of its jars, `heap_mb` the limit of its Java heap. With `short_lived`, for
    tests, Java takes half of the CPU in its first minutes, and more than usual later. `config` has
    broker properties that add to or override ours, `scram` has users in the format of
    kafka-storage. The process can be stopped, killed and started again with the same port and data.
    """

    name = "kafka"

    def __init__(
        self,
        home: Home,
        port: int,
        controller_port: int,
        *,
        cache: Path | None = None,
        heap_mb: int = 512,
        short_lived: bool = False,
        config: Mapping[str, str] | None = None,
        scram: Sequence[str] = (),
    ) -> None:
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._home = home
        self._controller_port = controller_port
        self._cache = cache or jar_cache()
        self._java_options = [f"-Xmx{heap_mb}m", *(_SHORT_LIVED if short_lived else ())]
        self._config = config or {}
        self._scram = scram
        self._data = home.kafka / "data"
        self.process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the broker, None before the first start."""
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        """Whether the broker's process is running; see `ready` for whether it answers."""
        return self.process is not None and self.process.running

    def launch(self) -> Process:
        """Start the broker without waiting for it; fetch its jars and format its data if needed.

        Raises StackError if Java or Maven is missing or fails.
        """
        java = find_program("java", "the Kafka broker needs Java 17 or newer", _JAVA_PACKAGE)
        libs = fetch(self._cache, self._home)
        self._home.kafka.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            self._format(java, libs)
        config = self._write_config("server.properties", self._data)
        self.process = Process(
            self._home,
            self.name,
            [*_java(java, libs, self._java_options), "kafka.Kafka", config],
            env=java_environment(),
        )
        self.process.start()
        return self.process

    def start(self) -> None:
        """Start the broker and return when it answers, rather than another broker on its port.

        Raises StackError if that fails.
        """
        self.launch().wait_until(self.ready, _START_SECONDS)

    def stop(self) -> None:
        """Stop the broker gracefully; kill it if that takes too long. It may be stopped already."""
        if self.process:
            self.process.stop(signal.SIGTERM, _STOP_SECONDS)

    def ready(self) -> bool:
        """Return whether the broker with our data answers, rather than another one."""
        cluster = cluster_of(self.bootstrap)
        return cluster is not None and f"cluster.id={cluster}" in self._formatted()

    def _formatted(self) -> list[str]:
        """Return the lines that kafka-storage wrote about the data."""
        return (self._data / "meta.properties").read_text().splitlines()

    def _format(self, java: str, libs: Path) -> None:
        # Format in another folder and rename it: a kill leaves no incomplete data.
        unfinished = self._home.kafka / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        config = self._write_config("format.properties", unfinished)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        run(
            self._home,
            "kafka-format",
            [
                *_java(java, libs, _SHORT_LIVED),
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster_id}",  # with `=`, as an id may begin with a dash
                f"--config={config}",
                *(f"--add-scram={user}" for user in self._scram),
            ],
            env=java_environment(),
            timeout=_FORMAT_SECONDS,
        )
        unfinished.rename(self._data)

    def _write_config(self, name: str, data: Path) -> Path:
        if "," in str(data):
            raise StackError(
                f"Kafka would read {data} as several directories, as it has a comma; set "
                "MERGANSER_HOME to a directory without one."
            )
        path = self._home.kafka / name
        escaped = str(data).replace("\\", r"\\")
        config = _CONFIG.format(port=self.port, controller=self._controller_port, data=escaped)
        # The later line of a property counts.
        more = "".join(f"{name}={value}\n" for name, value in self._config.items())
        path.write_bytes(_properties(config + more))
        return path


def answers(bootstrap: str) -> bool:
    """Return whether the first broker of `bootstrap` ("host:port,...") answers a request."""
    host, _, port = bootstrap.split(",", 1)[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_SECONDS) as connection:
            connection.sendall(_API_VERSIONS)
            return bool(connection.recv(4))
    except OSError:
        return False


def cluster_of(bootstrap: str) -> str | None:
    """Return the id of the cluster that answers at "host:port".

    None if no broker answers, or if it has not registered itself yet: then it could not name the
    controller to clients that create topics.
    """
    host, _, port = bootstrap.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_SECONDS) as connection:
            connection.sendall(_METADATA)
            with connection.makefile("rb") as answer:
                size = _number(answer, 4)
                return _cluster_id(BytesIO(answer.read(size))) if size <= _LARGEST_ANSWER else None
    except (OSError, ValueError):
        return None


def _cluster_id(answer: BinaryIO) -> str | None:
    """Read a response to `_METADATA`: correlation id, brokers, cluster id, and more."""
    answer.read(4)
    brokers = _number(answer, 4)
    if not brokers:
        return None
    for _ in range(min(brokers, _LARGEST_ANSWER)):
        answer.read(4)  # its id
        answer.read(_number(answer, 2))  # its host
        answer.read(4)  # its port
        answer.read(_number(answer, 2))  # its rack
    return answer.read(_number(answer, 2)).decode()


def _number(answer: BinaryIO, size: int) -> int:
    """Read a number of `size` bytes; return 0 for -1, which means null."""
    return max(int.from_bytes(answer.read(size), signed=True), 0)


def _properties(text: str) -> bytes:
    """Encode a properties file for Java: Latin-1, with UTF-16 escapes for other characters."""
    units = memoryview(text.encode("utf-16-le")).cast("H")
    return b"".join(bytes([unit]) if unit < 0x80 else b"\\u%04x" % unit for unit in units)  # noqa: PLR2004


def _java(java: str, libs: Path, options: Sequence[str]) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={LOGGING_CONFIG}"
    return [java, *options, logging, "-cp", f"{libs}/*"]


# Without the optimizing compiler, and with a collector of garbage that needs no threads.
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

_JAVA_PACKAGE = "openjdk-17-jre-headless"

_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

# Do not create a topic for a misspelled name.
auto.create.topics.enable=false
num.partitions=12
default.replication.factor=1
min.insync.replicas=1

# One node: nothing to replicate, and few groups to spread.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# After SIGKILL the next start waits until the old session has expired (9 s by default).
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# A first consumer starts at once instead of waiting 3 s for others.
group.initial.rebalance.delay.ms=100
"""
