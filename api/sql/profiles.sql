-- Profiles, by indexes of keys. Each page is of guids, in their order, after the one before.

-- by_guid --
-- The profiles after one.
SELECT guid FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(wanted)s;

-- by_user --
-- The profile of a userId.
SELECT guid FROM profiles WHERE "userId" = %(userId)s AND guid > %(after)s;

-- by_visitor --
-- The profile of an anonymousId.
SELECT "profileGuid" FROM "anonymousIds"
WHERE "anonymousId" = %(anonymousId)s AND "profileGuid" > %(after)s;

-- by_property --
-- The profiles whose property has a value, or as an array contains it.
SELECT DISTINCT "profileGuid"
FROM "profileProperties"
WHERE key = %(property)s
    AND left(value, 255) COLLATE "C" = left(%(value)s, 255) AND value = %(value)s
    AND "profileGuid" > %(after)s
ORDER BY "profileGuid"
LIMIT %(wanted)s;

-- profiles --
-- Profiles by their guids.
SELECT guid, "userId", "createdAt", "updatedAt" FROM profiles WHERE guid = ANY(%(guids)s)
ORDER BY guid;

-- visitors --
-- The anonymousIds of profiles, up to a number of each.
SELECT visitors."profileGuid", visitors."anonymousId"
FROM unnest(%(guids)s::text[]) AS wanted (guid)
CROSS JOIN LATERAL (
    SELECT * FROM "anonymousIds" WHERE "profileGuid" = wanted.guid LIMIT %(most)s
) AS visitors
ORDER BY visitors."profileGuid", visitors."anonymousId";

-- properties --
-- The properties of profiles with the type that their rule gives them; null for a value where the
-- profiles before have so many bytes already.
SELECT properties."profileGuid", properties.key,
    CASE WHEN coalesce(bytes_before, 0) < %(bytes)s THEN properties.value END,
    rules.definition ->> 'type', coalesce((rules.definition ->> 'array')::boolean, false)
FROM (
    SELECT properties.*,
        sum(octet_length(properties.key) + octet_length(properties.value)) OVER (
            ORDER BY properties."profileGuid"
            GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM unnest(%(guids)s::text[]) AS wanted (guid)
    CROSS JOIN LATERAL (
        SELECT * FROM "profileProperties" WHERE "profileGuid" = wanted.guid
        ORDER BY key, position
        LIMIT %(most)s
    ) AS properties
) AS properties
LEFT JOIN "profilePropertyRules" AS rules USING (key)
ORDER BY properties."profileGuid", properties.key, properties.position;

-- today --
-- Where a profile is today: itself, or after merges the profile of its anonymousId.
WITH RECURSIVE trail (guid, step) AS (
    SELECT %(guid)s::text COLLATE "C", 0
    UNION ALL
    SELECT coalesce(visitors."profileGuid", merges."survivorGuid"), step + 1
    FROM trail
    JOIN "profileMerges" AS merges ON merges."loserGuid" = trail.guid AND merges.reason = 'merged'
    LEFT JOIN "anonymousIds" AS visitors ON visitors."anonymousId" = merges."anonymousId"
    WHERE step < 100 AND NOT EXISTS (SELECT FROM profiles WHERE profiles.guid = trail.guid)
)
SELECT guid FROM trail JOIN profiles USING (guid) ORDER BY step LIMIT 1;

-- merges --
-- What came to a profile and what left it, newest first.
SELECT "createdAt", "anonymousId", "eventGuid", reason, "userId", "loserGuid", "survivorGuid"
FROM (
    (
        SELECT * FROM "profileMerges"
        WHERE "survivorGuid" = %(guid)s
            AND ("createdAt", "anonymousId", "eventGuid")
                < (%(before)s, %(beforeId)s, %(beforeGuid)s)
        ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
        LIMIT %(wanted)s
    )
    UNION ALL
    (
        SELECT * FROM "profileMerges"
        WHERE "loserGuid" = %(guid)s
            AND ("createdAt", "anonymousId", "eventGuid")
                < (%(before)s, %(beforeId)s, %(beforeGuid)s)
        ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
        LIMIT %(wanted)s
    )
) AS merges
ORDER BY "createdAt" DESC, "anonymousId" DESC, "eventGuid" DESC
LIMIT %(wanted)s;
