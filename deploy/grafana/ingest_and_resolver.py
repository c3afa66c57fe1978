"""The dashboards of ingest and resolver, which process every event."""

from deploy.grafana.panels import Panel, Query
from deploy.grafana.queries import INSTANCE, connections_cut, forgotten, process, quantiles, rate

INGEST = [
    Panel(
        "Requests",
        "reqps",
        "By the status of the response. 5xx are errors of Merganser, 4xx of the client.",
        [Query(rate("merganser_ingest_request_seconds_count", "status"), "{{status}}")],
        stacked=True,
    ),
    Panel(
        "Time of a request",
        "s",
        "From a request's headers to its response, including the wait for a slow client's body.",
        quantiles("merganser_ingest_request_seconds"),
    ),
    Panel(
        "Events",
        "eps",
        "Accepted: Kafka has acknowledged them; by the kind of their API key. Rejected: by the "
        "error code in the response.",
        [
            Query(
                rate("merganser_ingest_events_accepted_total", "key_kind"),
                "accepted: {{key_kind}} key",
            ),
            Query(rate("merganser_ingest_events_rejected_total", "reason"), "rejected: {{reason}}"),
            Query(rate("merganser_ingest_sent_at_ignored_total"), "sentAt ignored"),
        ],
    ),
    Panel(
        "Time to publish",
        "s",
        "From sending a group of records to the acknowledgment of all in-sync replicas.",
        quantiles("merganser_ingest_publish_seconds"),
    ),
    Panel(
        "Bytes waiting for Kafka",
        "bytes",
        "Beyond MERGANSER_INGEST_MAX_WAITING, ingest answers 503.",
        [Query(f"merganser_ingest_waiting_bytes{{{INSTANCE}}}", "{{instance}}")],
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Time since they were read from Postgres; it grows during an outage of Postgres.",
        [Query(f"merganser_ingest_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    Panel(
        "Records of refused events",
        "recps",
        "For the console's live page. Limited by MERGANSER_INGEST_REFUSED_RATE; dropped because "
        "too many wait for Kafka; failed because Kafka did not take them.",
        [Query(rate("merganser_ingest_refused_records_total", "outcome"), "{{outcome}}")],
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
        "Records that are published but not resolved yet. A single high line means a hot key.",
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
        "The longest time in each batch from Kafka's receipt of a record to its commit.",
        quantiles("merganser_resolver_accepted_to_resolved_seconds"),
    ),
    Panel(
        "Time of a transaction",
        "s",
        "Time of one batch, including its tries.",
        quantiles(
            "merganser_batch_seconds",
            f'job="merganser-resolver", {INSTANCE}',
        ),
    ),
    Panel(
        "Events of a batch",
        "short",
        "Batches near MERGANSER_RESOLVER_BATCH mean that it is catching up.",
        quantiles("merganser_batch_events", f'job="merganser-resolver", {INSTANCE}'),
    ),
    Panel(
        "Profiles created",
        "cps",
        "New profiles of known users and of anonymous visitors.",
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
        "Dead letters; repeated events, which are harmless; deleted events that were delivered "
        "again; batches fenced by another resolver; records that retention deleted: lost.",
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
        "The number of partitions of each instance.",
        [
            Query(
                f"count by (instance) (merganser_resolver_lag_records{{{INSTANCE}}})",
                "{{instance}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Links ignored",
        "eps",
        "Links that would have merged two known users.",
        [
            Query(
                rate("merganser_links_refused_total", "", f'job="merganser-resolver", {INSTANCE}'),
                "ignored",
            )
        ],
    ),
    Panel(
        "Without progress",
        "s",
        "The longest time of any partition with waiting records, unless an outage explains it.",
        [Query(f"merganser_resolver_silent_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    forgotten("merganser-resolver"),
    *process("merganser-resolver"),
]
