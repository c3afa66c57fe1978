-- Audits and their results. A running audit holds the advisory lock in a separate transaction.

-- try_lock --
-- Whether no other audit runs: until the end of this transaction, none can start.
SELECT pg_try_advisory_xact_lock(hashtextextended('merganser audit', 0));

-- keep_lock --
-- Show Postgres that the process lives: it ends a transaction that is idle for long.
SELECT;

-- start --
-- Insert a new audit.
INSERT INTO audits (source, "startedBy", properties)
VALUES (%(source)s, %(started_by)s, %(properties)s)
RETURNING guid;

-- set_progress --
-- How much of an audit is done.
UPDATE audits SET progress = %(progress)s WHERE guid = %(guid)s AND "finishedAt" IS NULL;

-- finish --
-- Store the result.
UPDATE audits
SET "finishedAt" = now(), progress = 1, counts = %(counts)s::jsonb,
    disagreements = %(disagreements)s, findings = %(findings)s::jsonb
WHERE guid = %(guid)s;

-- read_newest --
-- The newest audits. Only the newest can be running: it then holds the lock.
SELECT
    guid, source, "startedBy", properties, "startedAt", progress, "finishedAt", counts, disagreements, findings,
    "finishedAt" IS NULL AND row_number() OVER (ORDER BY "startedAt" DESC, guid DESC) = 1 AND EXISTS (
        SELECT
        FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32) | objid::bigint = hashtextextended('merganser audit', 0)
    )
FROM audits
ORDER BY "startedAt" DESC, guid DESC
LIMIT %(at_most)s;
