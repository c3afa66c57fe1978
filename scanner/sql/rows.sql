-- lock_next_rows --
-- The oldest unresolved rows after a row. Skips rows without an id that names somebody, rows that are
-- set aside, and rows that another scanner has locked.
SELECT
    guid, "createdAt", coalesce("occurredAt", "createdAt") AS "occurredAt",
    "userId", "anonymousId",
    CASE WHEN EXISTS (
        SELECT FROM "apiKeys" AS keys
        WHERE keys.guid = events."producerGuid" AND keys.kind = 'publishable'
    ) THEN "createdAt" END AS "receivedAt"
FROM events
WHERE "profileGuid" IS NULL
    AND ("createdAt", guid) > (%(after_time)s, %(after_guid)s)
    AND (
        lower(btrim("userId", %(white_space)s)) <> ALL(%(nobody_ids)s)
        OR lower(btrim("anonymousId", %(white_space)s)) <> ALL(%(nobody_ids)s)
    )
    AND NOT EXISTS (
        SELECT FROM "setAside"
        WHERE kind = 'row' AND subject = events.guid AND state <> 'retried'
    )
ORDER BY "createdAt", guid
LIMIT %(batch_size)s
FOR NO KEY UPDATE OF events SKIP LOCKED;

-- lock_rows --
-- Those of these rows that are unresolved. Skips rows that another scanner has locked.
SELECT
    guid, "createdAt", coalesce("occurredAt", "createdAt") AS "occurredAt",
    "userId", "anonymousId",
    CASE WHEN EXISTS (
        SELECT FROM "apiKeys" AS keys
        WHERE keys.guid = events."producerGuid" AND keys.kind = 'publishable'
    ) THEN "createdAt" END AS "receivedAt"
FROM events
WHERE guid = ANY(%(guids)s::text[]) AND "profileGuid" IS NULL
ORDER BY "createdAt", guid
FOR NO KEY UPDATE SKIP LOCKED;

-- set_profiles --
-- Set the profile of each row, and remove placeholders. An event without a time occurred when it was created.
UPDATE events
SET "profileGuid" = n.profile,
    "userId" = CASE WHEN NOT n."withoutUser" THEN "userId" END,
    "occurredAt" = coalesce("occurredAt", "createdAt"),
    "updatedAt" = now()
FROM unnest(%(guids)s::text[], %(profiles)s::text[], %(without_user)s::boolean[])
    AS n(guid, profile, "withoutUser")
WHERE events.guid = n.guid;

-- set_profiles_and_detach --
-- Like `set_profiles`, for rows of users whose anonymousId is suppressed: remove it from the row, and
-- delete data whose value is the anonymousId.
WITH updated AS (
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

-- delete_rows --
-- Delete rows whose only ids are suppressed, with their data.
WITH deleted AS (
    DELETE FROM events WHERE guid = ANY(%(guids)s)
)
DELETE FROM "eventData" WHERE "eventGuid" = ANY(%(guids)s);

-- count_unresolved --
-- Rows that will be resolved, rows that never will be, and the age of the oldest one that will be.
-- Rows that are set aside do not count. With a limit, the oldest rows count.
SELECT
    count(*) FILTER (WHERE resolvable), count(*) FILTER (WHERE resolvable IS NOT TRUE),
    coalesce(extract(epoch FROM now() - min("createdAt") FILTER (WHERE resolvable)), 0)
FROM (
    SELECT "createdAt", (
        lower(btrim("userId", %(white_space)s)) <> ALL(%(nobody_ids)s)
        OR lower(btrim("anonymousId", %(white_space)s)) <> ALL(%(nobody_ids)s)
    ) AS resolvable
    FROM events
    WHERE "profileGuid" IS NULL
        AND NOT EXISTS (
            SELECT FROM "setAside"
            WHERE kind = 'row' AND subject = events.guid AND state <> 'retried'
        )
    ORDER BY "createdAt", guid
    LIMIT %(max_rows)s::bigint
) AS unresolved;
