import ast
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from dev.stack import ports
from dev.stack.errors import StackError
from tests.dev import processes

NONE: Mapping[str, int] = MappingProxyType({})


@pytest.fixture
def occupied() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports.free_port()))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def choose(
    names: list[str],
    saved: Path,
    usual: Mapping[str, int] = NONE,
    fixed: Mapping[str, int] = NONE,
) -> dict[str, int]:
    """Return the ports that a stack chooses; it claims them only for a moment."""
    with ports.claimed(names, saved, usual=usual, fixed=fixed) as claimed:
        return claimed


def test_a_free_usual_port_is_chosen(saved: Path) -> None:
    usual = ports.free_port()
    assert choose(["kafka"], saved, {"kafka": usual}) == {"kafka": usual}


def test_another_port_is_chosen_if_the_usual_one_is_occupied(saved: Path, occupied: int) -> None:
    other = choose(["kafka"], saved, {"kafka": occupied})["kafka"]
    assert other != occupied
    assert ports.is_free(other)


def test_a_port_is_occupied_by_a_server_on_all_addresses() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", ports.free_port()))  # noqa: S104 -- that is the point
        server.listen()
        assert not ports.is_free(server.getsockname()[1])


def test_the_port_of_the_last_run_wins_over_the_usual_one(saved: Path) -> None:
    first = choose(["kafka"], saved)
    assert choose(["kafka"], saved, {"kafka": ports.free_port()}) == first


def test_another_port_is_chosen_if_that_of_the_last_run_is_occupied(
    saved: Path, occupied: int
) -> None:
    saved.write_text(json.dumps({"kafka": occupied}))
    assert choose(["kafka"], saved)["kafka"] != occupied


def test_each_name_gets_its_own_port(saved: Path) -> None:
    usual = ports.free_port()
    found = choose(["a", "b", "c"], saved, {"a": usual, "b": usual})
    assert len(set(found.values())) == 3


def test_a_fixed_port_is_used_even_if_it_is_occupied(saved: Path, occupied: int) -> None:
    found = choose(["a", "b"], saved, {"b": occupied}, {"a": occupied})
    assert found["a"] == occupied
    assert found["b"] != occupied


def test_two_stacks_that_start_together_choose_different_ports(tmp_path: Path) -> None:
    """No server listens yet on the ports of the first one."""
    usual = {"kafka": ports.free_port()}
    with (
        ports.claimed(["kafka"], tmp_path / "first.json", usual=usual) as first,
        ports.claimed(["kafka"], tmp_path / "second.json", usual=usual) as second,
    ):
        assert first == usual
        assert second != usual
    assert choose(["kafka"], tmp_path / "third.json", usual) == usual


def test_a_fixed_port_that_another_stack_has_is_refused(tmp_path: Path) -> None:
    with (
        ports.claimed(["kafka"], tmp_path / "first.json", usual={}) as first,
        pytest.raises(StackError, match=r"Port \d+.*api.*another stack"),
    ):
        choose(["api"], tmp_path / "second.json", fixed={"api": first["kafka"]})


def test_a_claim_ends_with_its_process(home: Path, saved: Path) -> None:
    usual = ports.free_port()
    code = f"""
from pathlib import Path
from dev.stack import ports
with ports.claimed(["kafka"], Path({str(home / "ports.json")!r}), usual={{"kafka": {usual}}}):
    print(flush=True)
    input()
"""
    program = processes.python(home, code)
    assert program.stdout
    program.stdout.readline()
    assert choose(["kafka"], saved, {"kafka": usual}) != {"kafka": usual}
    program.kill()
    program.communicate()
    saved.unlink()
    assert choose(["kafka"], saved, {"kafka": usual}) == {"kafka": usual}


def test_a_claims_folder_of_another_user_is_refused(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"merganser-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(StackError, match="belongs to another user"):
        choose(["kafka"], saved)


def test_two_processes_get_different_free_ports(home: Path) -> None:
    """None of them listens on its ports yet."""
    code = """
from dev.stack import ports
print({ports.free_port() for _ in range(200)}, flush=True)
input()
"""
    other = processes.python(home, code)
    assert other.stdout
    others = ast.literal_eval(other.stdout.readline())
    assert len(others) > 50, "the same ports again, without those that a server has"
    assert ports.free_port() not in others
    other.communicate("\n")
