from pathlib import Path

import pytest

from dev.stack.errors import StackError
from dev.stack.process import Process
from dev.stack.restarts import Restarter


class Target:
    """A target of a restarter that a test launches and stops."""

    name = "resolver"

    def __init__(self) -> None:
        self.process: Process | None = None
        self.launches = 0
        self.broken = False

    def launch(self) -> Process:
        self.launches += 1
        if self.broken:
            raise StackError("no memory")
        self.process = RunningProcess()
        return self.process

    def start(self) -> None:
        self.launch()

    def stop(self) -> None:
        self.process = None


class RunningProcess(Process):
    running = True

    def __init__(self) -> None:
        self.log = Path()


def pauses(target: Target, restarter: Restarter, count: int, lifetime: float) -> list[float]:
    """Let the target end `count` times after `lifetime` s; return the seconds until it is back."""
    now, found = 1000.0, []
    for _ in range(count):
        now += lifetime
        target.stop()
        ended = now
        while not restarter.check(now):
            now += 0.5
        found.append(now - ended)
    return found


def test_a_running_target_is_not_launched_again() -> None:
    target = Target()
    target.launch()
    assert not Restarter(target).check(0)
    assert target.launches == 1


def test_pauses_grow_up_to_a_limit() -> None:
    target = Target()
    assert pauses(target, Restarter(target), 9, lifetime=1) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_pauses_are_short_again_after_a_long_run() -> None:
    target = Target()
    restarter = Restarter(target)
    pauses(target, restarter, 5, lifetime=1)
    assert pauses(target, restarter, 1, lifetime=3600) == [0.5]


def test_a_failed_launch_is_tried_again() -> None:
    target = Target()
    restarter = Restarter(target)
    target.broken = True
    assert not any(restarter.check(now) for now in range(60))
    assert target.launches > 1
    target.broken = False
    assert any(restarter.check(now) for now in range(60, 120))


@pytest.mark.parametrize("broken", [True, False])
def test_the_log_names_a_restart_or_its_failure(
    broken: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Target()
    target.broken = broken
    restarter = Restarter(target)
    restarter.check(0)
    with caplog.at_level("INFO"):
        restarter.check(1)
    assert ("no memory" if broken else "was restarted") in caplog.text
