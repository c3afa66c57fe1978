from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.home import jar_cache
from tests.dev import processes


@pytest.fixture(autouse=True, scope="session")
def jars() -> Path:
    """Where the Kafka jars of this checkout are, whatever home a test uses."""
    return jar_cache()


@pytest.fixture
def home(tmp_path: Path, jars: Path) -> Iterator[Path]:
    """An empty home directory; nothing of what was started in it may be left."""
    root = tmp_path / "home"
    root.mkdir()
    jars.mkdir(parents=True, exist_ok=True)
    (root / "kafka_libs").symlink_to(jars)
    yield root
    processes.none_left(root)
