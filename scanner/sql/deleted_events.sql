-- expire --
-- Some of what was remembered of deleted events that the topic no longer holds. What another scanner has
-- in hand is passed over.
DELETE FROM "deletedEvents"
WHERE hash IN (
    SELECT hash FROM "deletedEvents"
    WHERE "deletedAt" < now() - %(held)s::interval
    ORDER BY "deletedAt"
    LIMIT %(at_most)s
    FOR UPDATE SKIP LOCKED
);
