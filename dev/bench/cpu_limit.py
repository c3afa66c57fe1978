"""Limit processes to a part of a core, by Linux's control groups. It needs root."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_PERIOD = 10_000
"""Microseconds. Within each, a process may use its part."""


@contextmanager
def cpu_limit(cores: float) -> Iterator[Callable[[psutil.Process], None]]:
    """Yield a function that limits a process, which must end before the `with` block does.

    It says so where the machine does not allow that.
    """
    with ExitStack() as groups:

        def limit(process: psutil.Process) -> None:
            try:
                group = _create_group(f"merganser-bench-{process.pid}", round(cores * _PERIOD))
            except OSError as error:
                print(f"the CPU of the workers is not limited: {error}", file=sys.stderr)
                return
            groups.callback(os.rmdir, group)
            (group / "cgroup.procs").write_text(str(process.pid))

        yield limit


def _create_group(name: str, quota: int) -> Path:
    version_1 = _ROOT / "cpu"
    if version_1.is_dir():
        group = version_1 / name
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (_ROOT / "cgroup.subtree_control").write_text("+cpu")
        group = _ROOT / name
        group.mkdir()
        (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
    return group
