import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports.free_port(set())))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def remembered(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def test_the_usual_port_if_it_is_free(remembered: Path) -> None:
    usual = ports.free_port(set())
    assert ports.choose(["kafka"], remembered, usual={"kafka": usual}) == {"kafka": usual}


def test_another_port_if_the_usual_is_taken(remembered: Path, taken: int) -> None:
    chosen = ports.choose(["kafka"], remembered, usual={"kafka": taken})["kafka"]
    assert chosen != taken
    assert ports.is_free(chosen)


def test_a_server_on_all_addresses_takes_the_port_too() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", ports.free_port(set())))  # noqa: S104 -- that is the point
        server.listen()
        assert not ports.is_free(server.getsockname()[1])


def test_the_port_of_the_last_run_before_the_usual(remembered: Path) -> None:
    first = ports.choose(["kafka"], remembered, usual={})
    assert ports.choose(["kafka"], remembered, usual={"kafka": ports.free_port(set())}) == first


def test_another_port_if_that_of_the_last_run_is_taken(remembered: Path, taken: int) -> None:
    remembered.write_text(json.dumps({"kafka": taken}))
    assert ports.choose(["kafka"], remembered, usual={})["kafka"] != taken


def test_names_never_share_a_port(remembered: Path) -> None:
    usual = ports.free_port(set())
    chosen = ports.choose(["a", "b", "c"], remembered, usual={"a": usual, "b": usual})
    assert len(set(chosen.values())) == 3


def test_a_port_asked_for_is_taken_at_its_word(remembered: Path, taken: int) -> None:
    chosen = ports.choose(["a", "b"], remembered, usual={"b": taken}, fixed={"a": taken})
    assert chosen["a"] == taken
    assert chosen["b"] != taken
