-- take_changes --
-- Delete and return the oldest event changes, up to about so many events and profiles.
DELETE FROM "eventChanges"
WHERE id IN (
    SELECT id
    FROM (
        SELECT id, size, sum(size) OVER (ORDER BY id) AS total
        FROM (SELECT id, size FROM "eventChanges" ORDER BY id LIMIT 2000) AS oldest
    ) AS summed
    WHERE total - size < %(max_events)s
)
RETURNING kind, events, profiles, "createdAt";

-- defer --
-- Record again what this transaction leaves to a later one, with the time of the oldest change that
-- it took.
INSERT INTO "eventChanges" (kind, size, events, profiles, "createdAt")
SELECT 'placed', count(*), array_agg(event), array_agg(profile), %(created_at)s
FROM (
    SELECT event, profile, row_number() OVER () / 5000 AS part
    FROM unnest(%(events)s::text[], %(profiles)s::text[]) AS placed(event, profile)
) AS parts
GROUP BY part
UNION ALL
SELECT 'left', count(*), NULL, array_agg(profile), %(created_at)s
FROM unnest(%(rebuild)s::text[]) AS rebuild(profile)
HAVING count(*) > 0;

-- read_oldest_age --
-- Seconds since the oldest pending change was recorded; 0 if none is pending.
SELECT coalesce(
    (SELECT extract(epoch FROM now() - "createdAt") FROM "eventChanges" ORDER BY id LIMIT 1), 0
);

-- has_changes --
-- Whether the snapshot of this transaction has pending changes.
SELECT EXISTS (SELECT FROM "eventChanges");

-- read_profiles_of --
-- The profiles of events.
SELECT DISTINCT "profileGuid"
FROM events
WHERE guid = ANY(%(events)s::text[]) AND "profileGuid" IS NOT NULL;

-- read_placed_events --
-- Events that are still where they were placed; later changes record the moves of the others. An
-- event without occurredAt, which only an external system can write, counts when it gets one. If a
-- data key occurs twice, the last row by guid counts. A value longer than allowed is returned as
-- null, and Postgres does not even read it. Texts are left out if an event has more than max_bytes.
SELECT
    events."profileGuid", (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
    events.guid, events.type, events."userId",
    CASE WHEN sizes.bytes <= %(max_bytes)s THEN left(events."ipAddress", %(max_value_bytes)s + 1) END,
    CASE WHEN sizes.bytes <= %(max_bytes)s THEN data.pairs END,
    sizes.bytes
FROM unnest(%(events)s::text[], %(profiles)s::text[]) AS placed(event, profile)
JOIN events ON events.guid = placed.event AND events."profileGuid" = placed.profile
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(last.key, last.value) AS pairs, sum(octet_length(last.value)) AS bytes
    FROM (
        SELECT DISTINCT ON (key COLLATE "C")
            key, CASE WHEN octet_length(value) <= %(max_value_bytes)s THEN value END AS value
        FROM "eventData"
        WHERE "eventData"."eventGuid" = events.guid AND "eventData".key = ANY(%(keys)s)
        ORDER BY key COLLATE "C", guid DESC
    ) AS last
) AS data
CROSS JOIN LATERAL (
    SELECT coalesce(data.bytes, 0)
        + least(coalesce(octet_length(events."ipAddress"), 0), 4 * %(max_value_bytes)s)
) AS sizes(bytes)
WHERE events.type = ANY(%(types)s) AND events."occurredAt" IS NOT NULL;
