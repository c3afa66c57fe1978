-- Fill the tables for `read-api` with one statement per table.

-- without_indexes --
-- Drop the indexes while the tables are filled.
CREATE TEMP TABLE dropped AS
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename IN ('events', 'eventData', 'anonymousIds')
    AND indexname NOT LIKE '%pkey';
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
-- Create profiles; a quarter are users.
INSERT INTO profiles (guid, "userId")
SELECT 'pro_' || lpad(n::text, 8, '0'), CASE WHEN n % 4 = 0 THEN 'user-' || n END
FROM generate_series(1, 500000) AS n;

-- visitors --
-- Create one device for each.
INSERT INTO "anonymousIds" ("anonymousId", "profileGuid")
SELECT 'visitor-' || right(guid, 8)::integer, guid FROM profiles;

-- events --
-- Create events: a fifth of profile 1, a tenth of the same time, one in a hundred without a profile.
INSERT INTO events (guid, type, "userId", "anonymousId", "profileGuid", "occurredAt", "createdAt")
SELECT
    'evt_01a20b62-' || lpad(to_hex(n), 8, '0') || '-7de5-b6d7-710b0f3a9c44',
    CASE WHEN n % 10 < 6 THEN 'pageview' WHEN n % 1000 = 7 THEN 'refund' ELSE 'kind-' || n % 50 END,
    CASE WHEN p % 4 = 0 THEN 'user-' || p END, 'visitor-' || p,
    CASE WHEN n % 100 <> 0 THEN 'pro_' || lpad(p::text, 8, '0') END,
    CASE WHEN n % 10 = 1 THEN timestamptz '2026-01-15Z' ELSE at END, at
FROM generate_series(1, 5000000) AS n,
LATERAL (
    SELECT timestamptz '2026-01-01Z' + n * interval '1 second' AS at,
        CASE WHEN n % 5 = 2 THEN 1 ELSE 1 + (n * 7919::bigint) % 500000 END AS p
) AS made;

-- data --
-- Create two rows of data for each event.
INSERT INTO "eventData" ("eventGuid", key, value)
SELECT guid, key, value
FROM events,
LATERAL (VALUES ('path', '/products/' || length(type)), ('price', '12.50')) AS data (key, value);

-- properties --
-- Create two properties for each profile.
INSERT INTO "profileProperties" ("profileGuid", key, value)
SELECT guid, key, value
FROM profiles,
LATERAL (VALUES ('email', guid || '@example.test'), ('plan', 'free')) AS properties (key, value);

-- merges --
-- Create merges into one profile.
INSERT INTO "profileMerges"
    ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid")
SELECT 'device-' || n, 'evt_x', 'user-4', 'merged', 'pro_old' || n, 'pro_00000004'
FROM generate_series(1, 100000) AS n;

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
