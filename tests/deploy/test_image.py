"""Build the image without a Docker engine, and with one if it answers.

The steps of the first stage run in a folder that has only the files that .dockerignore includes.
Their result runs as the user of the second stage, with all file systems read-only.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from dev.stack import services
from dev.stack.ports import free_port
from tests.support import ROOT
from tests.support.servers import needs_docker
from tests.support.system import System
from tests.support.waiting import eventually

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

FILE = ROOT / "deploy" / "Dockerfile"
READ_ONLY = """
for place in $(cut -d' ' -f2 /proc/self/mounts | sort -ru); do
    mount -o remount,bind,ro "$place" || exit
done
exec "$@"
"""
PLATFORMS = ["manylinux_2_17_x86_64", "manylinux_2_17_aarch64"]


@dataclass
class Stage:
    """The instructions after one FROM."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def find(self, instruction: str) -> str:
        """Return the only instruction of this name."""
        (found,) = (text for name, text in self.steps if name == instruction)
        return found


def stages() -> list[Stage]:
    text = re.sub(r"\\\n\s*", " ", FILE.read_text())
    found: list[Stage] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, rest = line.split(maxsplit=1)
            if name == "FROM":
                found.append(Stage(rest.split()[0]))
            else:
                found[-1].steps.append((name, rest))
    return found


BUILD, FINAL = stages()


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The result of the first stage: its folder /opt."""
    # Below /var/tmp, which the image's user can read; only root can read the folders of pytest.
    root = Path(tempfile.mkdtemp(dir="/var/tmp"))
    root.chmod(0o755)
    try:
        _build(root, tmp_path_factory.mktemp("context"))
        yield root / "opt"
    finally:
        shutil.rmtree(root)


def _build(root: Path, context: Path) -> None:
    _copy_context(context)
    where = root
    (root / "bin").mkdir()
    # The system's Python, because the image's user cannot run one in a developer's home.
    (root / "bin/python").symlink_to("/usr/bin/python3")
    pip = root / "bin/pip"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --disable-pip-version-check "$@"\n')
    pip.chmod(0o755)
    for name, text in BUILD.steps:
        # Move the paths of the image below `root`.
        local = re.sub(r"(?<![\w.])/(opt|src|build)\b", rf"{root}/\1", text)
        match name:
            case "WORKDIR":
                where = Path(local)
                where.mkdir(parents=True)
            case "COPY":
                *sources, target = local.split()
                assert target == "./"
                for source in sources:
                    path = context / source
                    if path.is_dir():
                        shutil.copytree(path, where, dirs_exist_ok=True)
                    else:
                        shutil.copy(path, where)
            case "RUN":
                env = {"PATH": f"{root}/bin:/usr/bin:/bin", "HOME": str(root / "home")}
                env |= {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
                result = subprocess.run(
                    ["sh", "-c", local], cwd=where, env=env, capture_output=True, check=False
                )
                assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()
            case _:
                pytest.fail(f"this test does not know the instruction {name}")


def _copy_context(target: Path) -> None:
    """Copy the files that .dockerignore includes; its first line excludes everything."""
    everything, *lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert everything == "*"
    for line in lines:
        if line.startswith("!"):
            source = ROOT / line[1:]
            into = target / line[1:]
            into.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, into)


def image_environment(opt: Path) -> dict[str, str]:
    """Return the variables of ENV in the final stage."""
    pairs = re.findall(r'(\w+)=("[^"]*"|\S+)', FINAL.find("ENV"))
    env = {name: value.strip('"') for name, value in pairs}
    env["PATH"] = env["PATH"].replace("/opt", str(opt)).replace("$PATH", "/usr/bin:/bin")
    return env


def as_user(*command: str) -> list[str]:
    """Return the command line that runs a command as the image's user, without capabilities."""
    user, group = FINAL.find("USER").split(":")
    rights = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["setpriv", f"--reuid={user}", f"--regid={group}", *rights, *command]


def sealed(*command: str) -> list[str]:
    """Return the command line that runs a command on read-only file systems, as Compose does."""
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", READ_ONLY, "sh", *command]


@pytest.fixture(scope="module")
def seal() -> Callable[..., list[str]]:
    """`sealed`; if the tests may not mount, a function that returns the command unchanged."""
    if subprocess.run(sealed("true"), capture_output=True, check=False).returncode == 0:
        return sealed
    warnings.warn("no right to mount: file systems can be written to in this test", stacklevel=1)
    return lambda *command: list(command)


def owned_files() -> set[str]:
    """Return all files of the image's user in folders that are writable for everyone."""
    user = FINAL.find("USER").split(":")[0]
    folders = ["/tmp", "/var", "/dev/shm", "/run"]  # noqa: S108 - searched, not written to
    found = subprocess.run(
        ["find", *folders, "-xdev", "-uid", user], capture_output=True, text=True, check=False
    )
    return set(found.stdout.split())


def test_both_stages_have_the_same_python() -> None:
    assert BUILD.base == FINAL.base
    assert f"python:{sys.version_info.major}.{sys.version_info.minor}-" in BUILD.base
    assert FINAL.find("ENTRYPOINT") == '["merganser"]'
    assert FINAL.find("USER") == "10001:10001"
    assert "/opt/merganser /opt/merganser" in FINAL.find("COPY")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_dependency_has_a_wheel(platform: str, tmp_path: Path) -> None:
    """The image has no compiler."""
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"),
        *("--disable-pip-version-check", "--ignore-installed", "--only-binary", ":all:"),
        *("--require-hashes", "--target", str(tmp_path), "--implementation", "cp"),
        *("--platform", platform, "--platform", platform.replace("2_17", "2_28")),
        *("--platform", platform.replace("manylinux_2_17", "manylinux2014")),
    ]
    for lock in (ROOT / "requirements.lock", ROOT / "deploy" / "build.lock"):
        result = subprocess.run([*command, "-r", str(lock)], capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()


def test_the_image_has_the_command_and_no_build_tools(opt: Path) -> None:
    help_ = subprocess.run(
        as_user("merganser", "--help"),
        env=image_environment(opt),
        cwd="/",
        capture_output=True,
        check=False,
        text=True,
    )
    assert help_.returncode == 0, help_.stderr
    assert "ingest" in help_.stdout
    names = {path.name.split("-")[0].lower() for path in opt.rglob("*.dist-info")}
    assert "merganser" in names
    assert not names & {"pytest", "pip", "setuptools"}


@needs_docker
def test_docker_builds_an_image_that_runs() -> None:
    name = f"merganser-test-{uuid.uuid4().hex}"
    build = ["docker", "build", "--quiet", "--file", str(FILE), "--tag", name, str(ROOT)]
    run = ["docker", "run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", name]
    try:
        built = subprocess.run(build, capture_output=True, check=False)
        assert built.returncode == 0, built.stderr.decode()
        assert b"ingest" in subprocess.run(run, capture_output=True, check=True).stdout
    finally:
        subprocess.run(["docker", "image", "rm", name], capture_output=True, check=False)


@dataclass
class Running:
    """A process of the image."""

    env: dict[str, str]
    ops: str
    """The port of /metrics, /healthz and /readyz."""


@asynccontextmanager
async def running(
    opt: Path, env: Mapping[str, str], seal: Callable[..., list[str]], name: str
) -> AsyncIterator[Running]:
    """Run a process as the image's user; check that it exits with 0 and leaves no files."""
    before = owned_files()
    ops = free_port()
    own = {**image_environment(opt), **env, f"MERGANSER_{name.upper()}_METRICS_PORT": str(ops)}
    process = await asyncio.create_subprocess_exec(
        *seal(*as_user("merganser", name)), env=own, cwd="/"
    )
    try:
        async with httpx.AsyncClient() as http:

            async def ready() -> bool:
                assert process.returncode is None
                try:
                    return (await http.get(f"http://127.0.0.1:{ops}/readyz")).is_success
                except httpx.TransportError:
                    return False

            await eventually(ready, within=120)
        yield Running(own, str(ops))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        exit_code = await asyncio.wait_for(process.wait(), 15)
    assert exit_code == 0
    assert owned_files() == before


@pytest.mark.parametrize("name", services.NAMES)
async def test_each_process_works_on_read_only_file_systems(
    opt: Path, system: System, seal: Callable[..., list[str]], name: str
) -> None:
    env = {**system.env, f"MERGANSER_{name.upper()}_PORT": str(free_port())}
    async with running(opt, env, seal, name) as process:
        check = re.sub(r".*CMD ", "", FINAL.find("HEALTHCHECK")).replace("9100", process.ops)
        command: list[str] = [part.strip('"') for part in re.findall(r'"[^"]*"', check)]
        healthy = await asyncio.create_subprocess_exec(
            *seal(*as_user(*command)), env=process.env, cwd="/"
        )
        assert await healthy.wait() == 0


async def test_ingest_in_the_image_accepts_an_event(
    opt: Path, system: System, seal: Callable[..., list[str]]
) -> None:
    key, port = await system.key(), free_port()
    env = {**system.env, "MERGANSER_INGEST_PORT": str(port)}
    async with running(opt, env, seal, "ingest"), httpx.AsyncClient() as http:
        answer = await http.post(
            f"http://127.0.0.1:{port}/api/v1/track",
            json={"type": "pageview", "anonymousId": "person_1"},
            headers={"authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 200
    assert await system.events.size() == 1
