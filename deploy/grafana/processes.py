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
    Panel(
        "Events erased",
        "eps",
        "Of people who were forgotten, after the command had ended.",
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
        "Nothing is computed for them until `merganser dead retry`.",
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
        "Profiles that it has done; -1 when none is under way.",
        [Query(f"max (merganser_properties_backfill_profiles{{{INSTANCE}}})", "profiles")],
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
    Panel(
        "Values not written",
        "wps",
        "Skipped as they do not fit the type of their rule or are too long, or set aside as they "
        "cannot be read or stored.",
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
        "MERGANSER_API_CONNECTIONS to Postgres serve all requests; past 2 s one is refused.",
        quantiles("merganser_api_pool_wait_seconds"),
    ),
    Panel(
        "Answers that are cut",
        "ops",
        "They leave something out, or end early, as they would have too many bytes.",
        [Query(rate("merganser_api_answers_cut_total", "route"), "{{route}}")],
    ),
    Panel(
        "Age of the API keys",
        "s",
        "Since they were read from Postgres: it grows while Postgres is away.",
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
