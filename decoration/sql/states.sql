-- states --
-- How each source is doing.
SELECT
    source, revisions, "scheduledTo" IS NULL, failures, "failingSince", "retryAt", error,
    "ruleErrors", "succeededAt"
FROM "propertySourceStates";

-- put_revisions --
-- The rules that ask a source. If one is new, all profiles are to be scheduled.
INSERT INTO "propertySourceStates" AS states (source, revisions)
VALUES (%(source)s, %(revisions)s)
ON CONFLICT (source) DO UPDATE
SET revisions = excluded.revisions,
    "scheduledTo" = CASE
        WHEN states.revisions @> excluded.revisions THEN states."scheduledTo" ELSE ''
    END;

-- forget --
-- Sources that no rule asks any more.
DELETE FROM "propertySourceStates" WHERE source = ANY(%(sources)s);

-- hold --
-- A source's breaker, to be changed by nobody else.
SELECT failures, "retryAt" FROM "propertySourceStates" WHERE source = %(source)s FOR NO KEY UPDATE;

-- try --
-- The one who changes this tries whether the source has recovered.
UPDATE "propertySourceStates" SET "retryAt" = %(until)s
WHERE source = %(source)s AND "retryAt" = %(retry_at)s;

-- failed --
-- After a failure.
UPDATE "propertySourceStates"
SET failures = %(failures)s,
    "retryAt" = %(retry_at)s,
    "failingSince" = coalesce("failingSince", %(now)s),
    error = %(error)s
WHERE source = %(source)s;

-- succeeded --
-- After an answer.
UPDATE "propertySourceStates"
SET failures = 0,
    "retryAt" = NULL,
    "failingSince" = NULL,
    error = NULL,
    "succeededAt" = greatest("succeededAt", %(now)s),
    "ruleErrors" = %(rule_errors)s
WHERE source = %(source)s;
