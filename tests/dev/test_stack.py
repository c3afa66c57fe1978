"""The commands of the local stack, also while its processes are killed.

Kafka and Postgres are real; `standin.py` replaces the processes of Merganser.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from dev.stack import kafka, locks, ports, postgres, state
from dev.stack.home import Home
from dev.stack.services import NAMES
from dev.stack.state import State
from tests.dev import processes
from tests.support.servers import Servers


class Merganser:
    """Runs commands of the local stack with one home."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = Home(home)
        self._env = processes.environment(home, env)

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.dev.command", *arguments],
            env=self._env,
            cwd=processes.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        running = self.begin(*arguments)
        out, err = running.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, running.returncode, out, err)

    def end(self) -> None:
        if state.read(self.home):
            self("down")

    @property
    def state(self) -> State:
        current = state.read(self.home)
        assert current
        return current

    def pid(self, name: str) -> int:
        (found,) = [process.pid for process in self.state.processes if process.name == name]
        assert found
        return found


@pytest.fixture
def merganser(home: Path) -> Iterator[Merganser]:
    """A stack that starts its own servers."""
    run = Merganser(home)
    yield run
    run.end()


@pytest.fixture
def servers(servers_running: Servers, empty_database_url: str) -> Servers:
    """The shared servers of the tests, with a new database."""
    name = conninfo_to_dict(empty_database_url)["dbname"]
    # As a URL, because SQLAlchemy does not accept another form.
    url = urlsplit(servers_running.database_url)._replace(path=f"/{name}").geturl()
    return Servers(servers_running.kafka_bootstrap, url)


@pytest.fixture
def guest(home: Path, servers: Servers) -> Iterator[Merganser]:
    """A stack on the shared servers of the tests, which is faster."""
    run = Merganser(
        home,
        MERGANSER_KAFKA_BOOTSTRAP=servers.kafka_bootstrap,
        MERGANSER_DATABASE_URL=servers.database_url,
    )
    yield run
    run.end()


def assert_same_stack(shown: str, info: dict[str, Any]) -> None:
    """Assert that all is as before but the link to the console, which is a new one."""
    again = json.loads(shown)
    assert again["console_login_url"]
    assert again | {"console_login_url": ""} == info | {"console_login_url": ""}


def test_up_status_down_and_wipe(merganser: Merganser) -> None:
    first = merganser("up", "--json")
    assert first.returncode == 0, first.stderr
    info = json.loads(first.stdout)
    assert set(info) == {
        *("ingest_url", "api_url", "console_url", "database_url", "kafka_bootstrap"),
        *("api_key", "publishable_key", "metrics", "console_login_url"),
    }
    assert set(info["metrics"]) == set(NAMES)
    assert kafka.answers(info["kafka_bootstrap"])
    assert postgres.answers(info["database_url"])
    assert stat.S_IMODE(merganser.home.state.stat().st_mode) == 0o600

    before = processes.of(merganser.home.root)
    assert_same_stack(merganser("up", "--json").stdout, info)
    assert processes.of(merganser.home.root) == before
    shown = merganser("up").stdout
    assert info["api_key"] in shown
    assert info["publishable_key"] in shown
    assert merganser("status").returncode == 0

    with psycopg.connect(info["database_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept ()")
    assert merganser("down").returncode == 0
    assert processes.of(merganser.home.root) == []
    assert merganser("status").returncode == 3
    for name in NAMES:
        assert "has ended in order" in merganser.home.log(name).read_text()
    assert "database system is shut down" in merganser.home.log("postgres").read_text()
    assert "to SHUTDOWN" in merganser.home.log("kafka").read_text()

    assert_same_stack(merganser("up", "--json").stdout, info)
    with psycopg.connect(info["database_url"]) as connection:
        connection.execute("SELECT FROM kept")
    assert merganser("down", "--wipe").returncode == 0
    assert not merganser.home.postgres.exists()
    assert not merganser.home.kafka.exists()
    assert (merganser.home.root / "kafka_libs").exists()


def test_down_when_nothing_runs(merganser: Merganser) -> None:
    for _ in range(2):
        down = merganser("down")
        assert down.returncode == 0
        assert "Nothing is running" in down.stderr


# Stages of the start, each with a condition that shows that the stack has reached it.
STAGES: dict[str, Callable[[Home], bool]] = {
    "at once": lambda home: home.root.exists(),
    "the supervisor runs": lambda home: home.state.exists(),
    "the database is being created": lambda home: (home.postgres / "unfinished").exists(),
    "the broker is being formatted": lambda home: (home.kafka / "unfinished").exists(),
    "the broker runs": lambda home: locks.is_held(home.process_lock("kafka")),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killing_up_ends_the_start(merganser: Merganser, stage: str) -> None:
    up = merganser.begin("up")
    processes.eventually(lambda: STAGES[stage](merganser.home), stage)
    up.kill()
    up.communicate()
    processes.wait_until_none_left(merganser.home.root)


@pytest.mark.parametrize(
    "own_servers", [pytest.param(True, marks=pytest.mark.slow), False], ids=["own", "given"]
)
def test_interrupting_up_ends_the_start(
    request: pytest.FixtureRequest,
    own_servers: bool,  # noqa: FBT001 - a case
) -> None:
    merganser = request.getfixturevalue("merganser" if own_servers else "guest")
    lock = merganser.home.process_lock("kafka" if own_servers else "resolver")
    up = merganser.begin("up")
    processes.eventually(lambda: locks.is_held(lock), "the first processes run")
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=60)
    assert up.returncode == 130
    assert processes.of(merganser.home.root) == []


def test_killing_up_while_services_start_ends_them(guest: Merganser) -> None:
    up = guest.begin("up")
    lock = guest.home.process_lock("resolver")
    processes.eventually(lambda: locks.is_held(lock), "the services run")
    up.kill()
    up.communicate()
    processes.wait_until_none_left(guest.home.root)


@pytest.mark.slow
def test_a_start_after_a_killed_start_succeeds(merganser: Merganser) -> None:
    up = merganser.begin("up")
    kafka_runs = STAGES["the broker runs"]
    processes.eventually(lambda: kafka_runs(merganser.home), "the broker runs")
    os.kill(merganser.state.supervisor, signal.SIGKILL)
    up.communicate(timeout=60)
    assert up.returncode == 1
    assert processes.of(merganser.home.root) == []
    assert merganser("up").returncode == 0


def test_killing_the_supervisor_ends_the_stack(guest: Merganser) -> None:
    first = guest("up", "--json").stdout
    os.kill(guest.state.supervisor, signal.SIGKILL)
    processes.wait_until_none_left(guest.home.root)
    assert guest("status").returncode == 3
    assert "Nothing is running" in guest("down").stderr
    assert guest("up", "--json").stdout == first


def test_killing_supervisor_and_guards_at_once_ends_the_stack(guest: Merganser) -> None:
    guest("up")
    family = psutil.Process(guest.state.supervisor)
    guards = family.children()
    family.suspend()
    for process in [*guards, family]:
        process.kill()
    processes.wait_until_none_left(guest.home.root)


def test_down_ends_a_stack_with_a_suspended_supervisor(
    guest: Merganser, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest("up")
    os.kill(guest.state.supervisor, signal.SIGSTOP)
    monkeypatch.setenv("MERGANSER_HOME", str(guest.home.root))
    monkeypatch.setattr("dev.stack.commands._STOP_SECONDS", 0.5)
    from dev.stack import commands  # noqa: PLC0415 -- the only test that calls it in this process

    assert commands.down() == 0
    assert processes.of(guest.home.root) == []


def test_two_concurrent_starts_start_one_stack(guest: Merganser) -> None:
    outputs = [up.communicate(timeout=120)[0] for up in [guest.begin("up", "--json") for _ in "ab"]]
    assert outputs[0] == outputs[1] != ""
    assert sum("dev.stack.supervisor" in line for line in processes.of(guest.home.root)) == 1


@pytest.mark.slow
def test_two_stacks_that_start_together_have_their_own_ports_and_servers(
    tmp_path: Path, jars: Path
) -> None:
    """Both prefer the same ports."""
    preferred = {name: ports.free_port() for name in ports.USUAL}
    stacks = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        (root / "kafka_libs").symlink_to(jars)
        (root / "ports.json").write_text(json.dumps(preferred))
        stacks.append(Merganser(root))
    try:
        begun = [stack.begin("up", "--json") for stack in stacks]
        ends = [up.communicate(timeout=120) for up in begun]
        infos = [json.loads(out) for out, _ in ends]
        chosen = [json.loads(stack.home.ports.read_text()) for stack in stacks]
        assert not set(chosen[0].values()) & set(chosen[1].values())
        for stack, info in zip(stacks, infos, strict=True):
            with psycopg.connect(info["database_url"]) as connection:
                (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
            assert Path(data) == stack.home.postgres / "data"
            formatted = (stack.home.kafka / "data" / "meta.properties").read_text()
            assert f"cluster.id={kafka.cluster_of(info['kafka_bootstrap'])}\n" in formatted
            assert stack("status").returncode == 0
    finally:
        for stack in stacks:
            stack.end()
            processes.wait_until_none_left(stack.home.root)


@pytest.mark.slow
def test_a_home_can_have_any_name_in_an_ascii_locale(home: Path, jars: Path) -> None:
    named = home / "Mergänser 🦆"
    named.mkdir()
    (named / "kafka_libs").symlink_to(jars)
    stack = Merganser(named, LANG="C", LC_ALL="", LC_CTYPE="")
    try:
        up = stack("up", "--json")
        assert up.returncode == 0, up.stderr
        assert kafka.answers(json.loads(up.stdout)["kafka_bootstrap"])
        assert stack("status").returncode == 0
        assert "resolver is listening" in stack("logs").stdout
    finally:
        stack.end()


def test_killed_services_are_restarted(guest: Merganser) -> None:
    guest("up")
    killed = {name: guest.pid(name) for name in NAMES}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in killed.items():
        processes.eventually(lambda: guest.pid(name) != pid, f"{name} runs again")  # noqa: B023
        assert f"{name} ended with code 137" in guest.home.log("supervisor").read_text()
    processes.eventually(lambda: guest("status").returncode == 0, "all is ready")


@pytest.mark.faults
def test_killed_servers_are_restarted(merganser: Merganser) -> None:
    merganser("up")
    killed = {name: merganser.pid(name) for name in ("kafka", "postgres")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in killed.items():
        processes.eventually(lambda: merganser.pid(name) != pid, f"{name} runs again")  # noqa: B023
    processes.eventually(lambda: merganser("status").returncode == 0, "all is ready")


def test_given_servers_are_neither_stopped_nor_wiped(guest: Merganser, servers: Servers) -> None:
    info = json.loads(guest("up", "--json").stdout)
    assert info["kafka_bootstrap"] == servers.kafka_bootstrap
    assert info["database_url"] == servers.database_url
    assert "external" in guest("status").stdout
    guest("down", "--wipe")
    assert kafka.answers(servers.kafka_bootstrap)
    assert postgres.answers(servers.database_url)


@pytest.mark.parametrize("step", ["migrate", "topics", "scanner"])
def test_the_error_of_a_failed_step_is_shown(home: Path, servers: Servers, step: str) -> None:
    failing = Merganser(
        home,
        STANDIN_FAILS=step,
        MERGANSER_KAFKA_BOOTSTRAP=servers.kafka_bootstrap,
        MERGANSER_DATABASE_URL=servers.database_url,
    )
    up = failing("up", "--json")
    assert up.returncode == 1
    assert up.stdout == ""
    assert f"{step} fails on purpose" in up.stderr
    assert processes.of(home) == []


def test_logs_are_shown_for_all_services_or_one(guest: Merganser) -> None:
    guest("up")
    assert "resolver is listening" in guest("logs").stdout
    assert guest("logs", "ingest").stdout.startswith("ingest is listening")
    unknown = guest("logs", "injest")
    assert unknown.returncode == 1
    assert "ingest, " in unknown.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_ending_the_foreground_command_ends_the_stack(
    guest: Merganser, number: signal.Signals
) -> None:
    run = guest.begin("run")
    assert run.stdout
    assert "See it in the console" in run.stdout.readline()
    run.send_signal(number)
    run.communicate(timeout=60)
    processes.wait_until_none_left(guest.home.root)
    assert "resolver has ended in order" in guest.home.log("resolver").read_text()


def test_a_program_can_run_a_stack(home: Path, servers: Servers) -> None:
    code = f"""
import os, time
from pathlib import Path
from typing import Any
from dev.stack import run_stack
with run_stack(Path(os.environ["MERGANSER_HOME"]), cli={processes.STANDIN!r}) as info:
    print(info.as_json(), flush=True)
    input()
print("after", flush=True)
input()
"""
    program = processes.python(
        home,
        code,
        MERGANSER_KAFKA_BOOTSTRAP=servers.kafka_bootstrap,
        MERGANSER_DATABASE_URL=servers.database_url,
    )
    assert program.stdin
    assert program.stdout
    info = json.loads(program.stdout.readline())
    ready = info["metrics"]["ingest"].replace("/metrics", "/readyz")
    with urllib.request.urlopen(ready) as answer:  # noqa: S310 -- our own
        assert answer.status == 200
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "after\n"
    assert len(processes.of(home)) == 1
    program.communicate("\n")


def python_on(servers: Servers, home: Path, code: str) -> subprocess.Popen[str]:
    """Run code whose stack uses these servers, with its own topics and consumer group."""
    return processes.python(
        home,
        code,
        MERGANSER_KAFKA_BOOTSTRAP=servers.kafka_bootstrap,
        MERGANSER_DATABASE_URL=servers.database_url,
        MERGANSER_TOPIC=home.parent.name,
        MERGANSER_DEAD_TOPIC=f"{home.parent.name}.dead",
        MERGANSER_REFUSED_TOPIC=f"{home.parent.name}.refused",
        MERGANSER_CONSUMER_GROUP=home.parent.name,
    )


def test_up_status_and_down_with_the_real_processes(home: Path, servers: Servers) -> None:
    code = """
import os, sys
from dev.stack import commands
sys.exit(commands.up(json=True, usual_ports=False) or commands.status() or commands.down())
"""
    program = python_on(servers, home, code)
    out, _ = program.communicate(timeout=120)
    assert program.returncode == 0
    info = json.loads(out.splitlines()[0])
    assert info["publishable_key"].startswith("mk_pub_")
    assert not info["api_key"].startswith("mk_pub_")
    assert info["console_login_url"].startswith(f"{info['console_url']}/login/")


def test_the_demo_story_can_be_repeated(home: Path, servers: Servers) -> None:
    """Data of an earlier run does not change its result."""
    code = """
import sys
import httpx
from dev import story
from dev.stack import commands
from dev.stack.console_login import create_link
from dev.stack.launch import MERGANSER
from merganser.cli.terminal import out
def play_twice(launch):
    story.play_story(launch.info)
    with out.capture() as printed:
        story.play_story(launch.info)
    print(printed.get())
    pages = [line.split("see ")[1] for line in printed.get().splitlines() if "  see " in line]
    assert len(pages) == 7, pages
    with httpx.Client(follow_redirects=True) as viewer:
        viewer.get(create_link(launch.info, MERGANSER)).raise_for_status()
        for page in pages:
            shown = viewer.get(page).raise_for_status()
            assert shown.url.path == httpx.URL(page).path, page
sys.exit(commands.run(play_twice, usual_ports=False))
"""
    program = python_on(servers, home, code)
    out, _ = program.communicate(timeout=120)
    assert program.returncode == 0, out
    for known in ("user123@example.test", "user123001@example.test"):
        assert known in out
    assert out.count("19.75") == 2
    assert out.count("my-ad-campaign") >= 2
