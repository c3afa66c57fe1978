"""A short run of `make chaos`."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.chaos import Plan, run
from tests.chaos.faults import FAULTS
from tests.chaos.history import generate_event


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_faults_lose_nothing(tmp_path: Path) -> None:
    quick = [fault for fault in FAULTS if fault.quick]
    verdict = await run(Plan(seed=11, seconds=25, faults=quick), tmp_path, Console())
    assert verdict.failures == []
    assert verdict.stored + verdict.erased >= verdict.acknowledged > 0
    assert sum(verdict.faults.values()) > 1


def test_a_seed_and_a_number_always_give_the_same_event() -> None:
    first, second = ([generate_event(1, n) for n in range(50)] for _ in range(2))
    assert first == second
    assert generate_event(1, 7) != generate_event(2, 7)


def test_names_of_faults_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
