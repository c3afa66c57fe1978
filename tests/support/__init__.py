"""What the tests share: real servers, a database and topics for each test, real processes."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The directory of the repository."""
