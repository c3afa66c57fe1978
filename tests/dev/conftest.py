from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.home import jar_cache
from tests.dev import processes


@pytest.fixture(autouse=True, scope="session")
def jars() -> Path:
    """The folder of Kafka's jars in this checkout, which all homes of tests share."""
    return jar_cache()


@pytest.fixture
def home(tmp_path: Path, jars: Path) -> Iterator[Path]:
    """An empty home directory; at the end, no process of it may run."""
    root = tmp_path / "home"
    root.mkdir()
    jars.mkdir(parents=True, exist_ok=True)
    (root / "kafka_libs").symlink_to(jars)
    yield root
    processes.wait_until_none_left(root)
