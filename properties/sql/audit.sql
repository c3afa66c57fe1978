-- unsettled --
-- Profiles of which notes tell that are not applied yet, that are counted anew, or whose window
-- has moved on. They are not compared.
SELECT DISTINCT profile
FROM (
    SELECT unnest(profiles) AS profile FROM "eventChanges"
    UNION ALL
    SELECT events."profileGuid"
    FROM "eventChanges" CROSS JOIN LATERAL unnest("eventChanges".events) AS touched(event)
    JOIN events ON events.guid = touched.event
    WHERE kind = 'data'
    UNION ALL
    SELECT "profileGuid" FROM "propertyRecounts"
    UNION ALL
    SELECT "profileGuid" FROM "propertyStates" WHERE "expiresAt" <= %(now)s
) AS waiting
WHERE profile IS NOT NULL;

-- set_aside --
-- Profiles for which nothing is computed.
SELECT subject FROM "setAside" WHERE kind = 'profile' AND state <> 'retried';

-- profiles --
-- How many there are, about.
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'profiles'::regclass;

-- next --
-- Some profiles, in the order of their guids.
SELECT guid, "userId" FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(at_most)s;

-- events --
-- All their events of the types that rules are about, as in counting.sql.
SELECT
    events."profileGuid", (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
    events.guid, events.type, events."userId", left(events."ipAddress", %(longest)s + 1), (
        SELECT jsonb_object_agg(last.key, last.value)
        FROM (
            SELECT DISTINCT ON (key COLLATE "C")
                key, CASE WHEN octet_length(value) <= %(longest)s THEN value END AS value
            FROM "eventData"
            WHERE "eventGuid" = events.guid AND key = ANY(%(keys)s)
            ORDER BY key COLLATE "C", guid DESC
        ) AS last
    )
FROM events
WHERE events."profileGuid" = ANY(%(profiles)s) AND events.type = ANY(%(types)s)
    AND events."occurredAt" IS NOT NULL;

-- stored --
-- What is stored of them.
SELECT "profileGuid", key, array_agg(left(value, %(longest)s + 1) ORDER BY position)
FROM "profileProperties"
WHERE "profileGuid" = ANY(%(profiles)s) AND key = ANY(%(keys)s)
GROUP BY "profileGuid", key;

-- strays --
-- Properties of profiles that do not exist.
SELECT DISTINCT "profileGuid", key
FROM "profileProperties" AS stored
WHERE NOT EXISTS (SELECT FROM profiles WHERE profiles.guid = stored."profileGuid")
    AND "profileGuid" <> ALL(%(unsettled)s)
LIMIT 100;
