"""Counts plans in metrics, in the same way for the resolver and the scanner."""

from collections import Counter

from merganser.identity.plan import Plan
from merganser.runtime import metrics


def count_plan(plan: Plan, resolved: int, seconds: float) -> None:
    """Count a committed plan.

    Args:
        plan: what was written.
        resolved: number of events that got their profile.
        seconds: duration of the transaction, retries included.
    """
    metrics.RESOLVED.inc(resolved)
    metrics.BATCH_SIZE.observe(resolved)
    metrics.BATCH_SECONDS.observe(seconds)
    with_user = sum(1 for profile in plan.new_profiles if profile.user_id is not None)
    metrics.PROFILES_CREATED.labels("known").inc(with_user)
    metrics.PROFILES_CREATED.labels("anonymous").inc(len(plan.new_profiles) - with_user)
    for reason, merges in Counter(merge.reason for merge in plan.merges).items():
        metrics.MERGES.labels(reason).inc(merges)
    metrics.LINKS_REFUSED.inc(plan.refused_links)
    metrics.DETACHED.inc(len(plan.detached_events))
