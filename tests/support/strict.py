"""A test that was skipped shows nothing: where MERGANSER_TEST_STRICT is set, as in CI, it fails.

But for what not every machine that runs CI can have, and no command installs.
"""

import os

import pytest

STRICT = bool(os.environ.get("MERGANSER_TEST_STRICT"))

MAY_BE_MISSING = {
    "no file system can be mounted here": "containers are seldom allowed to",
    "libfaketime comes built for Linux on x86-64 only": "its wheel has no library for others",
    "the kernel's death signal": "only Linux has one",
    "no Docker engine answers here": "without one, tests start the same servers themselves",
}
"""How the reason of a skip begins, and why it is a good one."""


def judged(report: pytest.TestReport) -> pytest.TestReport:
    """The report; of a skip that has no good reason, as a failure."""
    if STRICT and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(tuple(MAY_BE_MISSING)):
            report.outcome = "failed"
            report.longrepr = f"skipped, and MERGANSER_TEST_STRICT is set: {reason}"
    return report
