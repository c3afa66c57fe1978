-- Tables as years of the resolver's work leave them, made set-wise, for `growth`.

-- without_indexes --
-- Indexes are dropped while the tables are filled, and made again as they were.
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
-- Four events a person; one of ten people is a known user.
INSERT INTO profiles (guid, "userId")
SELECT 'pro_' || md5('p' || n)::uuid, CASE WHEN n %% 10 = 0 THEN 'user-' || n END
FROM generate_series(1, %(people)s) AS n;

-- visitors --
-- Each with a device, in an order that is not that of their numbers.
INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "linkedAt", "linkEventGuid", "userId")
SELECT
    md5(n::text)::uuid, 'pro_' || md5('p' || n)::uuid,
    CASE WHEN n %% 10 = 0 THEN timestamptz '2025-01-01Z' END,
    CASE WHEN n %% 10 = 0 THEN 'evt_' || md5('l' || n)::uuid END,
    CASE WHEN n %% 10 = 0 THEN 'user-' || n END
FROM generate_series(1, %(people)s) AS n
ORDER BY 1;

-- events --
-- Events over a year, of each person in turn.
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
-- Four rows each.
INSERT INTO "eventData" (guid, "eventGuid", key, value)
SELECT overlay(guid PLACING 'edt' FROM 1) || place, guid, key, value
FROM events,
LATERAL (
    VALUES (1, 'path', '/products/mugs/7'), (2, 'referrer', 'https://news.example.test/'),
        (3, 'utm_campaign', 'newsletter'), (4, 'price', '12.50')
) AS data (place, key, value);

-- with_indexes --
-- Those that were dropped.
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
-- So that no round meets the work that this left behind.
VACUUM ANALYZE;
