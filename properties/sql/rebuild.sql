-- read_waiting --
-- The profiles that have waited longest for a rebuild, or whose rebuild is running.
SELECT "profileGuid" FROM "propertyRecounts" ORDER BY "createdAt", "profileGuid" LIMIT %(limit)s;

-- wait_again --
-- Put a rebuild that continues behind all others that wait.
UPDATE "propertyRecounts" SET "createdAt" = clock_timestamp() WHERE "profileGuid" = %(profile)s;

-- read_next_profiles --
-- The next profiles of a backfill. It includes profiles that were deleted while there was no rule, so
-- that no event change was recorded, but whose states or properties are still stored.
SELECT guid FROM (
    (SELECT guid FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(limit)s)
    UNION
    (
        SELECT "profileGuid" FROM "propertyStates"
        WHERE "profileGuid" > %(after)s ORDER BY "profileGuid" LIMIT %(limit)s
    )
    UNION
    (
        SELECT DISTINCT "profileGuid" FROM "profileProperties"
        WHERE "profileGuid" > %(after)s ORDER BY "profileGuid" LIMIT %(limit)s
    )
) AS known
ORDER BY guid
LIMIT %(limit)s;

-- read_rebuilds --
-- How far the rebuilds of profiles are, and whether the profiles are set aside.
SELECT
    profiles.guid,
    profiles.guid IN (
        SELECT subject FROM "setAside" WHERE kind = 'profile' AND state <> 'retried'
    ),
    profiles."userId", rebuilds.state, rebuilds.checksum,
    (extract(epoch FROM rebuilds."reachedAt") * 1000000)::bigint, rebuilds."reachedGuid"
FROM profiles
LEFT JOIN "propertyRecounts" AS rebuilds ON rebuilds."profileGuid" = profiles.guid
WHERE profiles.guid = ANY(%(profiles)s::text[]);

-- read_next_events --
-- The next events of profiles in order, up to a number of rows. A profile without further events has
-- one row of nulls. A profile without a row was not reached. Data as in read_placed_events.
SELECT
    wanted.profile, (extract(epoch FROM found."occurredAt") * 1000000)::bigint,
    found.guid, found.type, found."userId", left(found."ipAddress", %(max_value_bytes)s + 1),
    data.pairs,
    coalesce(data.bytes, 0)
        + least(coalesce(octet_length(found."ipAddress"), 0), 4 * %(max_value_bytes)s)
FROM unnest(%(profiles)s::text[], %(reached_at)s::timestamptz[], %(reached_guid)s::text[])
    AS wanted(profile, "reachedAt", "reachedGuid")
LEFT JOIN LATERAL (
    SELECT "occurredAt", guid, type, "userId", "ipAddress"
    FROM events
    WHERE events."profileGuid" = wanted.profile
        AND ("occurredAt", guid) > (
            coalesce(wanted."reachedAt", '-infinity'), coalesce(wanted."reachedGuid", '')
        )
    ORDER BY "occurredAt", guid
    LIMIT %(limit)s
) AS found ON true
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(last.key, last.value) AS pairs, sum(octet_length(last.value)) AS bytes
    FROM (
        SELECT DISTINCT ON (key COLLATE "C")
            key, CASE WHEN octet_length(value) <= %(max_value_bytes)s THEN value END AS value
        FROM "eventData"
        WHERE found.type = ANY(%(types)s)
            AND "eventData"."eventGuid" = found.guid
            AND "eventData".key = ANY(%(keys)s)
        ORDER BY key COLLATE "C", guid DESC
    ) AS last
) AS data ON true
LIMIT %(limit)s;

-- read_expired --
-- Profiles from which an event has left a window: the first ones, limited by their number and by the
-- bytes of their states.
SELECT "profileGuid"
FROM (
    SELECT "profileGuid",
        sum(octet_length(state)) OVER (ORDER BY "expiresAt", "profileGuid") - octet_length(state)
            AS before
    FROM (
        SELECT * FROM "propertyStates"
        WHERE "expiresAt" <= %(now)s ORDER BY "expiresAt" LIMIT %(limit)s
    ) AS first
) AS measured
WHERE before < %(max_bytes)s;
