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
-- The anonymousIds of profiles, up to a number of each; null for all of a profile that is `beyond`, as
-- the profiles before have so many bytes already.
SELECT "profileGuid", CASE WHEN NOT beyond THEN "anonymousId" END, beyond
FROM (
    SELECT visitors."profileGuid", visitors."anonymousId",
        coalesce(
            sum(octet_length(visitors."anonymousId")) OVER (
                ORDER BY visitors."profileGuid"
                GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) >= %(bytes)s AS beyond
    FROM unnest(%(guids)s::text[]) AS wanted (guid)
    CROSS JOIN LATERAL (
        SELECT * FROM "anonymousIds" WHERE "profileGuid" = wanted.guid LIMIT %(most)s
    ) AS visitors
) AS bounded
ORDER BY "profileGuid", "anonymousId";

-- properties --
-- The properties of profiles with the type that their rule gives them. Some are without their value:
-- those after the first ones of a profile that have so many bytes together, those that have more
-- alone, and all of a profile that is `beyond`, as the profiles before it have so many bytes
-- already. The last column says that the profile has more properties than this. A rule that somebody
-- broke gives no type.
SELECT bounded."profileGuid", bounded.key, beyond, CASE WHEN shown AND NOT beyond THEN value END,
    rules.definition ->> 'type', coalesce(rules.definition -> 'array' = 'true'::jsonb, false),
    more OR NOT shown
FROM (
    SELECT *,
        coalesce(
            sum(size) FILTER (WHERE shown) OVER (
                ORDER BY "profileGuid" GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) >= %(bytes)s AS beyond
    FROM (
        SELECT properties.*,
            size <= %(one)s
                AND sum(size) FILTER (WHERE size <= %(one)s) OVER (
                    PARTITION BY "profileGuid" ORDER BY key, position
                ) <= %(one)s AS shown
        FROM unnest(%(guids)s::text[]) AS wanted (guid)
        CROSS JOIN LATERAL (
            SELECT *
            FROM (
                SELECT first.*, octet_length(key) + octet_length(value) AS size,
                    count(*) OVER () > %(most)s AS more,
                    row_number() OVER (ORDER BY key, position) AS number
                FROM (
                    SELECT * FROM "profileProperties" WHERE "profileGuid" = wanted.guid
                    ORDER BY key, position
                    LIMIT %(most)s + 1
                ) AS first
            ) AS numbered
            WHERE number <= %(most)s
        ) AS properties
    ) AS measured
) AS bounded
LEFT JOIN "profilePropertyRules" AS rules USING (key)
ORDER BY bounded."profileGuid", bounded.key, bounded.position;

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
