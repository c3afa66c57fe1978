"""The dashboard of the whole pipeline, from accepted to resolved."""

from deploy.grafana.panels import Panel, Query, dashboard
from deploy.grafana.queries import quantiles, rate

LATENCY = "merganser_resolver_accepted_to_resolved_seconds"

NOW = [
    Panel(
        "Accepted",
        "eps",
        "Events accepted with 200: Kafka has acknowledged them.",
        [Query(rate("merganser_ingest_events_accepted_total", where=""), "accepted")],
        stat=True,
    ),
    Panel(
        "Resolved",
        "eps",
        "Events attached to their profile, by resolvers and scanners.",
        [Query(rate("merganser_events_resolved_total", where=""), "resolved")],
        stat=True,
    ),
    Panel(
        "Lag",
        "short",
        "Records that are published but not resolved yet.",
        [Query("sum (merganser_resolver_lag_records)", "records")],
        stat=True,
    ),
    Panel(
        "Accepted to resolved, p99",
        "s",
        "The longest wait in each batch.",
        quantiles(LATENCY, "")[2:],
        stat=True,
    ),
    Panel(
        "Errors of ingest",
        "percentunit",
        "The share of 5xx responses within 5 minutes. The budget is 0.1 % over 30 days.",
        [Query("merganser:ingest_errors:ratio_rate5m", "errors")],
        stat=True,
    ),
    Panel(
        "Alerts",
        "short",
        "Alerts that fire now.",
        [Query('count (ALERTS{alertstate="firing", alertname=~"Merganser.*"}) or vector(0)', "")],
        stat=True,
    ),
]

PIPELINE = dashboard(
    "merganser-pipeline",
    "Merganser",
    [
        *NOW,
        Panel(
            "The flow",
            "eps",
            "A gap between lines shows where events wait: in front of Kafka, in it, or after it.",
            [
                Query(rate("merganser_ingest_events_accepted_total", where=""), "accepted"),
                Query(rate("merganser_ingest_records_published_total", where=""), "published"),
                Query(rate("merganser_resolver_records_consumed_total", where=""), "consumed"),
                Query(rate("merganser_events_resolved_total", where=""), "resolved"),
            ],
        ),
        Panel(
            "Consumer lag",
            "short",
            "Records that are not resolved yet: of all partitions, and of the worst one.",
            [
                Query("sum (merganser_resolver_lag_records)", "all"),
                Query("max (merganser_resolver_lag_records)", "worst partition"),
            ],
        ),
        Panel(
            "Accepted to resolved",
            "s",
            "The longest time in each batch from Kafka's receipt of a record to its commit.",
            quantiles(LATENCY, ""),
        ),
        Panel(
            "Merges",
            "cps",
            "AnonymousIds that got a user, by what happened to their profile.",
            [Query(rate("merganser_profile_merges_total", "reason", ""), "{{reason}}")],
        ),
        Panel(
            "Unresolved rows",
            "short",
            "Rows that external systems wrote, and merges with events that are still to be moved.",
            [
                Query("max (merganser_scanner_unresolved_rows)", "unresolved rows"),
                Query("max (merganser_scanner_unresolvable_rows)", "unresolvable rows"),
                Query("max (merganser_scanner_moves_pending)", "pending merges"),
            ],
        ),
        Panel(
            "Delay",
            "s",
            "The age of the oldest unresolved row, and of the oldest change missing in properties.",
            [
                Query("max (merganser_scanner_unresolved_oldest_seconds)", "oldest row"),
                Query("max (merganser_properties_staleness_seconds)", "properties"),
            ],
        ),
        Panel(
            "Responses of ingest",
            "reqps",
            "By status.",
            [Query(rate("merganser_ingest_request_seconds_count", "status", ""), "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Rejected events and dead letters",
            "eps",
            "Events that ingest rejected, and records sent to the dead-letter topic.",
            [
                Query(
                    f"{rate('merganser_ingest_events_rejected_total', where='')} or vector(0)",
                    "rejected",
                ),
                Query(
                    f"{rate('merganser_resolver_dead_letters_total', where='')} or vector(0)",
                    "dead letters",
                ),
            ],
        ),
        Panel(
            "Set aside and open",
            "short",
            "Records, rows, moves, erasures, profiles and values that wait for an operator.",
            [Query("max by (kind) (merganser_set_aside_open)", "{{kind}}")],
            stacked=True,
        ),
        Panel(
            "Processes",
            "short",
            "Processes that answer scrapes, by kind.",
            [Query('sum by (job) (up{job=~"merganser-.+"})', "{{job}}")],
        ),
    ],
)
