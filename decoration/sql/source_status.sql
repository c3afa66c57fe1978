-- states --
-- How each source is doing. A time that Python has none for, such as infinity, is one far away.
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

-- sources --
-- The company's databases as they are defined, which somebody may have done by hand.
SELECT name, definition::text FROM "propertySources" ORDER BY name;

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

-- forget_values --
-- Values that were set aside for rules that ask no source any more.
DELETE FROM "setAside"
WHERE kind = 'value'
    AND NOT EXISTS (
        SELECT FROM "profilePropertyRules" WHERE key = place AND definition -> 'query' IS NOT NULL
    );

-- hold --
-- A source's breaker, to be changed by nobody else.
SELECT failures, "retryAt" FROM "propertySourceStates" WHERE source = %(source)s FOR NO KEY UPDATE;

-- try --
-- The one who changes this tries whether the source has recovered.
UPDATE "propertySourceStates" SET "retryAt" = %(until)s
WHERE source = %(source)s
    AND "retryAt" IS NOT NULL
    AND least(greatest("retryAt", 'epoch'), '9999-01-01') = %(retry_at)s;

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
