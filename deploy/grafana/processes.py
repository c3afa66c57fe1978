"""Every dashboard: the pipeline at a glance, and one for each process."""

from typing import Any

from deploy.grafana import pipeline
from deploy.grafana.hot_path import INGEST, RESOLVER
from deploy.grafana.panels import Panel, Query, dashboard
from deploy.grafana.queries import INSTANCE, connections_cut, forgotten, process, quantiles, rate

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
        "Rows without an id",
        "short",
        "Not resolved: no id, or only placeholder ids.",
        [Query(f"max (merganser_scanner_unresolvable_rows{{{INSTANCE}}})", "unresolvable")],
    ),
    Panel(
        "Merges whose events follow",
        "short",
        "Merges too large for one transaction, whose events still move.",
        [Query(f"max (merganser_scanner_moves_pending{{{INSTANCE}}})", "pending")],
    ),
    Panel(
        "Events moved after merges",
        "eps",
        "Events of large merges, moved in chunks.",
        [Query(rate("merganser_scanner_events_moved_total"), "moved")],
    ),
    Panel(
        "Events erased",
        "eps",
        "Events of erased people, deleted by the scanner.",
        [Query(rate("merganser_scanner_events_erased_total"), "erased")],
    ),
    Panel(
        "Set aside and open",
        "short",
        "Items that no operator has dealt with, by kind: `merganser dead list`.",
        [Query(f"max by (kind) (merganser_set_aside_open{{{INSTANCE}}})", "{{kind}}")],
        stacked=True,
    ),
    forgotten("merganser-scanner"),
    *process("merganser-scanner"),
]

PROPERTIES = [
    Panel(
        "Staleness",
        "s",
        "Age of the oldest change of events that properties do not include yet.",
        [Query(f"max (merganser_properties_staleness_seconds{{{INSTANCE}}})", "oldest change")],
    ),
    Panel(
        "Events counted",
        "eps",
        "Events added to properties, without reading older ones again.",
        [Query(rate("merganser_properties_events_counted_total"), "counted")],
    ),
    Panel(
        "Values written",
        "wps",
        "Property values written or removed.",
        [Query(rate("merganser_properties_values_written_total"), "written")],
    ),
    Panel(
        "Profiles to recount",
        "short",
        "Profiles that wait after a deletion, a move or a new rule.",
        [Query(f"max (merganser_properties_recounts_pending{{{INSTANCE}}})", "pending")],
    ),
    Panel(
        "Profiles recounted",
        "cps",
        "Profiles whose events were all read again.",
        [Query(rate("merganser_properties_profiles_recounted_total"), "recounted")],
    ),
    Panel(
        "Time of a transaction",
        "s",
        "One transaction, with its retries.",
        quantiles("merganser_properties_step_seconds"),
    ),
    Panel(
        "Values that a rule skips",
        "cps",
        "They do not fit its type, are too long, or a cap leaves them out.",
        [
            Query(rate(f"merganser_properties_values_{why}_total", "rule"), f"{{{{rule}}}} {said}")
            for why, said in {
                "unfit": "does not fit",
                "too_long": "too long",
                "capped": "capped",
            }.items()
        ],
    ),
    Panel(
        "Profiles set aside",
        "cps",
        "They keep their properties until `merganser dead retry`.",
        [Query(rate("merganser_properties_profiles_set_aside_total"), "set aside")],
    ),
    Panel(
        "Broken rules",
        "short",
        "They are not computed; `merganser rules list` says why.",
        [Query(f"max (merganser_properties_broken_rules{{{INSTANCE}}})", "broken")],
    ),
    Panel(
        "Backfill of new rules",
        "short",
        "Profiles done; -1 without a backfill.",
        [Query(f"max (merganser_properties_backfill_profiles{{{INSTANCE}}})", "profiles")],
    ),
    *process("merganser-properties"),
]

DECORATION = [
    Panel(
        "Queries",
        "ops",
        "Queries to a source, by outcome.",
        [
            Query(
                rate("merganser_decoration_calls_total", "source, outcome"),
                "{{source}} {{outcome}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Time of a query",
        "s",
        "95th percentile, with the time to connect, answered or not.",
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
        "Profiles that are due at a source, counted up to 10,000.",
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
        "Time until a failing source is tried again; 0 while the source answers.",
        [Query(f"max by (source) (merganser_decoration_open_seconds{{{INSTANCE}}})", "{{source}}")],
    ),
    Panel(
        "Since the last answer",
        "s",
        "Time since a source last answered; it also grows while no profile is due.",
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
        "Property values written or removed after an answer of a source.",
        [Query(rate("merganser_decoration_values_written_total", "source"), "{{source}}")],
    ),
    Panel(
        "Values not written",
        "wps",
        "Skipped because they do not fit the type of their rule or are too long, or set aside "
        "because they cannot be read or stored.",
        [
            Query(rate("merganser_decoration_values_unfit_total", "rule"), "{{rule}} unfit"),
            Query(rate("merganser_decoration_values_too_long_total", "rule"), "{{rule}} too long"),
            Query(
                rate("merganser_decoration_values_set_aside_total", "source"),
                "{{source}} set aside",
            ),
        ],
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
        "A request waits for one of MERGANSER_API_CONNECTIONS; after 2 s it gets 503.",
        quantiles("merganser_api_pool_wait_seconds"),
    ),
    Panel(
        "Answers that are cut",
        "ops",
        "They leave something out, or end early, because of their size.",
        [Query(rate("merganser_api_answers_cut_total", "route"), "{{route}}")],
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Time since they were read from Postgres; it grows while Postgres is away.",
        [Query(f"merganser_api_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    connections_cut("merganser-api"),
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
