-- hold_rules --
-- Rules change only when nobody writes events: what is read of them now holds to the end.
LOCK TABLE events IN ROW EXCLUSIVE MODE;

-- uncounted --
-- No rule counts what is deleted here, so the properties process need not hear of it.
SET LOCAL merganser.uncounted = 'on';

-- remember_deleted_since --
-- Events that were created before are in the topic no more: that they were deleted is not remembered.
SELECT set_config('merganser.remember_deleted_since', %(since)s::timestamptz::text, true);

-- remember --
-- Before the first event goes: links from before this time may have lost theirs.
WITH moved AS (
    UPDATE retention SET "prunedBefore" = greatest("prunedBefore", %(before)s) RETURNING 1
)
INSERT INTO retention SELECT %(before)s WHERE NOT EXISTS (SELECT FROM moved);

-- old --
-- The next old events after a place in their order, and whether each may go: what has no profile yet
-- waits for the scanner, as it may link.
SELECT "occurredAt", guid, type <> ALL(%(needed)s) AND "profileGuid" IS NOT NULL
FROM events
WHERE "occurredAt" < %(before)s AND ("occurredAt", guid) > (%(after_time)s, %(after_guid)s)
ORDER BY "occurredAt" NULLS FIRST, guid
LIMIT %(at_most)s;

-- delete --
-- Events and their data.
WITH gone AS (
    DELETE FROM events WHERE guid = ANY(%(guids)s)
)
DELETE FROM "eventData" WHERE "eventGuid" = ANY(%(guids)s);

-- estimate --
-- How many old events there are, about; the planner's word is good enough for a bar.
EXPLAIN (FORMAT JSON) SELECT FROM events WHERE "occurredAt" < %(before)s;
