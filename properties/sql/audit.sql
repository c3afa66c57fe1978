-- read_pending --
-- Profiles with event changes that are not applied yet, with a rebuild, or from which an event has
-- left a window. The audit does not compare them.
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
) AS pending
WHERE profile IS NOT NULL;

-- estimate_profiles --
-- The approximate number of profiles.
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'profiles'::regclass;

-- read_next_profiles --
-- The next profiles in the order of their guids.
SELECT guid, "userId" FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(limit)s;

-- read_orphans --
-- Properties of profiles that do not exist.
SELECT DISTINCT "profileGuid", key
FROM "profileProperties" AS stored
WHERE NOT EXISTS (SELECT FROM profiles WHERE profiles.guid = stored."profileGuid")
    AND "profileGuid" <> ALL(%(unsettled)s)
LIMIT 100;
