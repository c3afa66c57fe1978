-- expire --
-- Delete some entries that are older than the retention. Skips those that another scanner has locked.
DELETE FROM "deletedEvents"
WHERE hash IN (
    SELECT hash FROM "deletedEvents"
    WHERE "deletedAt" < now() - %(retention)s::interval
    ORDER BY "deletedAt"
    LIMIT %(at_most)s
    FOR UPDATE SKIP LOCKED
);
