"""All dashboards: one of the whole pipeline, and one for each process."""

from typing import Any

from deploy.grafana import pipeline
from deploy.grafana.ingest_and_resolver import INGEST, RESOLVER
from deploy.grafana.panels import Panel, Query, dashboard
from deploy.grafana.queries import INSTANCE, connections_cut, forgotten, process, quantiles, rate

SCANNER = [
    Panel(
        "Rows resolved",
        "rowsps",
        "Rows that external systems wrote.",
        [Query(rate("merganser_scanner_rows_resolved_total"), "resolved")],
    ),
    Panel(
        "Unresolved rows",
        "short",
        "Rows that have an id but no profile yet.",
        [Query(f"max (merganser_scanner_unresolved_rows{{{INSTANCE}}})", "unresolved")],
    ),
    Panel(
        "Oldest unresolved row",
        "s",
        "Its age at the last scan.",
        [Query(f"max (merganser_scanner_unresolved_oldest_seconds{{{INSTANCE}}})", "oldest")],
    ),
    Panel(
        "Unresolvable rows",
        "short",
        "Rows without an id, or only with ids that count as missing.",
        [Query(f"max (merganser_scanner_unresolvable_rows{{{INSTANCE}}})", "unresolvable")],
    ),
    Panel(
        "Pending merges",
        "short",
        "Merges too large for one transaction, whose events are still to be moved.",
        [Query(f"max (merganser_scanner_moves_pending{{{INSTANCE}}})", "pending")],
    ),
    Panel(
        "Events moved by large merges",
        "eps",
        "They are moved in chunks.",
        [Query(rate("merganser_scanner_events_moved_total"), "moved")],
    ),
    Panel(
        "Events erased",
        "eps",
        "Events of forgotten people, deleted after `merganser forget` had finished.",
        [Query(rate("merganser_scanner_events_erased_total"), "erased")],
    ),
    Panel(
        "Set aside and open",
        "short",
        "Items that no operator has resolved, by kind: see `merganser dead list`.",
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
        "Age of the oldest event change that properties do not reflect yet.",
        [Query(f"max (merganser_properties_staleness_seconds{{{INSTANCE}}})", "oldest change")],
    ),
    Panel(
        "Events counted",
        "eps",
        "Events that updated properties incrementally.",
        [Query(rate("merganser_properties_events_counted_total"), "counted")],
    ),
    Panel(
        "Values written",
        "wps",
        "Property values that were written or deleted.",
        [Query(rate("merganser_properties_values_written_total"), "written")],
    ),
    Panel(
        "Profiles to rebuild",
        "short",
        "After a deletion, a move or a new rule.",
        [Query(f"max (merganser_properties_recounts_pending{{{INSTANCE}}})", "pending")],
    ),
    Panel(
        "Profiles rebuilt",
        "cps",
        "Profiles whose properties were computed from all of their events.",
        [Query(rate("merganser_properties_profiles_recounted_total"), "rebuilt")],
    ),
    Panel(
        "Time of a transaction",
        "s",
        "Including its tries.",
        quantiles("merganser_properties_step_seconds"),
    ),
    Panel(
        "Values skipped",
        "cps",
        "Values that do not fit the rule's type, are too long, or exceed a size limit.",
        [
            Query(
                rate(f"merganser_properties_values_{reason}_total", "rule"), f"{{{{rule}}}} {label}"
            )
            for reason, label in {
                "unfit": "does not fit",
                "too_long": "too long",
                "capped": "capped",
            }.items()
        ],
    ),
    Panel(
        "Profiles set aside",
        "cps",
        "Their properties are not computed until `merganser dead retry`.",
        [Query(rate("merganser_properties_profiles_set_aside_total"), "set aside")],
    ),
    Panel(
        "Broken rules",
        "short",
        "Rules that are not computed; `merganser rules list` says why.",
        [Query(f"max (merganser_properties_broken_rules{{{INSTANCE}}})", "broken")],
    ),
    Panel(
        "Backfill of new rules",
        "short",
        "Profiles that it has finished; -1 if no backfill is running.",
        [Query(f"max (merganser_properties_backfill_profiles{{{INSTANCE}}})", "profiles")],
    ),
    *process("merganser-properties"),
]

DECORATION = [
    Panel(
        "Queries",
        "ops",
        "Queries to a source, by their outcome.",
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
        "The 95th percentile, including connection and failures.",
        [
            Query(
                "histogram_quantile(0.95, "
                f"{rate('merganser_decoration_call_seconds_bucket', 'source, le')})",
                "{{source}}",
            )
        ],
    ),
    Panel(
        "Profiles due",
        "short",
        "Profiles that are due for a query to a source, counted up to 10,000.",
        [
            Query(
                f"max by (source) (merganser_decoration_profiles_pending{{{INSTANCE}}})",
                "{{source}}",
            )
        ],
    ),
    Panel(
        "Circuit breaker open",
        "s",
        "Time until a failing source is tried again; 0 while it works.",
        [Query(f"max by (source) (merganser_decoration_open_seconds{{{INSTANCE}}})", "{{source}}")],
    ),
    Panel(
        "Since the last success",
        "s",
        "It also grows while no query is due.",
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
        "Property values that were written or deleted because of a source's result.",
        [Query(rate("merganser_decoration_values_written_total", "source"), "{{source}}")],
    ),
    Panel(
        "Values not written",
        "wps",
        "Skipped because they do not fit the rule's type or are too long, or set aside because "
        "they cannot be read or stored.",
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
        "From a request's headers to its response.",
        quantiles("merganser_api_request_seconds"),
    ),
    Panel(
        "Wait for a connection",
        "s",
        "MERGANSER_API_CONNECTIONS limits connections to Postgres; after 2 s a request gets 503.",
        quantiles("merganser_api_pool_wait_seconds"),
    ),
    Panel(
        "Truncated responses",
        "ops",
        "Responses that leave something out or end a page early because of a size limit.",
        [Query(rate("merganser_api_answers_cut_total", "route"), "{{route}}")],
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Time since they were read from Postgres; it grows during an outage of Postgres.",
        [Query(f"merganser_api_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    connections_cut("merganser-api"),
    *process("merganser-api"),
]

CONSOLE = [
    Panel(
        "Pages",
        "reqps",
        "By path and status.",
        [
            Query(
                rate("merganser_console_request_seconds_count", "route, status"),
                "{{status}} {{route}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Time of a page",
        "s",
        "From a request's headers to its response.",
        quantiles("merganser_console_request_seconds"),
    ),
    Panel(
        "Logins",
        "ops",
        "Attempts to log in. Many refused ones: somebody guesses, or uses a revoked key.",
        [Query(rate("merganser_console_logins_total", "outcome"), "{{outcome}}")],
    ),
    Panel(
        "Wait for a connection",
        "s",
        "MERGANSER_CONSOLE_CONNECTIONS limits connections to Postgres; after 2 s a request gets "
        "503.",
        quantiles("merganser_console_pool_wait_seconds"),
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Time since they were read from Postgres; it grows during an outage of Postgres.",
        [Query(f"merganser_console_keys_age_seconds{{{INSTANCE}}}", "{{instance}}")],
    ),
    Panel(
        "Viewers of live events",
        "short",
        "Open streams of the page of live events; while there are none, the console does not read "
        "the topics for it.",
        [Query(f"sum (merganser_console_live_viewers{{{INSTANCE}}})", "viewers")],
    ),
    connections_cut("merganser-console"),
    *process("merganser-console"),
]


def all_dashboards() -> dict[str, Any]:
    """Return all dashboards by the names of their files."""
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
                "console": CONSOLE,
            }.items()
        },
    }
