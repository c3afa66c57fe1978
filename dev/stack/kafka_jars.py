"""Download Kafka's jars with Maven, once."""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.process import run

_PACKAGE = Path(__file__).parent
_POM = _PACKAGE / "pom.xml"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_FETCH_SECONDS = 900.0

LOGGING_CONFIG = _PACKAGE / "log4j2.properties"


def version() -> str:
    """Return the version of Kafka in `pom.xml`."""
    found = re.search("<kafka.version>(.+)</kafka.version>", _POM.read_text())
    if found is None:
        raise StackError(f"{_POM} names no kafka.version; install merganser again.")
    return found[1]


def fetched(cache: Path) -> Path | None:
    """Return the folder with the jars, or None if they are not in `cache`."""
    folder = cache / version()
    return folder if folder.is_dir() else None


def fetch(cache: Path, home: Home) -> Path:
    """Return the folder with the jars, downloading them (about 45 MB) if necessary.

    Maven logs into `home`. Several processes may call this at once. Raises StackError if Maven is
    missing or fails.
    """
    if folder := fetched(cache):
        return folder
    maven = find_program("mvn", "Maven fetches the Kafka broker", "maven")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as temporary:
        libs = Path(temporary) / "libs"
        run(
            home,
            "maven",
            [
                maven,
                *("-q", "-B", "-f", _POM),
                f"{_PLUGIN}:copy-dependencies",
                "-DincludeScope=runtime",
                f"-DoutputDirectory={libs}",
            ],
            env=java_environment(),
            timeout=_FETCH_SECONDS,
        )
        # Rename it when complete: an existing folder means that all jars are there.
        with suppress(OSError):  # another process was faster
            libs.rename(cache / version())
    if folder := fetched(cache):
        return folder
    raise StackError(f"Cannot write Kafka's jars to {cache / version()}; check its permissions.")


def java_environment() -> dict[str, str]:
    """Return an environment in which Java can open files of any name.

    Java takes the encoding of names from the locale; in `C` it can only use ASCII.
    """
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def find_program(program: str, purpose: str, package: str) -> str:
    """Return the path of `program`. Raises StackError, saying how to install it, if missing."""
    path = shutil.which(program)
    if path is None:
        raise StackError(
            f"`{program}` was not found; {purpose}. Install it (Debian, Ubuntu: "
            f"`apt-get install {package}`; macOS: `brew install {_BREW.get(package, package)}`), "
            "or set MERGANSER_KAFKA_BOOTSTRAP to use a Kafka that already runs."
        )
    return path


_BREW = {"openjdk-17-jre-headless": "openjdk@17"}
