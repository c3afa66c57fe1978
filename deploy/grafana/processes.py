"""Every dashboard: the pipeline at a glance, and one for each process."""

from typing import Any

from deploy.grafana import pipeline
from deploy.grafana.panels import Panel, Query, dashboard
from deploy.grafana.queries import INSTANCE, process, quantiles, rate

INGEST = [
    Panel(
        "Requests",
        "reqps",
        "By the status of the answer. 5xx is ours to mend, 4xx the client's.",
        [Query(rate("merganser_ingest_request_seconds_count", "status"), "{{status}}")],
        stacked=True,
    ),
    Panel(
        "Time of a request",
        "s",
        "From its headers to its answer. A slow client's body counts.",
        quantiles("merganser_ingest_request_seconds"),
    ),
    Panel(
        "Events",
        "eps",
        "Accepted: Kafka has acknowledged them. Refused: by the code that the client was given.",
        [
            Query(rate("merganser_ingest_events_accepted_total"), "accepted"),
            Query(rate("merganser_ingest_events_rejected_total", "reason"), "refused: {{reason}}"),
        ],
    ),
    Panel(
        "Time to publish",
        "s",
        "A group of records from sent to acknowledged by all in-sync replicas.",
        quantiles("merganser_ingest_publish_seconds"),
    ),
    Panel(
        "Bytes that wait for Kafka",
        "bytes",
        "Past MERGANSER_INGEST_MAX_WAITING requests are answered with 503.",
        [Query(f"merganser_ingest_waiting_bytes{{{INSTANCE}}}", "{{instance}}")],
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Since they were read from Postgres: it grows while Postgres is away.",
        [Query(f"merganser_ingest_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    *process("merganser-ingest"),
]

RESOLVER = [
    Panel(
        "Records consumed",
        "recps",
        "Read and committed, by instance.",
        [Query(rate("merganser_resolver_records_consumed_total", "instance"), "{{instance}}")],
        stacked=True,
    ),
    Panel(
        "Lag by partition",
        "short",
        "Records published and not yet resolved. One high line: a hot key.",
        [
            Query(
                f"max by (partition) (merganser_resolver_lag_records{{{INSTANCE}}})",
                "partition {{partition}}",
            )
        ],
    ),
    Panel(
        "Accepted to resolved",
        "s",
        "The oldest event of each batch, from ingest's answer to its commit.",
        quantiles("merganser_resolver_accepted_to_resolved_seconds"),
    ),
    Panel(
        "Time of a transaction",
        "s",
        "One batch, tries included.",
        quantiles(
            "merganser_batch_seconds",
            f'job="merganser-resolver", {INSTANCE}',
        ),
    ),
    Panel(
        "Events of a batch",
        "short",
        "Batches near MERGANSER_RESOLVER_BATCH: it is catching up.",
        quantiles("merganser_batch_events", f'job="merganser-resolver", {INSTANCE}'),
    ),
    Panel(
        "Profiles made",
        "cps",
        "New profiles: of known users, and of visitors.",
        [
            Query(
                rate(
                    "merganser_profiles_created_total",
                    "kind",
                    f'job="merganser-resolver", {INSTANCE}',
                ),
                "{{kind}}",
            )
        ],
    ),
    Panel(
        "Set aside",
        "recps",
        "Dead letters; repeats, which are harmless; batches fenced off by another resolver; "
        "records that retention deleted, which are lost.",
        [
            Query(f"{rate('merganser_resolver_dead_letters_total')} or vector(0)", "dead letters"),
            Query(rate("merganser_resolver_events_repeated_total"), "repeated"),
            Query(rate("merganser_resolver_batches_fenced_total"), "fenced (batches)"),
            Query(rate("merganser_resolver_records_lost_total"), "lost"),
        ],
    ),
    Panel(
        "Partitions",
        "short",
        "How many each instance holds.",
        [
            Query(
                f"count by (instance) (merganser_resolver_lag_records{{{INSTANCE}}})",
                "{{instance}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Links refused",
        "eps",
        "Events that would have brought two known users together.",
        [
            Query(
                rate("merganser_links_refused_total", "", f'job="merganser-resolver", {INSTANCE}'),
                "refused",
            )
        ],
    ),
    *process("merganser-resolver"),
]

SCANNER = [
    Panel(
        "Rows resolved",
        "rowsps",
        "Rows that other systems wrote.",
        [Query(rate("merganser_scanner_rows_resolved_total"), "resolved")],
    ),
    Panel(
        "Rows that wait",
        "short",
        "With an id, and still without a profile.",
        [Query(f"max (merganser_scanner_unresolved_rows{{{INSTANCE}}})", "unresolved")],
    ),
    Panel(
        "Oldest row that waits",
        "s",
        "Its age at the last look.",
        [Query(f"max (merganser_scanner_unresolved_oldest_seconds{{{INSTANCE}}})", "oldest")],
    ),
    Panel(
        "Rows of nobody",
        "short",
        "Left alone: no id, or one that means nobody.",
        [Query(f"max (merganser_scanner_unresolvable_rows{{{INSTANCE}}})", "unresolvable")],
    ),
    Panel(
        "Merges whose events follow",
        "short",
        "Too big for one transaction.",
        [Query(f"max (merganser_scanner_moves_pending{{{INSTANCE}}})", "pending")],
    ),
    Panel(
        "Events that follow merges",
        "eps",
        "In chunks.",
        [Query(rate("merganser_scanner_events_moved_total"), "moved")],
    ),
    *process("merganser-scanner"),
]

PROPERTIES = [
    Panel(
        "Staleness",
        "s",
        "Age of the oldest change of events that properties do not show yet.",
        [Query(f"max (merganser_properties_staleness_seconds{{{INSTANCE}}})", "oldest change")],
    ),
    Panel(
        "Events counted",
        "eps",
        "Without rereading older ones.",
        [Query(rate("merganser_properties_events_counted_total"), "counted")],
    ),
    Panel(
        "Values written",
        "wps",
        "Values of properties that were written or dropped.",
        [Query(rate("merganser_properties_values_written_total"), "written")],
    ),
    Panel(
        "Profiles to count anew",
        "short",
        "After a deletion, a move or a new rule.",
        [Query(f"max (merganser_properties_recounts_pending{{{INSTANCE}}})", "pending")],
    ),
    Panel(
        "Profiles counted anew",
        "cps",
        "All of their events were read again.",
        [Query(rate("merganser_properties_profiles_recounted_total"), "recounted")],
    ),
    Panel(
        "Time of a transaction",
        "s",
        "Tries included.",
        quantiles("merganser_properties_step_seconds"),
    ),
    *process("merganser-properties"),
]

DECORATION = [
    Panel(
        "Calls",
        "ops",
        "Queries to a source, by what came of them.",
        [
            Query(
                rate("merganser_decoration_calls_total", "source, outcome"),
                "{{source}} {{outcome}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Time of a call",
        "s",
        "With connecting, answered or not: the 95th percentile.",
        [
            Query(
                "histogram_quantile(0.95, "
                f"{rate('merganser_decoration_call_seconds_bucket', 'source, le')})",
                "{{source}}",
            )
        ],
    ),
    Panel(
        "Profiles that wait",
        "short",
        "That a source is to be asked for now, counted up to 10,000.",
        [
            Query(
                f"max by (source) (merganser_decoration_profiles_pending{{{INSTANCE}}})",
                "{{source}}",
            )
        ],
    ),
    Panel(
        "Breaker open",
        "s",
        "Until a failing source is tried again; 0 while all is well.",
        [Query(f"max by (source) (merganser_decoration_open_seconds{{{INSTANCE}}})", "{{source}}")],
    ),
    Panel(
        "Since the last answer",
        "s",
        "It grows too while there is nothing to ask.",
        [
            Query(
                f"min by (source) (merganser_decoration_since_success_seconds{{{INSTANCE}}})",
                "{{source}}",
            )
        ],
    ),
    Panel(
        "Values written",
        "wps",
        "Values of properties that were written or dropped because a source said so.",
        [Query(rate("merganser_decoration_values_written_total", "source"), "{{source}}")],
    ),
    *process("merganser-decoration"),
]

API = [
    Panel(
        "Requests",
        "reqps",
        "By route and status.",
        [
            Query(
                rate("merganser_api_request_seconds_count", "route, status"), "{{status}} {{route}}"
            )
        ],
        stacked=True,
    ),
    Panel(
        "Time of a request",
        "s",
        "From its headers to its answer.",
        quantiles("merganser_api_request_seconds"),
    ),
    Panel(
        "Wait for a connection",
        "s",
        "MERGANSER_API_CONNECTIONS to Postgres serve all requests; past 2 s one is refused.",
        quantiles("merganser_api_pool_wait_seconds"),
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Since they were read from Postgres: it grows while Postgres is away.",
        [Query(f"merganser_api_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    *process("merganser-api"),
]


def every() -> dict[str, Any]:
    """All dashboards, by the names of their files."""
    return {
        "pipeline": pipeline.PIPELINE,
        **{
            name: dashboard(f"merganser-{name}", f"Merganser {name}", panels, f"merganser-{name}")
            for name, panels in {
                "ingest": INGEST,
                "resolver": RESOLVER,
                "scanner": SCANNER,
                "properties": PROPERTIES,
                "decoration": DECORATION,
                "api": API,
            }.items()
        },
    }
