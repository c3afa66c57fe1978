-- External rows for `scanner`, and the update that is its ceiling.

-- insert --
-- Insert rows without a profile: one in ten has a userId, a visitor has two on average.
INSERT INTO events (type, "userId", "anonymousId", "occurredAt", "createdAt")
SELECT
    'refund', CASE WHEN n %% 10 = 0 THEN 'user-' || person END, md5(person::text)::uuid,
    timestamptz '2026-01-01Z' + n * interval '1 second',
    timestamptz '2026-01-01Z' + n * interval '1 second'
FROM generate_series(1, %(rows)s) AS n, LATERAL (SELECT n * 7919::bigint %% (%(rows)s / 2) AS person) AS people;

-- vacuum --
-- Vacuum and analyze, as autovacuum does later.
VACUUM ANALYZE events;

-- copy_profiles --
-- Copy the profiles that the scanner found.
CREATE TABLE known AS SELECT guid, "profileGuid" FROM events;

-- index_profiles --
-- Index the copy for the update.
ALTER TABLE known ADD PRIMARY KEY (guid);

-- analyze_profiles --
-- Analyze the copy.
VACUUM ANALYZE known;

-- copy_rows --
-- Copy the rows, for a table without dead rows as at the start.
CREATE TABLE again AS SELECT * FROM events;

-- empty --
-- Empty the tables.
TRUNCATE events;

-- insert_again --
-- Insert the rows again without their profiles.
INSERT INTO events (
    guid, type, "userId", "anonymousId", "occurredAt", "createdAt", "updatedAt"
)
SELECT guid, type, "userId", "anonymousId", "occurredAt", "createdAt", "updatedAt" FROM again
ORDER BY guid;

-- update --
-- Set all profiles with one statement.
UPDATE events
SET "profileGuid" = known."profileGuid", "updatedAt" = now()
FROM known
WHERE events.guid = known.guid;
