"""The dashboards of ingest and resolver, which every event goes through."""

from deploy.grafana.panels import Panel, Query
from deploy.grafana.queries import INSTANCE, connections_cut, forgotten, process, quantiles, rate

INGEST = [
    Panel(
        "Requests",
        "reqps",
        "By the status of the answer. 5xx is an error of the server, 4xx one of the client.",
        [Query(rate("merganser_ingest_request_seconds_count", "status"), "{{status}}")],
        stacked=True,
    ),
    Panel(
        "Time of a request",
        "s",
        "From its headers to its answer, with the time that a slow client takes to send its body.",
        quantiles("merganser_ingest_request_seconds"),
    ),
    Panel(
        "Events",
        "eps",
        "Accepted: Kafka has acknowledged them. Refused: by the code that the client was given.",
        [
            Query(rate("merganser_ingest_events_accepted_total"), "accepted"),
            Query(rate("merganser_ingest_events_rejected_total", "reason"), "refused: {{reason}}"),
            Query(rate("merganser_ingest_sent_at_ignored_total"), "clock too wrong to correct"),
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
        "Above MERGANSER_INGEST_MAX_WAITING requests get 503.",
        [Query(f"merganser_ingest_waiting_bytes{{{INSTANCE}}}", "{{instance}}")],
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Time since they were read from Postgres; it grows while Postgres is away.",
        [Query(f"merganser_ingest_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    connections_cut("merganser-ingest"),
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
        "The longest wait in each batch, from Kafka having a record to its commit.",
        quantiles("merganser_resolver_accepted_to_resolved_seconds"),
    ),
    Panel(
        "Time of a transaction",
        "s",
        "One batch, with its retries.",
        quantiles(
            "merganser_batch_seconds",
            f'job="merganser-resolver", {INSTANCE}',
        ),
    ),
    Panel(
        "Events of a batch",
        "short",
        "Batches near MERGANSER_RESOLVER_BATCH mean that the resolver is behind.",
        quantiles("merganser_batch_events", f'job="merganser-resolver", {INSTANCE}'),
    ),
    Panel(
        "Profiles created",
        "cps",
        "Known and anonymous profiles.",
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
        "Dead letters; repeats, which are harmless; events that were deleted and sent again; "
        "batches dropped because another resolver has the partition; records that retention "
        "deleted, which are lost.",
        [
            Query(f"{rate('merganser_resolver_dead_letters_total')} or vector(0)", "dead letters"),
            Query(rate("merganser_resolver_events_repeated_total"), "repeated"),
            Query(rate("merganser_resolver_events_already_deleted_total"), "already deleted"),
            Query(rate("merganser_resolver_batches_fenced_total"), "fenced (batches)"),
            Query(rate("merganser_resolver_records_lost_total"), "lost"),
        ],
    ),
    Panel(
        "Partitions",
        "short",
        "How many each instance has.",
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
        "Events that would have merged two known users.",
        [
            Query(
                rate("merganser_links_refused_total", "", f'job="merganser-resolver", {INSTANCE}'),
                "refused",
            )
        ],
    ),
    Panel(
        "Without progress",
        "s",
        "Longest time that a partition's records have waited without progress.",
        [Query(f"merganser_resolver_silent_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    forgotten("merganser-resolver"),
    *process("merganser-resolver"),
]
