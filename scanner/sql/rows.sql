-- claim --
-- The oldest unresolved rows with an id that names somebody, after a place in their order. Rows
-- that another scanner has in hand are passed over; rows of nobody are passed by without a lock.
SELECT
    guid, "createdAt", coalesce("occurredAt", "createdAt") AS "occurredAt",
    "userId", "anonymousId"
FROM events
WHERE "profileGuid" IS NULL
    AND ("createdAt", guid) > (%(after_time)s, %(after_guid)s)
    AND (
        lower(btrim("userId", %(space)s)) <> ALL(%(nobody)s)
        OR lower(btrim("anonymousId", %(space)s)) <> ALL(%(nobody)s)
    )
ORDER BY "createdAt", guid
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED;

-- assign --
-- The profile of each claimed row; where no time was given, the event occurred when it came.
UPDATE events
SET "profileGuid" = n.profile,
    "occurredAt" = coalesce("occurredAt", "createdAt"),
    "updatedAt" = now()
FROM unnest(%(guids)s::text[], %(profiles)s::text[]) AS n(guid, profile)
WHERE events.guid = n.guid;

-- assign_unlinked --
-- Claimed rows of users with the anonymousId of somebody who was forgotten: as above, and the id goes
-- from the row and from its data.
WITH assigned AS (
    UPDATE events
    SET "profileGuid" = n.profile,
        "anonymousId" = NULL,
        "occurredAt" = coalesce("occurredAt", "createdAt"),
        "updatedAt" = now()
    FROM unnest(%(guids)s::text[], %(profiles)s::text[]) AS n(guid, profile)
    WHERE events.guid = n.guid
)
DELETE FROM "eventData"
USING unnest(%(guids)s::text[], %(anonymous_ids)s::text[]) AS n(guid, "anonymousId")
WHERE "eventGuid" = n.guid AND value = n."anonymousId";

-- drop --
-- Claimed rows of people who were forgotten, with their data.
WITH dropped AS (
    DELETE FROM events WHERE guid = ANY(%(guids)s)
)
DELETE FROM "eventData" WHERE "eventGuid" = ANY(%(guids)s);

-- unresolved --
-- What waits, and what never will be resolved.
SELECT
    count(*) FILTER (WHERE somebody), count(*) FILTER (WHERE somebody IS NOT TRUE),
    coalesce(extract(epoch FROM now() - min("createdAt") FILTER (WHERE somebody)), 0)
FROM (
    SELECT "createdAt", (
        lower(btrim("userId", %(space)s)) <> ALL(%(nobody)s)
        OR lower(btrim("anonymousId", %(space)s)) <> ALL(%(nobody)s)
    ) AS somebody
    FROM events
    WHERE "profileGuid" IS NULL
) AS waiting;

-- moves --
-- Merges whose events still follow.
SELECT count(*) FROM "eventMoves";
