"""With MERGANSER_TEST_STRICT, as in CI, a skipped test fails: it has tested nothing.

The exceptions need something that some CI machines lack and that no command can install.
"""

import os

import pytest

STRICT = bool(os.environ.get("MERGANSER_TEST_STRICT"))

MAY_BE_MISSING = {
    "no file system can be mounted here": "containers usually may not",
    "libfaketime comes built for Linux on x86-64 only": "its wheel has no library for others",
    "the kernel's death signal": "only Linux has one",
    "no Docker engine answers here": "the other tests start the same servers as local processes",
}
"""The beginning of a skip's reason, and why it is acceptable."""


def fail_if_skipped(report: pytest.TestReport) -> pytest.TestReport:
    """Return the report, changed to a failure if it is a skip without an acceptable reason."""
    if STRICT and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(tuple(MAY_BE_MISSING)):
            report.outcome = "failed"
            report.longrepr = f"skipped, and MERGANSER_TEST_STRICT is set: {reason}"
    return report
