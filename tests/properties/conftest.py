"""Fixtures of properties tests: three profiles, and a defect that one of them can trigger."""

import pytest

from properties.rules import aggregations
from tests.properties.harness import COUNT, PATHS, PRICE, PropertyHarness
from tests.support.database import Database


@pytest.fixture
async def harness(database: Database) -> PropertyHarness:
    """Apply three rules and create the profiles pro_1, pro_2 and pro_3."""
    harness = PropertyHarness(database)
    await harness.apply(COUNT, PATHS, PRICE)
    await harness.run_process()
    for number in range(1, 4):
        await harness.add_profile(f"pro_{number}")
    return harness


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make sums fail for the price 13; `undo` of the returned object fixes them."""
    add_numbers = aggregations.add_numbers

    def fail_for_13(left: str, right: str) -> str:
        if "13" in (left, right):
            raise ZeroDivisionError("content: 13")
        return add_numbers(left, right)

    monkeypatch.setattr(aggregations, "add_numbers", fail_for_13)
    return monkeypatch
