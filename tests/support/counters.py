"""Read the Prometheus counters of this process."""

from prometheus_client import Counter


def read_counter(counter: Counter, *labels: str) -> float:
    """Return the value of a counter; `labels` are the values of its labels."""
    labeled = counter.labels(*labels) if labels else counter
    (value,) = (
        sample.value
        for metric in labeled.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
    return value
