"""How many examples Hypothesis tries, by the environment variable HYPOTHESIS_PROFILE.

`fast` is for `make test`, `full` for `make test-all`, `nightly` for `make test-nightly`.
"""

import os
from typing import Literal

from hypothesis import HealthCheck, Phase, settings

PROFILE: Literal["fast", "full", "nightly"] = os.environ.get("HYPOTHESIS_PROFILE", "fast")  # type: ignore[assignment] # checked below

NIGHTLY = PROFILE == "nightly"


def load_profile() -> None:
    """Register the three profiles and load the one of this run."""
    # Other processes may use the processor at the same time, so no example has a deadline.
    settings.register_profile("fast", max_examples=50, deadline=None)
    settings.register_profile("full", max_examples=100, deadline=None)
    settings.register_profile("nightly", max_examples=1_000, deadline=None)
    settings.load_profile(PROFILE)


def count(*, fast: int, full: int, nightly: int | None = None) -> int:
    """Return the number of examples in this run's profile; `nightly` is `full` by default."""
    return {"fast": fast, "full": full, "nightly": nightly or full}[PROFILE]


def machine(*, steps: int, fast: int, full: int, nightly: int | None = None) -> settings:
    """Return the settings of a state machine on a real database.

    Args:
        steps: of one example, at most.
        fast: examples, as in `count`.
        full: the same.
        nightly: the same.
    """
    return settings(
        max_examples=count(fast=fast, full=full, nightly=nightly),
        stateful_step_count=steps,
        deadline=None,
        # Shrinking on a real database takes minutes, and a failure has few steps anyway.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
