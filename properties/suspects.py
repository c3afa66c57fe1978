"""Which rules fail for everyone: then the rule is at fault, not the profiles."""

from collections import Counter
from collections.abc import Collection, Mapping

MOST = 100
"""Profiles in a row for which a rule may fail, before it is not computed any more."""


class Suspects:
    """Rules that have failed for the last profiles that they were computed for."""

    def __init__(self) -> None:
        self._failed = Counter[str]()

    @property
    def keys(self) -> Collection[str]:
        """Their keys."""
        return self._failed.keys()

    def judge(self, failed: Mapping[str, int], worked: Collection[str]) -> str | None:
        """Take in what has happened, and name a rule that fails for everyone.

        Args:
            failed: for how many profiles each rule has failed.
            worked: the rules that have worked for a profile meanwhile.
        """
        self._failed.update(failed)
        for key in worked:
            del self._failed[key]
        return next((key for key, count in self._failed.items() if count >= MOST), None)

    def forget(self, key: str) -> None:
        """Think nothing of a rule any more: it is not computed."""
        del self._failed[key]
