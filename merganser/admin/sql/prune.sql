-- Prune deletes events and their data, which other folders write as well. The functions of the owners
-- read the rules and store in `retention` what was pruned.

-- lock_rules --
-- `merganser rules apply` waits for this lock, so the rules do not change before the transaction ends.
LOCK TABLE events IN ROW EXCLUSIVE MODE;

-- skip_property_updates --
-- No rule counts the deleted events, so triggers need not record the deletions for the properties
-- process.
SET LOCAL merganser.uncounted = 'on';

-- remember_deleted_since --
-- The topic no longer holds older events, so triggers need not remember that they were deleted.
SELECT set_config('merganser.remember_deleted_since', %(since)s::timestamptz::text, true);

-- next_old_events --
-- The next old events after a cursor, and whether each may be deleted. Events without a profile stay:
-- the scanner resolves them first, as they may link.
SELECT "occurredAt", guid, type <> ALL(%(needed)s) AND "profileGuid" IS NOT NULL
FROM events
WHERE "occurredAt" < %(before)s AND ("occurredAt", guid) > (%(after_time)s, %(after_guid)s)
ORDER BY "occurredAt" NULLS FIRST, guid
LIMIT %(at_most)s;

-- delete_events --
-- Delete events and their data.
WITH deleted AS (
    DELETE FROM events WHERE guid = ANY(%(guids)s)
)
DELETE FROM "eventData" WHERE "eventGuid" = ANY(%(guids)s);

-- estimate --
-- The planner's estimate of the number of old events, for a progress bar.
EXPLAIN (FORMAT JSON) SELECT FROM events WHERE "occurredAt" < %(before)s;
