-- add_counts --
-- Add to the counts of API keys by hour, and delete hours that are older than 30 days. All processes lock
-- the rows in the same order. The deletion skips rows that another process deletes.
WITH expired AS (
    DELETE FROM "keyUsage"
    WHERE ("keyGuid", hour) IN (
        SELECT "keyGuid", hour FROM "keyUsage"
        WHERE hour < now() - interval '30 days'
        ORDER BY hour
        LIMIT 1000
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO "keyUsage" AS stored ("keyGuid", hour, events, refused, "lastUsedAt")
SELECT key, to_timestamp(hour * 3600), events, refused, to_timestamp(used)
FROM unnest(
    %(hours)s::bigint[], %(keys)s::text[], %(events)s::bigint[], %(refused)s::bigint[], %(used)s::float8[]
) AS counted (hour, key, events, refused, used)
WHERE to_timestamp(hour * 3600) >= now() - interval '30 days'
ORDER BY key, hour
ON CONFLICT ("keyGuid", hour) DO UPDATE
SET events = stored.events + excluded.events,
    refused = stored.refused + excluded.refused,
    "lastUsedAt" = greatest(stored."lastUsedAt", excluded."lastUsedAt");
