-- Profiles. Pages are sorted by guid; each statement uses an index.

-- by_guid --
-- The guids after one.
SELECT guid FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(limit)s;

-- by_user --
-- The profile of a userId.
SELECT guid FROM profiles WHERE "userId" = %(userId)s AND guid > %(after)s;

-- by_anonymous_id --
-- The profile of an anonymousId.
SELECT "profileGuid" FROM "anonymousIds"
WHERE "anonymousId" = %(anonymousId)s AND "profileGuid" > %(after)s;

-- by_property --
-- The profiles whose property has a value, or has an array that contains it.
SELECT DISTINCT "profileGuid"
FROM "profileProperties"
WHERE key = %(property)s
    AND left(value, 255) COLLATE "C" = left(%(value)s, 255) AND value = %(value)s
    AND "profileGuid" > %(after)s
ORDER BY "profileGuid"
LIMIT %(limit)s;

-- profiles --
-- Profiles by their guids.
SELECT guid, "userId", "createdAt", "updatedAt" FROM profiles WHERE guid = ANY(%(guids)s)
ORDER BY guid;

-- anonymous_ids --
-- The anonymousIds of profiles, up to maxRows of each. They are null for a profile that exceeds_total:
-- the profiles before it have maxTotalBytes already.
SELECT "profileGuid", CASE WHEN NOT exceeds_total THEN "anonymousId" END, exceeds_total
FROM (
    SELECT ids."profileGuid", ids."anonymousId",
        coalesce(
            sum(octet_length(ids."anonymousId")) OVER (
                ORDER BY ids."profileGuid"
                GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) >= %(maxTotalBytes)s AS exceeds_total
    FROM unnest(%(guids)s::text[]) AS requested (guid)
    CROSS JOIN LATERAL (
        SELECT * FROM "anonymousIds" WHERE "profileGuid" = requested.guid LIMIT %(maxRows)s
    ) AS ids
) AS bounded
ORDER BY "profileGuid", "anonymousId";

-- properties --
-- The properties of profiles with the type that their rule sets, if the rule is valid. A row has no
-- value
-- - if it exceeds maxProfileBytes, alone or together with the profile's rows before it, or
-- - if its profile exceeds_total: the profiles before it have maxTotalBytes already.
-- The last column says that the profile has more properties than these.
SELECT bounded."profileGuid", bounded.key, exceeds_total,
    CASE WHEN fits AND NOT exceeds_total THEN value END,
    rules.definition ->> 'type', coalesce(rules.definition -> 'array' = 'true'::jsonb, false),
    more OR NOT fits
FROM (
    SELECT *,
        coalesce(
            sum(size) FILTER (WHERE fits) OVER (
                ORDER BY "profileGuid" GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) >= %(maxTotalBytes)s AS exceeds_total
    FROM (
        SELECT properties.*,
            size <= %(maxProfileBytes)s
                AND sum(size) FILTER (WHERE size <= %(maxProfileBytes)s) OVER (
                    PARTITION BY "profileGuid" ORDER BY key, position
                ) <= %(maxProfileBytes)s AS fits
        FROM unnest(%(guids)s::text[]) AS requested (guid)
        CROSS JOIN LATERAL (
            SELECT *
            FROM (
                SELECT first.*, octet_length(key) + octet_length(value) AS size,
                    count(*) OVER () > %(maxRows)s AS more,
                    row_number() OVER (ORDER BY key, position) AS number
                FROM (
                    SELECT * FROM "profileProperties" WHERE "profileGuid" = requested.guid
                    ORDER BY key, position
                    LIMIT %(maxRows)s + 1
                ) AS first
            ) AS numbered
            WHERE number <= %(maxRows)s
        ) AS properties
    ) AS measured
) AS bounded
LEFT JOIN "profilePropertyRules" AS rules USING (key)
ORDER BY bounded."profileGuid", bounded.key, bounded.position;

-- follow_merges --
-- The guid of a profile: its own, or after merges that of the profile of its anonymousId.
WITH RECURSIVE trail (guid, step) AS (
    SELECT %(guid)s::text COLLATE "C", 0
    UNION ALL
    SELECT coalesce(ids."profileGuid", merges."survivorGuid"), step + 1
    FROM trail
    JOIN "profileMerges" AS merges ON merges."loserGuid" = trail.guid AND merges.reason = 'merged'
    LEFT JOIN "anonymousIds" AS ids ON ids."anonymousId" = merges."anonymousId"
    WHERE step < 100 AND NOT EXISTS (SELECT FROM profiles WHERE profiles.guid = trail.guid)
)
SELECT guid FROM trail JOIN profiles USING (guid) ORDER BY step LIMIT 1;

-- merges --
-- The anonymousIds that a profile got or lost, newest first.
SELECT "createdAt", "anonymousId", "eventGuid", reason, "userId", "loserGuid", "survivorGuid"
FROM (
    (
        SELECT * FROM "profileMerges"
        WHERE "survivorGuid" = %(guid)s
            AND ("createdAt", "anonymousId", "eventGuid")
                < (%(before)s, %(beforeId)s, %(beforeGuid)s)
        ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT * FROM "profileMerges"
        WHERE "loserGuid" = %(guid)s
            AND ("createdAt", "anonymousId", "eventGuid")
                < (%(before)s, %(beforeId)s, %(beforeGuid)s)
        ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
        LIMIT %(limit)s
    )
) AS merges
ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
LIMIT %(limit)s;

-- newest_profiles --
-- The profiles with the greatest guids. Guids of UUIDv7 grow with time.
SELECT guid FROM profiles ORDER BY guid DESC LIMIT %(limit)s;

-- sample --
-- All profiles if there are at most maxProfiles, else about so many, of random pages of the table;
-- known users first. The same ones as long as the table does not change.
WITH counted AS (SELECT count(*) AS profiles FROM (SELECT FROM profiles LIMIT %(maxProfiles)s + 1) AS first)
SELECT guid, "userId", counted.profiles <= %(maxProfiles)s
FROM (
    SELECT guid, "userId"
    FROM profiles TABLESAMPLE SYSTEM ((
        SELECT CASE
            WHEN counted.profiles <= %(maxProfiles)s THEN 100
            ELSE least(100, 120.0 * %(maxProfiles)s / greatest(reltuples, 1))
        END::real
        FROM counted, pg_class
        WHERE oid = 'profiles'::regclass
    )) REPEATABLE (1)
    LIMIT %(maxProfiles)s
) AS picked, counted
ORDER BY "userId" IS NULL, guid;

-- count_values --
-- How many of some profiles have a value of each property.
SELECT wanted.key, count(*)
FROM unnest(%(keys)s::text[]) AS wanted (key)
CROSS JOIN unnest(%(guids)s::text[]) AS profile (guid)
WHERE EXISTS (
    SELECT FROM "profileProperties"
    WHERE "profileGuid" = profile.guid AND key = wanted.key AND position = 0
)
GROUP BY wanted.key;

-- newest_merges --
-- The merges of all profiles, newest first.
SELECT "createdAt", "anonymousId", "eventGuid", reason, "userId", "loserGuid", "survivorGuid"
FROM "profileMerges"
ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
LIMIT %(limit)s;

-- property_times --
-- When each property of a profile changed last, among its first values.
SELECT key, max("updatedAt")
FROM (
    SELECT key, "updatedAt" FROM "profileProperties" WHERE "profileGuid" = %(guid)s
    ORDER BY key, position LIMIT %(maxRows)s
) AS first
GROUP BY key;

-- first_seen --
-- The earliest time of each anonymousId's events, among a limited number of them.
SELECT requested.id, min(coalesce(found."occurredAt", found."createdAt"))
FROM unnest(%(ids)s::text[]) AS requested (id)
CROSS JOIN LATERAL (
    SELECT "occurredAt", "createdAt" FROM events
    WHERE "anonymousId" = requested.id
    LIMIT %(maxEvents)s
) AS found
GROUP BY requested.id;

-- merges_of_event --
-- The merges that an event caused.
SELECT "createdAt", "anonymousId", "eventGuid", reason, "userId", "loserGuid", "survivorGuid"
FROM "profileMerges"
WHERE "anonymousId" = %(anonymousId)s AND "eventGuid" = %(event)s
ORDER BY "createdAt" LIMIT %(limit)s;

-- count_merges --
-- How many merges there were since a time, counted up to a limit.
SELECT count(*)
FROM (SELECT FROM "profileMerges" WHERE "createdAt" >= %(since)s LIMIT %(limit)s) AS counted;
