-- rules --
-- Every rule, and why it is not computed, if so. A definition is text, so that one that cannot be read
-- costs itself alone; one that is too long is not read.
SELECT key, revision,
    CASE
        WHEN failure IS NULL AND pg_column_size(definition) <= %(longest)s THEN definition::text
    END,
    failure, "appliedAt", "backfilledTo", backfilled
FROM "profilePropertyRules"
ORDER BY key;

-- sources --
-- The company's databases, read as rules are.
SELECT name, CASE WHEN pg_column_size(definition) <= %(longest)s THEN definition::text END
FROM "propertySources"
ORDER BY name;

-- suspend --
-- A rule that is not computed any more.
UPDATE "profilePropertyRules" SET failure = %(problem)s WHERE key = %(key)s AND failure IS NULL;

-- broken --
-- How many rules are not computed.
SELECT count(*) FROM "profilePropertyRules" WHERE failure IS NOT NULL;

-- patience --
-- Who waits for the writers of events makes those that come later wait, too.
SET LOCAL lock_timeout = '10s';

-- hold_writers --
-- Until this transaction ends nobody writes events: a profile made later than a rule's appliedAt
-- has all its events noted for that rule. In the order in which writers come to these tables, or
-- each would wait for the other.
LOCK TABLE profiles, events, "eventData" IN SHARE ROW EXCLUSIVE MODE;

-- delete_rules --
-- Rules that are no more; the properties process removes what they gave.
DELETE FROM "profilePropertyRules" WHERE key = ANY(%(keys)s);

-- put_rules --
-- New rules, and new revisions of those that say something else now.
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
-- All, for `put_sources` to write anew.
DELETE FROM "propertySources";

-- put_sources --
-- The sources of the file.
INSERT INTO "propertySources" (name, definition)
SELECT * FROM unnest(%(names)s::text[], %(definitions)s::jsonb[]);

-- take_notes --
-- While there are rules, what happens to events is noted.
SELECT "takeNotes"(EXISTS (SELECT FROM "profilePropertyRules"));

-- backfill --
-- How many profiles a backfill has done, of about how many.
SELECT
    coalesce(min(backfilled) FILTER (WHERE "backfilledTo" IS NOT NULL AND failure IS NULL), -1),
    (SELECT reltuples::bigint FROM pg_class WHERE oid = 'profiles'::regclass),
    (SELECT count(*) FROM "propertyRecounts")
FROM "profilePropertyRules";
