-- Fill the tables for `growth` as years of resolving do, with one statement per table.

-- without_indexes --
-- Drop the indexes while the tables are filled.
CREATE TEMP TABLE dropped AS
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename IN ('events', 'eventData', 'anonymousIds', 'profiles')
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname);
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT indexname FROM dropped LOOP
        EXECUTE format('DROP INDEX %I', name);
    END LOOP;
END
$$;

-- profiles --
-- Create profiles; one of ten people is a user.
INSERT INTO profiles (guid, "userId")
SELECT 'pro_' || md5('p' || n)::uuid, CASE WHEN n %% 10 = 0 THEN 'user-' || n END
FROM generate_series(1, %(people)s) AS n;

-- visitors --
-- Create a device for each person, not in the order of their numbers.
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
INSERT INTO "eventData" (guid, "eventGuid", key, value)
SELECT overlay(guid PLACING 'edt' FROM 1) || place, guid, key, value
FROM events,
LATERAL (
    VALUES (1, 'path', '/products/mugs/7'), (2, 'referrer', 'https://news.example.test/'),
        (3, 'utm_campaign', 'newsletter'), (4, 'price', '12.50')
) AS data (place, key, value);

-- with_indexes --
-- Create the dropped indexes again.
DO $$
DECLARE
    definition text;
BEGIN
    FOR definition IN SELECT indexdef FROM dropped LOOP
        EXECUTE definition;
    END LOOP;
END
$$;

-- settle --
-- Vacuum, analyze and checkpoint, so that no round does this work.
VACUUM ANALYZE;
