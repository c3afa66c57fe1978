"""Every metric of every process, with its meaning.

Each process exports the registry with its name, so that it has no series of other processes.
"""

from importlib.metadata import version

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types

_REGISTRIES = [CollectorRegistry() for _ in range(7)]
INGEST, RESOLVER, SCANNER, PROPERTIES, DECORATION, API, CONSOLE = _REGISTRIES
for _registry in _REGISTRIES:
    ProcessCollector(registry=_registry)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000)

# ingest
ACCEPTED = Counter(
    "merganser_ingest_events_accepted",
    "Events accepted with 200: Kafka has acknowledged them. By the kind of their API key: secret "
    "or publishable.",
    ["key_kind"],
    registry=INGEST,
)
REJECTED = Counter(
    "merganser_ingest_events_rejected",
    "Events rejected, by the error code in the response and the kind of the API key, which is "
    "empty if the request has no valid key. A rejected request counts as one event.",
    ["reason", "key_kind"],
    registry=INGEST,
)
SENT_AT_IGNORED = Counter(
    "merganser_ingest_sent_at_ignored",
    "Events accepted whose sentAt was ignored: it is more than 30 days off.",
    registry=INGEST,
)
PUBLISHED = Counter(
    "merganser_ingest_records_published",
    "Records that Kafka has acknowledged with acks=all.",
    registry=INGEST,
)
REFUSED_RECORDS = Counter(
    "merganser_ingest_refused_records",
    "Refused events and requests that the topic of refused events is for, by what became of their "
    "records: published, limited by the rate, dropped because too many wait, or failed.",
    ["outcome"],
    registry=INGEST,
)
for _outcome in ("published", "limited", "dropped", "failed"):
    REFUSED_RECORDS.labels(_outcome)
WAITING_BYTES = Gauge(
    "merganser_ingest_waiting_bytes",
    "Bytes of events that wait for Kafka's acknowledgment.",
    registry=INGEST,
)
PUBLISH_SECONDS = Histogram(
    "merganser_ingest_publish_seconds",
    "Time from sending a group of records to Kafka's acknowledgment.",
    buckets=SECONDS,
    registry=INGEST,
)
REQUEST_SECONDS = Histogram(
    "merganser_ingest_request_seconds",
    "Time from a request's headers to its response, by status.",
    ["status"],
    buckets=SECONDS,
    registry=INGEST,
)
KEYS_AGE = Gauge(
    "merganser_ingest_keys_age_seconds",
    "Time since the API keys were last read from Postgres.",
    registry=INGEST,
)

# resolver
CONSUMED = Counter(
    "merganser_resolver_records_consumed", "Records read and committed.", registry=RESOLVER
)
LAG = Gauge(
    "merganser_resolver_lag_records",
    "Records of a partition that are published but not resolved yet.",
    ["topic", "partition"],
    registry=RESOLVER,
)
SILENT = Gauge(
    "merganser_resolver_silent_seconds",
    "Longest time without progress of any partition in which records wait, or may wait. About "
    "a second if all is well, during an outage of Postgres or Kafka, and while the resolver is "
    "halted.",
    registry=RESOLVER,
)
DEAD_LETTERS = Counter(
    "merganser_resolver_dead_letters",
    "Records sent to the dead-letter topic.",
    ["reason"],
    registry=RESOLVER,
)
HALTED = Gauge(
    "merganser_resolver_halted",
    "1 after too many dead letters have stopped the resolver, until it is restarted.",
    registry=RESOLVER,
)
REPEATED = Counter(
    "merganser_resolver_events_repeated",
    "Events that the table had already: they were delivered twice.",
    registry=RESOLVER,
)
ALREADY_DELETED = Counter(
    "merganser_resolver_events_already_deleted",
    "Events that were not stored because they had been deleted before: they were delivered again.",
    registry=RESOLVER,
)
LOST = Counter(
    "merganser_resolver_records_lost",
    "Records that Kafka's retention deleted before they were resolved.",
    registry=RESOLVER,
)
FENCED = Counter(
    "merganser_resolver_batches_fenced",
    "Batches dropped because another resolver had moved the offset of a partition.",
    registry=RESOLVER,
)
TO_RESOLVED_SECONDS = Histogram(
    "merganser_resolver_accepted_to_resolved_seconds",
    "Time from Kafka's receipt of a record to its commit; one observation per batch: the longest. "
    "Records that wait from before the resolver started do not count.",
    buckets=SECONDS,
    registry=RESOLVER,
)

# scanner
SCANNED = Counter(
    "merganser_scanner_rows_resolved",
    "Resolved rows that external systems wrote.",
    registry=SCANNER,
)
UNRESOLVED = Gauge(
    "merganser_scanner_unresolved_rows",
    "Rows without a profileGuid that have an id, at the last count.",
    registry=SCANNER,
)
UNRESOLVED_AGE = Gauge(
    "merganser_scanner_unresolved_oldest_seconds",
    "Age of the oldest unresolved row with an id.",
    registry=SCANNER,
)
UNRESOLVABLE = Gauge(
    "merganser_scanner_unresolvable_rows",
    "Rows that cannot be resolved: they have no id, or only ids that count as missing.",
    registry=SCANNER,
)
MOVES_PENDING = Gauge(
    "merganser_scanner_moves_pending",
    "Merges with events that are still to be moved.",
    registry=SCANNER,
)

SET_ASIDE_OPEN = Gauge(
    "merganser_set_aside_open",
    "Items set aside that no operator has resolved, by kind.",
    ["kind"],
    registry=SCANNER,
)
EVENTS_ERASED = Counter(
    "merganser_scanner_events_erased",
    "Events of forgotten people that were deleted after `merganser forget` had finished.",
    registry=SCANNER,
)
EVENTS_MOVED = Counter(
    "merganser_scanner_events_moved",
    "Events of large merges that were moved in chunks.",
    registry=SCANNER,
)

# properties
EVENT_CHANGES_AGE = Gauge(
    "merganser_properties_staleness_seconds",
    "Age of the oldest event change that properties do not reflect yet; 0 if there is none.",
    registry=PROPERTIES,
)
EVENTS_COUNTED = Counter(
    "merganser_properties_events_counted",
    "Events that updated properties incrementally, without a rebuild.",
    registry=PROPERTIES,
)
PROFILES_RECOUNTED = Counter(
    "merganser_properties_profiles_recounted",
    "Profiles whose properties were rebuilt from all events: after a deletion, a move or a new "
    "rule.",
    registry=PROPERTIES,
)
RECOUNTS_PENDING = Gauge(
    "merganser_properties_recounts_pending",
    "Profiles whose rebuild is waiting or running.",
    registry=PROPERTIES,
)
PROPERTIES_WRITTEN = Counter(
    "merganser_properties_values_written",
    "Property values that were written or deleted.",
    registry=PROPERTIES,
)
VALUES_UNFIT = Counter(
    "merganser_properties_values_unfit",
    "Values skipped because they do not fit the rule's type. A rebuild counts them again.",
    ["rule"],
    registry=PROPERTIES,
)
VALUES_TOO_LONG = Counter(
    "merganser_properties_values_too_long",
    "Values skipped because they exceed the rule's limit. A rebuild counts them again.",
    ["rule"],
    registry=PROPERTIES,
)
VALUES_CAPPED = Counter(
    "merganser_properties_values_capped",
    "Values left out because a property, or its rule's state, has reached its size limit.",
    ["rule"],
    registry=PROPERTIES,
)
PROFILES_SET_ASIDE = Counter(
    "merganser_properties_profiles_set_aside",
    "Profiles set aside because their rebuild has failed.",
    registry=PROPERTIES,
)
BROKEN_RULES = Gauge(
    "merganser_properties_broken_rules",
    "Rules that are not computed: the definition is invalid, or it fails for every profile.",
    registry=PROPERTIES,
)
BACKFILL = Gauge(
    "merganser_properties_backfill_profiles",
    "Profiles that the backfill of new rules has finished; -1 if no backfill is running.",
    registry=PROPERTIES,
)
PROPERTIES_SECONDS = Histogram(
    "merganser_properties_step_seconds",
    "Time of one transaction, including its tries.",
    buckets=SECONDS,
    registry=PROPERTIES,
)

# decoration
SOURCE_CALLS = Counter(
    "merganser_decoration_calls",
    "Queries to a source: answered, refused because of one of the ids, unreadable or too_large "
    "because of the values of one of the ids, or failed.",
    ["source", "outcome"],
    registry=DECORATION,
)
SOURCE_CALL_SECONDS = Histogram(
    "merganser_decoration_call_seconds",
    "Time of one query to a source, including the connection, successful or not.",
    ["source"],
    buckets=SECONDS,
    registry=DECORATION,
)
SOURCE_VALUES_WRITTEN = Counter(
    "merganser_decoration_values_written",
    "Property values that were written or deleted because of a source's result.",
    ["source"],
    registry=DECORATION,
)
SOURCE_VALUES_UNFIT = Counter(
    "merganser_decoration_values_unfit",
    "Source values skipped because they do not fit the rule's type.",
    ["rule"],
    registry=DECORATION,
)
SOURCE_VALUES_TOO_LONG = Counter(
    "merganser_decoration_values_too_long",
    "Source values skipped because they, or their array, exceed a limit.",
    ["rule"],
    registry=DECORATION,
)
SOURCE_VALUES_SET_ASIDE = Counter(
    "merganser_decoration_values_set_aside",
    "Source values that could not be read or stored; each failed try counts.",
    ["source"],
    registry=DECORATION,
)
SOURCE_PENDING = Gauge(
    "merganser_decoration_profiles_pending",
    "Profiles that are due for a query to a source, counted up to 10,000.",
    ["source"],
    registry=DECORATION,
)
SOURCE_OPEN = Gauge(
    "merganser_decoration_open_seconds",
    "Time until a failing source is tried again; 0 while its circuit breaker is closed.",
    ["source"],
    registry=DECORATION,
)
SOURCE_AGE = Gauge(
    "merganser_decoration_since_success_seconds",
    "Time since a source's last successful query; it also grows while no query is due.",
    ["source"],
    registry=DECORATION,
)

# api
API_REQUEST_SECONDS = Histogram(
    "merganser_api_request_seconds",
    "Time from a request's headers to its response, by the route's path and the status.",
    ["route", "status"],
    buckets=SECONDS,
    registry=API,
)
API_ANSWERS_CUT = Counter(
    "merganser_api_answers_cut",
    "Responses that left something out or ended a page early because of a size limit, by the "
    "route's path.",
    ["route"],
    registry=API,
)
API_KEYS_AGE = Gauge(
    "merganser_api_keys_age_seconds",
    "Time since the API keys were last read from Postgres.",
    registry=API,
)

POOL_WAIT_SECONDS = Histogram(
    "merganser_api_pool_wait_seconds",
    "Time that a request waited for a connection to Postgres, successfully or not.",
    buckets=SECONDS,
    registry=API,
)

# console
CONSOLE_REQUEST_SECONDS = Histogram(
    "merganser_console_request_seconds",
    "Time from a request's headers to the last byte of its page, by the page's path and status.",
    ["route", "status"],
    buckets=SECONDS,
    registry=CONSOLE,
)
CONSOLE_LOGINS = Counter(
    "merganser_console_logins",
    "Attempts to log in, by outcome: accepted, refused or rate_limited.",
    ["outcome"],
    registry=CONSOLE,
)
for _outcome in ("accepted", "refused", "rate_limited"):
    CONSOLE_LOGINS.labels(_outcome)
CONSOLE_LIVE_VIEWERS = Gauge(
    "merganser_console_live_viewers",
    "Open streams of the page of live events. While there are none, the console does not read the "
    "topics for it.",
    registry=CONSOLE,
)
CONSOLE_KEYS_AGE = Gauge(
    "merganser_console_keys_age_seconds",
    "Time since the API keys were last read from Postgres.",
    registry=CONSOLE,
)
CONSOLE_POOL_WAIT_SECONDS = Histogram(
    "merganser_console_pool_wait_seconds",
    "Time that a request waited for a connection to Postgres, successfully or not.",
    buckets=SECONDS,
    registry=CONSOLE,
)

# resolver and scanner
RESOLVED = Counter("merganser_events_resolved", "Events attached to their profile.", registry=None)
BATCH_SIZE = Histogram(
    "merganser_batch_events", "Events of one transaction.", buckets=SIZES, registry=None
)
BATCH_SECONDS = Histogram(
    "merganser_batch_seconds",
    "Time of one transaction, including its tries.",
    buckets=SECONDS,
    registry=None,
)
PROFILES_CREATED = Counter(
    "merganser_profiles_created", "Profiles created.", ["kind"], registry=None
)
MERGES = Counter(
    "merganser_profile_merges",
    "AnonymousIds that got a user: claimed, merged or moved.",
    ["reason"],
    registry=None,
)
LINKS_REFUSED = Counter(
    "merganser_links_refused",
    "Links of a second user. They change nothing, as two known users never merge.",
    registry=None,
)
SUPPRESSED = Counter(
    "merganser_events_suppressed",
    "Events that were not stored because their only ids are suppressed.",
    registry=None,
)
DETACHED = Counter(
    "merganser_events_unlinked",
    "Events stored without their anonymousId because its person was forgotten.",
    registry=None,
)
for _registry in (RESOLVER, SCANNER):
    for _metric in (
        RESOLVED,
        BATCH_SIZE,
        BATCH_SECONDS,
        PROFILES_CREATED,
        MERGES,
        LINKS_REFUSED,
        SUPPRESSED,
        DETACHED,
    ):
        _registry.register(_metric)

# ingest and api
CONNECTIONS_CUT = Counter(
    "merganser_http_connections_cut",
    "Connections closed because they took too long, sent too much or were too many.",
    ["reason"],
    registry=None,
)
for _reason in ("crowded", "large", "slow"):
    CONNECTIONS_CUT.labels(_reason)
for _registry in (INGEST, API, CONSOLE):
    _registry.register(CONNECTIONS_CUT)

# every process
CHECK_FAILING = Gauge(
    "merganser_check_failing",
    "1 while a check or a warning of /readyz fails, by its name.",
    ["check"],
    registry=None,
)
BUILD_INFO = Gauge(
    "merganser_build_info",
    "1, with the running version as label.",
    ["version"],
    registry=None,
)
BUILD_INFO.labels(version("merganser")).set(1)
for _registry in _REGISTRIES:
    _registry.register(CHECK_FAILING)
    _registry.register(BUILD_INFO)
