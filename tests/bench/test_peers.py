"""The comparison with other gateways."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.bench.peers import bento
from dev.stack.errors import StackError


def test_without_go_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGANSER_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StackError, match=r"Install Go 1\.22 or newer"):
        bento.install()


@pytest.mark.bench
@pytest.mark.timeout(1800)  # compiles Bento
@pytest.mark.skipif(shutil.which("go") is None, reason="compiles Bento with Go")
def test_each_gateway_has_its_costs_memory_and_lost_events() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dev.bench.peers", "--json", "--quick", "--answers", "20"],
        check=True,
        capture_output=True,
        text=True,
    )

    found = {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}
    gateways = {"merganser", "bento-passing_through", "bento-mapping_alike"}
    loads = {"single-32", "single-256", "batch-32", "memory", "lost"}
    assert found.keys() == {f"{load}-{gateway}" for load in loads for gateway in gateways}
    assert found["lost-merganser"]["value"] == 0
    for name, line in found.items():
        assert line["value"] > 0 or name.startswith("lost")
