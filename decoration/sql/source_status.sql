-- read_statuses --
-- Read the status of each source. A time that Python lacks, such as infinity, is clamped.
SELECT
    source,
    revisions,
    "scheduledTo" IS NULL,
    failures,
    CASE WHEN "failingSince" IS NOT NULL THEN least(greatest("failingSince", 'epoch'), '9999-01-01') END,
    CASE WHEN "retryAt" IS NOT NULL THEN least(greatest("retryAt", 'epoch'), '9999-01-01') END,
    error,
    "ruleErrors",
    CASE WHEN "succeededAt" IS NOT NULL THEN least(greatest("succeededAt", 'epoch'), '9999-01-01') END
FROM "propertySourceStates";

-- write_revisions --
-- Write which rules query a source. If one is new, all profiles must be scheduled.
INSERT INTO "propertySourceStates" AS states (source, revisions)
VALUES (%(source)s, %(revisions)s)
ON CONFLICT (source) DO UPDATE
SET revisions = excluded.revisions,
    "scheduledTo" = CASE
        WHEN states.revisions @> excluded.revisions THEN states."scheduledTo" ELSE ''
    END;

-- delete_statuses --
-- Delete sources that no rule queries.
DELETE FROM "propertySourceStates" WHERE source = ANY(%(sources)s);

-- lock_breaker --
-- Lock and return a source's breaker.
SELECT failures, "retryAt" FROM "propertySourceStates" WHERE source = %(source)s FOR NO KEY UPDATE;

-- start_half_open_query --
-- Only one process can change this value, and that one sends the query.
UPDATE "propertySourceStates" SET "retryAt" = %(until)s
WHERE source = %(source)s
    AND "retryAt" IS NOT NULL
    AND least(greatest("retryAt", 'epoch'), '9999-01-01') = %(retry_at)s;

-- record_failure --
-- Write the breaker and the error after a failure.
UPDATE "propertySourceStates"
SET failures = %(failures)s,
    "retryAt" = %(retry_at)s,
    "failingSince" = coalesce("failingSince", %(now)s),
    error = %(error)s
WHERE source = %(source)s;

-- record_success --
-- Close the breaker after an answer.
UPDATE "propertySourceStates"
SET failures = 0,
    "retryAt" = NULL,
    "failingSince" = NULL,
    error = NULL,
    "succeededAt" = greatest("succeededAt", %(now)s),
    "ruleErrors" = %(rule_errors)s
WHERE source = %(source)s;
