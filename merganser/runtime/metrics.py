"""Every metric of every process, with its meaning. Names follow Prometheus' conventions.

A process exports the registry that bears its name, so no series of a process is there in another
one, where it would always be zero.
"""

from importlib.metadata import version

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types

INGEST, RESOLVER, SCANNER, PROPERTIES, DECORATION, API = (CollectorRegistry() for _ in range(6))
for _registry in (INGEST, RESOLVER, SCANNER, PROPERTIES, DECORATION, API):
    ProcessCollector(registry=_registry)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000)

# ingest
ACCEPTED = Counter(
    "merganser_ingest_events_accepted",
    "Events answered with 200: Kafka has acknowledged them.",
    registry=INGEST,
)
REJECTED = Counter(
    "merganser_ingest_events_rejected",
    "Events refused, by the error code that the client was given. A refused request counts one.",
    ["reason"],
    registry=INGEST,
)
SENT_AT_IGNORED = Counter(
    "merganser_ingest_sent_at_ignored",
    "Events accepted whose sentAt did not correct their time: it is more than 30 days off.",
    registry=INGEST,
)
PUBLISHED = Counter(
    "merganser_ingest_records_published",
    "Records that Kafka acknowledged with acks=all.",
    registry=INGEST,
)
WAITING_BYTES = Gauge(
    "merganser_ingest_waiting_bytes",
    "Bytes of accepted events that wait for Kafka's answer.",
    registry=INGEST,
)
PUBLISH_SECONDS = Histogram(
    "merganser_ingest_publish_seconds",
    "From a group of records sent to acknowledged.",
    buckets=SECONDS,
    registry=INGEST,
)
REQUEST_SECONDS = Histogram(
    "merganser_ingest_request_seconds",
    "From a request's headers to its answer, by status.",
    ["status"],
    buckets=SECONDS,
    registry=INGEST,
)
KEYS_AGE = Gauge(
    "merganser_ingest_keys_age_seconds",
    "Since the API keys were last read from Postgres.",
    registry=INGEST,
)

# resolver
CONSUMED = Counter(
    "merganser_resolver_records_consumed", "Records read and committed.", registry=RESOLVER
)
LAG = Gauge(
    "merganser_resolver_lag_records",
    "Records of a partition that are published and not yet resolved.",
    ["topic", "partition"],
    registry=RESOLVER,
)
SILENT = Gauge(
    "merganser_resolver_silent_seconds",
    "Since the last progress of the partition that has gone longest without, while records wait in "
    "it or it is not known whether they do. About a second when all is well, and while Postgres or "
    "Kafka is away or the resolver is halted.",
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
    "1 once a flood of dead letters has stopped the resolver, until it is restarted.",
    registry=RESOLVER,
)
REPEATED = Counter(
    "merganser_resolver_events_repeated",
    "Events that were in the table already: delivered twice.",
    registry=RESOLVER,
)
ALREADY_DELETED = Counter(
    "merganser_resolver_events_already_deleted",
    "Events that were not stored because they had been deleted: read again, or sent again.",
    registry=RESOLVER,
)
LOST = Counter(
    "merganser_resolver_records_lost",
    "Records that Kafka's retention deleted before they were resolved.",
    registry=RESOLVER,
)
FENCED = Counter(
    "merganser_resolver_batches_fenced",
    "Batches dropped because another resolver had moved the position of a partition.",
    registry=RESOLVER,
)
TO_RESOLVED_SECONDS = Histogram(
    "merganser_resolver_accepted_to_resolved_seconds",
    "From Kafka having a record to its commit, one observation a batch: its longest wait. What is "
    "read for the first time or again, and was there before, does not count until it is caught up.",
    buckets=SECONDS,
    registry=RESOLVER,
)

# scanner
SCANNED = Counter(
    "merganser_scanner_rows_resolved",
    "Rows that external systems wrote, resolved.",
    registry=SCANNER,
)
UNRESOLVED = Gauge(
    "merganser_scanner_unresolved_rows",
    "Rows with no profileGuid that have an id, at last count.",
    registry=SCANNER,
)
UNRESOLVED_AGE = Gauge(
    "merganser_scanner_unresolved_oldest_seconds",
    "Age of the oldest unresolved row with an id.",
    registry=SCANNER,
)
UNRESOLVABLE = Gauge(
    "merganser_scanner_unresolvable_rows",
    "Rows left alone: no id, or one that means nobody.",
    registry=SCANNER,
)
MOVES_PENDING = Gauge(
    "merganser_scanner_moves_pending", "Merges whose events still follow.", registry=SCANNER
)

SET_ASIDE_OPEN = Gauge(
    "merganser_set_aside_open",
    "Items set aside that no operator has dealt with, by kind.",
    ["kind"],
    registry=SCANNER,
)
EVENTS_ERASED = Counter(
    "merganser_scanner_events_erased",
    "Events of people who were forgotten, deleted after the command that began it had ended.",
    registry=SCANNER,
)
EVENTS_MOVED = Counter(
    "merganser_scanner_events_moved",
    "Events that followed a big merge in chunks.",
    registry=SCANNER,
)

# properties
EVENT_CHANGES_AGE = Gauge(
    "merganser_properties_staleness_seconds",
    "Seconds since the oldest pending event change (a row of eventChanges that properties do not "
    "include yet); 0 when none is pending.",
    registry=PROPERTIES,
)
EVENTS_COUNTED = Counter(
    "merganser_properties_events_counted",
    "Events that properties were brought up to date with, without rereading older ones.",
    registry=PROPERTIES,
)
PROFILES_RECOUNTED = Counter(
    "merganser_properties_profiles_recounted",
    "Profiles whose events were all counted again: after a deletion, a move or a new rule.",
    registry=PROPERTIES,
)
RECOUNTS_PENDING = Gauge(
    "merganser_properties_recounts_pending",
    "Profiles that wait to be counted again, or whose count is under way.",
    registry=PROPERTIES,
)
PROPERTIES_WRITTEN = Counter(
    "merganser_properties_values_written",
    "Values of properties that were written or dropped.",
    registry=PROPERTIES,
)
VALUES_UNFIT = Counter(
    "merganser_properties_values_unfit",
    "Values skipped because they do not fit the type of the rule. A recount counts them again.",
    ["rule"],
    registry=PROPERTIES,
)
VALUES_TOO_LONG = Counter(
    "merganser_properties_values_too_long",
    "Values skipped because they have more bytes than the rule takes. A recount counts them again.",
    ["rule"],
    registry=PROPERTIES,
)
VALUES_CAPPED = Counter(
    "merganser_properties_values_capped",
    "Values left out because a property, or what its rule remembers, has no room for more.",
    ["rule"],
    registry=PROPERTIES,
)
PROFILES_SET_ASIDE = Counter(
    "merganser_properties_profiles_set_aside",
    "Profiles set aside because counting their events again has failed.",
    registry=PROPERTIES,
)
BROKEN_RULES = Gauge(
    "merganser_properties_broken_rules",
    "Rules that are not computed: the definition is broken, or computing it fails for everyone.",
    registry=PROPERTIES,
)
BACKFILL = Gauge(
    "merganser_properties_backfill_profiles",
    "Profiles that the backfill of new rules has done; -1 when none is under way.",
    registry=PROPERTIES,
)
PROPERTIES_SECONDS = Histogram(
    "merganser_properties_step_seconds",
    "Time of one transaction, tries included.",
    buckets=SECONDS,
    registry=PROPERTIES,
)

# decoration
SOURCE_CALLS = Counter(
    "merganser_decoration_calls",
    "Queries to a source: answered, refused for one of the ids in it, unreadable or too_large "
    "for what is said of one of them, or failed.",
    ["source", "outcome"],
    registry=DECORATION,
)
SOURCE_CALL_SECONDS = Histogram(
    "merganser_decoration_call_seconds",
    "Time of one query to a source, with connecting, answered or not.",
    ["source"],
    buckets=SECONDS,
    registry=DECORATION,
)
SOURCE_VALUES_WRITTEN = Counter(
    "merganser_decoration_values_written",
    "Values of properties that were written or dropped because a source said so.",
    ["source"],
    registry=DECORATION,
)
SOURCE_VALUES_UNFIT = Counter(
    "merganser_decoration_values_unfit",
    "Values of sources skipped because they do not fit the type of the rule.",
    ["rule"],
    registry=DECORATION,
)
SOURCE_VALUES_TOO_LONG = Counter(
    "merganser_decoration_values_too_long",
    "Values of sources skipped because they are too long, or beyond the bounds of their array.",
    ["rule"],
    registry=DECORATION,
)
SOURCE_VALUES_SET_ASIDE = Counter(
    "merganser_decoration_values_set_aside",
    "Values of sources that could not be read or not be stored, each time that this happened.",
    ["source"],
    registry=DECORATION,
)
SOURCE_PENDING = Gauge(
    "merganser_decoration_profiles_pending",
    "Profiles that a source is to be asked for now, counted up to 10,000.",
    ["source"],
    registry=DECORATION,
)
SOURCE_OPEN = Gauge(
    "merganser_decoration_open_seconds",
    "Until a failing source is tried again; 0 while its breaker is closed.",
    ["source"],
    registry=DECORATION,
)
SOURCE_AGE = Gauge(
    "merganser_decoration_since_success_seconds",
    "Since a source's last answer; it grows too while there is nothing to ask.",
    ["source"],
    registry=DECORATION,
)

# api
API_REQUEST_SECONDS = Histogram(
    "merganser_api_request_seconds",
    "From a request's headers to its answer, by the route's path and the status.",
    ["route", "status"],
    buckets=SECONDS,
    registry=API,
)
API_ANSWERS_CUT = Counter(
    "merganser_api_answers_cut",
    "Answers that left something out, or ended a page early, as they would have too many bytes, by "
    "the route's path.",
    ["route"],
    registry=API,
)
API_KEYS_AGE = Gauge(
    "merganser_api_keys_age_seconds",
    "Since the API keys were last read from Postgres.",
    registry=API,
)

POOL_WAIT_SECONDS = Histogram(
    "merganser_api_pool_wait_seconds",
    "A request's wait for one of the connections to Postgres, until it had one or was refused.",
    buckets=SECONDS,
    registry=API,
)

# resolver and scanner
RESOLVED = Counter("merganser_events_resolved", "Events attached to their profile.", registry=None)
BATCH_SIZE = Histogram(
    "merganser_batch_events", "Events of one transaction.", buckets=SIZES, registry=None
)
BATCH_SECONDS = Histogram(
    "merganser_batch_seconds",
    "Time of one transaction, tries included.",
    buckets=SECONDS,
    registry=None,
)
PROFILES_CREATED = Counter("merganser_profiles_created", "Profiles made.", ["kind"], registry=None)
MERGES = Counter(
    "merganser_profile_merges",
    "AnonymousIds that came to a known user: claimed, merged or moved.",
    ["reason"],
    registry=None,
)
LINKS_REFUSED = Counter(
    "merganser_links_refused",
    "Events whose link was not followed, because two known users would have met.",
    registry=None,
)
SUPPRESSED = Counter(
    "merganser_events_suppressed",
    "Events that were not stored, as they are of somebody who was forgotten.",
    registry=None,
)
UNLINKED = Counter(
    "merganser_events_unlinked",
    "Events stored without their anonymousId, as it is of somebody who was forgotten.",
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
        UNLINKED,
    ):
        _registry.register(_metric)

# ingest and api
CONNECTIONS_CUT = Counter(
    "merganser_http_connections_cut",
    "Connections closed because they went on too long, sent too much or were too many.",
    ["reason"],
    registry=None,
)
for _reason in ("crowded", "large", "slow"):
    CONNECTIONS_CUT.labels(_reason)
for _registry in (INGEST, API):
    _registry.register(CONNECTIONS_CUT)

# every process
CHECK_FAILING = Gauge(
    "merganser_check_failing",
    "1 while a check or a warning of /readyz says what is wrong, by its name.",
    ["check"],
    registry=None,
)
BUILD_INFO = Gauge(
    "merganser_build_info",
    "1, with the version that runs.",
    ["version"],
    registry=None,
)
BUILD_INFO.labels(version("merganser")).set(1)
for _registry in (INGEST, RESOLVER, SCANNER, PROPERTIES, DECORATION, API):
    _registry.register(CHECK_FAILING)
    _registry.register(BUILD_INFO)
