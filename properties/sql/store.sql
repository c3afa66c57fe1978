-- read_profiles --
-- The states of profiles, how far their rebuilds are, and whether they are set aside. States of more
-- than max_bytes are left out.
SELECT
    profiles.guid, profiles."userId", profiles."createdAt",
    profiles.guid IN (
        SELECT subject FROM "setAside" WHERE kind = 'profile' AND state <> 'retried'
    ),
    sizes.bytes,
    CASE WHEN sizes.bytes <= %(max_bytes)s THEN states.state END, states.checksum,
    CASE WHEN sizes.bytes <= %(max_bytes)s THEN rebuilds.state END, rebuilds.checksum,
    rebuilds."profileGuid" IS NOT NULL,
    (extract(epoch FROM rebuilds."reachedAt") * 1000000)::bigint, rebuilds."reachedGuid"
FROM profiles
LEFT JOIN "propertyStates" AS states ON states."profileGuid" = profiles.guid
LEFT JOIN "propertyRecounts" AS rebuilds ON rebuilds."profileGuid" = profiles.guid
CROSS JOIN LATERAL (
    SELECT coalesce(octet_length(states.state), 0) + coalesce(octet_length(rebuilds.state), 0)
) AS sizes(bytes)
WHERE profiles.guid = ANY(%(profiles)s::text[]);

-- write_states --
-- Insert or replace states.
INSERT INTO "propertyStates" ("profileGuid", state, checksum, "expiresAt")
SELECT *
FROM unnest(
    %(profiles)s::text[], %(states)s::text[], %(checksums)s::bigint[], %(expires)s::timestamptz[]
)
ON CONFLICT ("profileGuid") DO UPDATE
SET state = excluded.state, checksum = excluded.checksum, "expiresAt" = excluded."expiresAt";

-- write_rebuilds --
-- Insert or replace the progress of rebuilds.
INSERT INTO "propertyRecounts" ("profileGuid", state, checksum, "reachedAt", "reachedGuid")
SELECT *
FROM unnest(
    %(profiles)s::text[], %(states)s::text[], %(checksums)s::bigint[],
    %(reached_at)s::timestamptz[], %(reached_guid)s::text[]
)
ON CONFLICT ("profileGuid") DO UPDATE
SET state = excluded.state,
    checksum = excluded.checksum,
    "reachedAt" = excluded."reachedAt",
    "reachedGuid" = excluded."reachedGuid";

-- start_rebuilds --
-- Start rebuilds. A running rebuild starts again from the first event.
INSERT INTO "propertyRecounts" ("profileGuid")
SELECT * FROM unnest(%(profiles)s::text[])
ON CONFLICT ("profileGuid") DO UPDATE
SET state = NULL, checksum = NULL, "reachedAt" = NULL, "reachedGuid" = NULL;

-- delete_states --
-- Delete the states of profiles.
DELETE FROM "propertyStates" WHERE "profileGuid" = ANY(%(profiles)s::text[]);

-- delete_rebuilds --
-- Delete the rebuilds of profiles.
DELETE FROM "propertyRecounts" WHERE "profileGuid" = ANY(%(profiles)s::text[]);

-- count_rebuilds --
-- Count the profiles that wait for a rebuild.
SELECT count(*) FROM "propertyRecounts";

-- count_events --
-- Count the events of a profile, up to a limit.
SELECT count(*)
FROM (SELECT FROM events WHERE "profileGuid" = %(profile)s LIMIT %(limit)s) AS counted;

-- read_events --
-- All events of profiles, of the types that rules count. Data as in read_placed_events.
SELECT
    events."profileGuid", (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
    events.guid, events.type, events."userId", left(events."ipAddress", %(max_value_bytes)s + 1), (
        SELECT jsonb_object_agg(last.key, last.value)
        FROM (
            SELECT DISTINCT ON (key COLLATE "C")
                key, CASE WHEN octet_length(value) <= %(max_value_bytes)s THEN value END AS value
            FROM "eventData"
            WHERE "eventGuid" = events.guid AND key = ANY(%(keys)s)
            ORDER BY key COLLATE "C", guid DESC
        ) AS last
    )
FROM events
WHERE events."profileGuid" = ANY(%(profiles)s) AND events.type = ANY(%(types)s)
    AND events."occurredAt" IS NOT NULL;
