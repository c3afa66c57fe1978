-- add_counts --
-- Add to the counts of API keys by hour, and delete hours that are older than 30 days. All processes lock
-- the rows in the same order. The deletion skips rows that another process deletes.
WITH expired AS (
    DELETE FROM "keyUsage"
    WHERE (hour, "keyGuid") IN (
        SELECT hour, "keyGuid" FROM "keyUsage"
        WHERE hour < now() - interval '30 days'
        ORDER BY hour, "keyGuid"
        LIMIT 1000
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO "keyUsage" AS stored (hour, "keyGuid", events, refused, "lastUsedAt")
SELECT to_timestamp(hour * 3600), key, events, refused, to_timestamp(used)
FROM unnest(
    %(hours)s::bigint[], %(keys)s::text[], %(events)s::bigint[], %(refused)s::bigint[], %(used)s::float8[]
) AS counted (hour, key, events, refused, used)
WHERE to_timestamp(hour * 3600) >= now() - interval '30 days'
ORDER BY hour, key
ON CONFLICT (hour, "keyGuid") DO UPDATE
SET events = stored.events + excluded.events,
    refused = stored.refused + excluded.refused,
    "lastUsedAt" = greatest(stored."lastUsedAt", excluded."lastUsedAt");
