"""docs/metrics.md has every metric as the code defines it."""

from deploy import metrics_page


def test_the_page_is_up_to_date() -> None:
    assert metrics_page.PAGE.read_text() == metrics_page.page(), "run: make metrics-page"


def test_the_page_has_the_labels_of_every_labelled_metric() -> None:
    labeled = {metric.name: metric.labels for metric in metrics_page.read_metrics()}
    assert labeled["merganser_resolver_lag_records"] == ("topic", "partition")
    assert labeled["merganser_decoration_calls_total"] == ("source", "outcome")
    assert labeled["merganser_ingest_waiting_bytes"] == ()


def test_an_alert_on_a_recorded_series_counts_for_the_metric_behind_it() -> None:
    alerts = metrics_page.read_alerts()
    burn = alerts["MerganserIngestErrorBudgetBurn"]
    assert "merganser_ingest_request_seconds_count" in burn
