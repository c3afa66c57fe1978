-- External rows for `scanner`, and what its ceiling does.

-- insert --
-- As other systems write them: no profile, one in ten with a userId, two of a visitor on average.
INSERT INTO events (type, "userId", "anonymousId", "occurredAt", "createdAt")
SELECT
    'refund', CASE WHEN n %% 10 = 0 THEN 'user-' || person END, md5(person::text)::uuid,
    timestamptz '2026-01-01Z' + n * interval '1 second',
    timestamptz '2026-01-01Z' + n * interval '1 second'
FROM generate_series(1, %(rows)s) AS n, LATERAL (SELECT n * 7919::bigint %% (%(rows)s / 2) AS person) AS who;

-- settle --
-- So that neither side meets a table that was never looked at.
VACUUM ANALYZE events;

-- remember --
-- What the scanner found out.
CREATE TABLE known AS SELECT guid, "profileGuid" FROM events;

-- index_known --
-- By which the update may find it.
ALTER TABLE known ADD PRIMARY KEY (guid);

-- analyze_known --
-- Its size.
VACUUM ANALYZE known;

-- forget --
-- The same rows as they were, in a table written once, as at the start.
CREATE TABLE again AS SELECT * FROM events;

-- empty --
-- Nothing left of the first time.
TRUNCATE events;

-- insert_again --
-- The rows without their profiles.
INSERT INTO events (
    guid, type, "userId", "anonymousId", "occurredAt", "createdAt", "updatedAt"
)
SELECT guid, type, "userId", "anonymousId", "occurredAt", "createdAt", "updatedAt" FROM again
ORDER BY guid;

-- update --
-- The ceiling.
UPDATE events
SET "profileGuid" = known."profileGuid", "updatedAt" = now()
FROM known
WHERE events.guid = known.guid;
