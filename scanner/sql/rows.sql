-- claim --
-- The oldest unresolved rows with an id that names somebody, after a place in their order. Left out,
-- without a lock: rows that another scanner has locked, rows without such an id, rows set aside.
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
    AND NOT EXISTS (
        SELECT FROM "setAside"
        WHERE kind = 'row' AND subject = events.guid AND state <> 'retried'
    )
ORDER BY "createdAt", guid
LIMIT %(limit)s
FOR NO KEY UPDATE OF events SKIP LOCKED;

-- claim_these --
-- As `claim`, of these rows.
SELECT
    guid, "createdAt", coalesce("occurredAt", "createdAt") AS "occurredAt",
    "userId", "anonymousId"
FROM events
WHERE guid = ANY(%(guids)s::text[]) AND "profileGuid" IS NULL
ORDER BY "createdAt", guid
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
-- What waits, and what never will be resolved; rows that are set aside are neither.
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
        AND NOT EXISTS (
            SELECT FROM "setAside"
            WHERE kind = 'row' AND subject = events.guid AND state <> 'retried'
        )
) AS waiting;

-- moves --
-- Merges whose events still follow.
SELECT count(*) FROM "eventMoves";
