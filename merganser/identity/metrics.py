"""What a plan did, in metrics: the same for the resolver and the scanner."""

from collections import Counter

from merganser.identity.plan import Plan
from merganser.runtime import metrics


def count(plan: Plan, events: int, seconds: float) -> None:
    """Count a committed plan, the events it resolved and the time its transaction took."""
    metrics.RESOLVED.inc(events)
    metrics.BATCH_SIZE.observe(events)
    metrics.BATCH_SECONDS.observe(seconds)
    known = sum(1 for profile in plan.profiles if profile.user_id is not None)
    metrics.PROFILES_CREATED.labels("known").inc(known)
    metrics.PROFILES_CREATED.labels("anonymous").inc(len(plan.profiles) - known)
    for reason, merges in Counter(merge.reason for merge in plan.merges).items():
        metrics.MERGES.labels(reason).inc(merges)
    metrics.LINKS_REFUSED.inc(plan.refused)
    metrics.UNLINKED.inc(len(plan.unlinked))
