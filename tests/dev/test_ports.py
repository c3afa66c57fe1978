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
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports.free_port(set())))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def remembered(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def chosen(
    names: list[str],
    remembered: Path,
    usual: Mapping[str, int] = NONE,
    fixed: Mapping[str, int] = NONE,
) -> dict[str, int]:
    """The choice of a stack that is over."""
    with ports.claimed(names, remembered, usual=usual, fixed=fixed) as claimed:
        return claimed


def test_the_usual_port_if_it_is_free(remembered: Path) -> None:
    usual = ports.free_port(set())
    assert chosen(["kafka"], remembered, {"kafka": usual}) == {"kafka": usual}


def test_another_port_if_the_usual_is_taken(remembered: Path, taken: int) -> None:
    other = chosen(["kafka"], remembered, {"kafka": taken})["kafka"]
    assert other != taken
    assert ports.is_free(other)


def test_a_server_on_all_addresses_takes_the_port_too() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", ports.free_port(set())))  # noqa: S104 -- that is the point
        server.listen()
        assert not ports.is_free(server.getsockname()[1])


def test_the_port_of_the_last_run_before_the_usual(remembered: Path) -> None:
    first = chosen(["kafka"], remembered)
    assert chosen(["kafka"], remembered, {"kafka": ports.free_port(set())}) == first


def test_another_port_if_that_of_the_last_run_is_taken(remembered: Path, taken: int) -> None:
    remembered.write_text(json.dumps({"kafka": taken}))
    assert chosen(["kafka"], remembered)["kafka"] != taken


def test_names_never_share_a_port(remembered: Path) -> None:
    usual = ports.free_port(set())
    found = chosen(["a", "b", "c"], remembered, {"a": usual, "b": usual})
    assert len(set(found.values())) == 3


def test_a_port_asked_for_is_taken_at_its_word(remembered: Path, taken: int) -> None:
    found = chosen(["a", "b"], remembered, {"b": taken}, {"a": taken})
    assert found["a"] == taken
    assert found["b"] != taken


def test_two_stacks_at_the_same_moment_choose_different_ports(tmp_path: Path) -> None:
    """No server listens yet on what the first one has chosen."""
    usual = {"kafka": ports.free_port(set())}
    with (
        ports.claimed(["kafka"], tmp_path / "one.json", usual=usual) as one,
        ports.claimed(["kafka"], tmp_path / "two.json", usual=usual) as two,
    ):
        assert one == usual
        assert two != usual
        assert ports.free_port(set()) not in {*one.values(), *two.values()}
    assert chosen(["kafka"], tmp_path / "three.json", usual) == usual


def test_a_port_asked_for_that_another_stack_has_is_refused(tmp_path: Path) -> None:
    with (
        ports.claimed(["kafka"], tmp_path / "one.json", usual={}) as one,
        pytest.raises(StackError, match=r"Port \d+.*api.*another stack"),
    ):
        chosen(["api"], tmp_path / "two.json", fixed={"api": one["kafka"]})


def test_a_claim_ends_with_its_process(home: Path, remembered: Path) -> None:
    usual = ports.free_port(set())
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
    assert chosen(["kafka"], remembered, {"kafka": usual}) != {"kafka": usual}
    program.kill()
    program.communicate()
    remembered.unlink()
    assert chosen(["kafka"], remembered, {"kafka": usual}) == {"kafka": usual}


def test_a_folder_for_claims_that_somebody_else_made_is_not_used(
    tmp_path: Path, remembered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"merganser-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(StackError, match="belongs to another user"):
        chosen(["kafka"], remembered)
