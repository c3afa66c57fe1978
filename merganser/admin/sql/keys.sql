-- create_key --
-- Insert an API key and return its guid, and whether it is new. `ensure_key` may meet its own key, inserted with fewer permissions
-- by an older version: then update it. If its kind would change, a trigger refuses that.
INSERT INTO "apiKeys" (name, "keyHash", kind, permissions, origins, rate)
VALUES (%(name)s, %(hash)s, %(kind)s, %(permissions)s, %(origins)s, %(rate)s)
ON CONFLICT ("keyHash") DO UPDATE
SET kind = excluded.kind, permissions = excluded.permissions, "updatedAt" = now()
RETURNING guid, "createdAt" = "updatedAt";

-- list_keys --
-- Return at most so many keys, the newest valid ones before others, or only the key with a guid. Each has its
-- last use and the counts of the last 24 hours. The order is by age, the oldest first.
SELECT keys.guid, keys.name, keys.kind, keys.permissions, keys.origins, keys.rate, keys."createdAt",
    keys."revokedAt", last."lastUsedAt", day.events, day.refused
FROM (
    SELECT * FROM "apiKeys"
    WHERE %(guid)s::text IS NULL OR guid = %(guid)s
    ORDER BY "revokedAt" IS NOT NULL, "createdAt" DESC, guid
    LIMIT %(limit)s
) AS keys
LEFT JOIN LATERAL (
    SELECT "lastUsedAt" FROM "keyUsage" WHERE "keyGuid" = keys.guid ORDER BY hour DESC LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT array_agg(coalesce(used.events, 0) ORDER BY hours.hour) AS events,
        array_agg(coalesce(used.refused, 0) ORDER BY hours.hour) AS refused
    FROM generate_series(
        date_trunc('hour', now(), 'UTC') - interval '23 hours', now(), interval '1 hour'
    ) AS hours (hour)
    LEFT JOIN "keyUsage" AS used ON used."keyGuid" = keys.guid AND used.hour = hours.hour
) AS day
ORDER BY keys."createdAt", keys.guid;

-- change_keys --
-- Change the publishable key with this guid or, if there is none, those with this name; null leaves a column
-- as it is.
UPDATE "apiKeys"
SET origins = coalesce(%(origins)s::text[], origins), rate = coalesce(%(rate)s::real, rate), "updatedAt" = now()
WHERE CASE
        WHEN EXISTS (SELECT FROM "apiKeys" WHERE guid = %(guid_or_name)s) THEN guid = %(guid_or_name)s
        ELSE name = %(guid_or_name)s
    END
    AND kind = 'publishable'
    AND "revokedAt" IS NULL
RETURNING guid, name;

-- revoke_keys --
-- Revoke the key with this guid or, if there is none, those with this name.
UPDATE "apiKeys" SET "revokedAt" = now(), "updatedAt" = now()
WHERE CASE
        WHEN EXISTS (SELECT FROM "apiKeys" WHERE guid = %(guid_or_name)s) THEN guid = %(guid_or_name)s
        ELSE name = %(guid_or_name)s
    END
    AND "revokedAt" IS NULL
RETURNING guid, name;
