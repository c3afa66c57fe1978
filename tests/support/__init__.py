"""Helpers of all tests: real servers, a database and topics for each test, real processes."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The directory of the repository."""

# Readline exports the terminal's size from pytest to its workers; rich would read it before a test
# sets its own.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)
