-- Fill the tables for `growth` as years of resolving do, with one statement per table.

-- without_indexes --
-- Drop the indexes while the tables are filled. Autovacuum is off, as it would run during some rounds only.
CREATE TEMP TABLE dropped AS
WITH tables AS (
    SELECT oid FROM pg_class
    WHERE oid IN ('events'::regclass, '"eventData"'::regclass, '"anonymousIds"'::regclass, 'profiles'::regclass)
)
SELECT
    format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS "drop",
    format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS "create"
FROM pg_constraint
WHERE conrelid IN (SELECT oid FROM tables) AND contype IN ('p', 'u')
UNION ALL
SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid IN (SELECT oid FROM tables)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid);
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT "drop" FROM dropped LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
ALTER TABLE events SET (autovacuum_enabled = off);
ALTER TABLE "eventData" SET (autovacuum_enabled = off);
ALTER TABLE "anonymousIds" SET (autovacuum_enabled = off);
ALTER TABLE profiles SET (autovacuum_enabled = off);

-- profiles --
-- Create profiles; one of ten people is a user.
TRUNCATE profiles;
INSERT INTO profiles (guid, "userId")
SELECT 'pro_' || md5('p' || n)::uuid, CASE WHEN n %% 10 = 0 THEN 'user-' || n END
FROM generate_series(1, %(people)s) AS n;

-- visitors --
-- Create a device for each person, not in the order of their numbers.
TRUNCATE "anonymousIds";
INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "linkedAt", "linkEventGuid", "userId")
SELECT
    md5(n::text)::uuid, 'pro_' || md5('p' || n)::uuid,
    CASE WHEN n %% 10 = 0 THEN timestamptz '2025-01-01Z' END,
    CASE WHEN n %% 10 = 0 THEN 'evt_' || md5('l' || n)::uuid END,
    CASE WHEN n %% 10 = 0 THEN 'user-' || n END
FROM generate_series(1, %(people)s) AS n
ORDER BY 1;

-- events --
-- Create events over a year, for each person in turn.
TRUNCATE events;
INSERT INTO events (
    guid, "producerGuid", "ipAddress", "profileGuid", "createdAt", "updatedAt", "occurredAt", type,
    "userId", "anonymousId"
)
SELECT
    'evt_' || overlay(md5(n::text) PLACING lpad(to_hex(n), 12, '0') FROM 1)::uuid,
    'key_01a20b62-1dcd-7de5-b6d7-710b0f3a9c44', '203.0.113.' || n %% 256,
    'pro_' || md5('p' || person)::uuid, at, at, at, 'pageview',
    CASE WHEN person %% 10 = 0 THEN 'user-' || person END, md5(person::text)::uuid
FROM generate_series(1, %(events)s) AS n,
LATERAL (
    SELECT 1 + n * 7919::bigint %% %(people)s AS person,
        timestamptz '2025-01-01Z' + n * (interval '1 year' / %(events)s) AS at
) AS made;

-- data --
-- Create four rows of data for each event.
TRUNCATE "eventData";
INSERT INTO "eventData" (guid, "eventGuid", key, value)
SELECT 'edt_' || uuid || '-' || place, 'evt_' || uuid, key, value
FROM generate_series(1, %(events)s) AS n,
LATERAL (SELECT overlay(md5(n::text) PLACING lpad(to_hex(n), 12, '0') FROM 1)::uuid AS uuid) AS made,
LATERAL (
    VALUES (1, 'path', '/products/mugs/7'), (2, 'referrer', 'https://news.example.test/'),
        (3, 'utm_campaign', 'newsletter'), (4, 'price', '12.50')
) AS data (place, key, value);

-- with_indexes --
-- Create the dropped indexes again.
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT "create" FROM dropped LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

-- analyze --
-- Give the planner statistics.
ANALYZE;
