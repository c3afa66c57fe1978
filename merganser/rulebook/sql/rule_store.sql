-- read_rules --
-- Read every rule, and why it is not computed. The definition is returned as text so that a damaged
-- one fails alone. One that is too long is not read.
SELECT key, revision,
    CASE
        WHEN failure IS NULL AND pg_column_size(definition) <= %(max_bytes)s THEN definition::text
    END,
    failure, "appliedAt", "backfilledTo", backfilled
FROM "profilePropertyRules"
ORDER BY key;

-- read_sources --
-- Read the company's databases, in the same way as the rules.
SELECT name, CASE WHEN pg_column_size(definition) <= %(max_bytes)s THEN definition::text END
FROM "propertySources"
ORDER BY name;

-- suspend_rule --
-- Stop computing a rule. The first problem stays.
UPDATE "profilePropertyRules" SET failure = %(problem)s WHERE key = %(key)s AND failure IS NULL;

-- count_broken_rules --
-- Count the rules that are not computed.
SELECT count(*) FROM "profilePropertyRules" WHERE failure IS NOT NULL;

-- set_lock_timeout --
-- While this transaction waits for writers of events, later writers wait behind it: give up soon.
SELECT set_config('lock_timeout', %(timeout)s, TRUE);

-- lock_event_tables --
-- Block writers of events until this transaction ends. Then all events of a profile that is created
-- after a rule's appliedAt are recorded as event changes for that rule. The tables are locked in the
-- order in which writers lock them, which prevents deadlocks.
LOCK TABLE profiles, events, "eventData" IN SHARE ROW EXCLUSIVE MODE;

-- delete_rules --
-- Delete rules. The properties process deletes their values later.
DELETE FROM "profilePropertyRules" WHERE key = ANY(%(keys)s);

-- write_rules --
-- Insert new rules, and give changed rules a new revision.
INSERT INTO "profilePropertyRules" (key, definition)
SELECT * FROM unnest(%(keys)s::text[], %(definitions)s::jsonb[])
ON CONFLICT (key) DO UPDATE
SET revision = nextval('"propertyRevisions"'),
    definition = excluded.definition,
    failure = NULL,
    "appliedAt" = clock_timestamp(),
    "backfilledTo" = '',
    backfilled = 0;

-- delete_sources --
-- Delete all sources, before `write_sources` writes those of the file.
DELETE FROM "propertySources";

-- write_sources --
-- Write the sources of the file.
INSERT INTO "propertySources" (name, definition)
SELECT * FROM unnest(%(names)s::text[], %(definitions)s::jsonb[]);

-- record_event_changes --
-- Let triggers record event changes in "eventChanges" as long as there are rules.
SELECT "takeNotes"(EXISTS (SELECT FROM "profilePropertyRules"));

-- read_backfill_progress --
-- How many profiles the backfill has computed, of about how many.
SELECT
    coalesce(min(backfilled) FILTER (WHERE "backfilledTo" IS NOT NULL AND failure IS NULL), -1),
    (SELECT reltuples::bigint FROM pg_class WHERE oid = 'profiles'::regclass)
FROM "profilePropertyRules";

-- write_backfill_progress --
-- The profiles up to this guid are computed for all rules; null: all profiles are.
UPDATE "profilePropertyRules"
SET "backfilledTo" = %(to)s, backfilled = backfilled + %(count)s
WHERE "backfilledTo" < coalesce(%(to)s, 'z') AND revision = ANY(%(revisions)s);

-- lock_revisions --
-- Lock and return the revisions that still apply.
SELECT revision FROM "profilePropertyRules"
WHERE revision = ANY(%(revisions)s)
ORDER BY key
FOR KEY SHARE;

-- read_version --
-- A hash of everything that applying a file changes. A changed rule has a new revision.
SELECT encode(sha256(convert_to(concat(
    (SELECT string_agg(revision::text, ' ' ORDER BY key) FROM "profilePropertyRules"), '|',
    (SELECT jsonb_object_agg(name, definition) FROM "propertySources")
), 'UTF8')), 'hex');

-- read_query_sources --
-- Return the source of each rule that has a query, whether the rule is broken or not.
SELECT key, definition #>> '{query,source}'
FROM "profilePropertyRules"
WHERE definition -> 'query' IS NOT NULL;
