"""Which rules fail for everyone: then the rule is at fault, not the profiles."""

from collections import Counter
from collections.abc import Collection, Mapping

MOST = 100
"""By how many the profiles that a rule fails for may exceed those that it works for meanwhile,
before it is not computed any more."""


class Suspects:
    """Rules because of which profiles were set aside."""

    def __init__(self) -> None:
        self._lead = Counter[str]()

    @property
    def keys(self) -> Collection[str]:
        """Their keys."""
        return self._lead.keys()

    def judge(self, failed: Mapping[str, int], worked: Mapping[str, int]) -> str | None:
        """Take in what has happened, and name a rule that fails for everyone.

        Args:
            failed: for how many profiles each rule has failed.
            worked: for how many profiles it has worked; other rules may be missing.
        """
        self._lead.update(failed)
        self._lead.subtract({key: count for key, count in worked.items() if key in self._lead})
        self._lead = +self._lead
        return next((key for key, lead in self._lead.items() if lead >= MOST), None)

    def forget(self, key: str) -> None:
        """Think nothing of a rule any more: it is not computed."""
        del self._lead[key]
