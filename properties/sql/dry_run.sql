-- profile --
-- The profile with this guid, else of this user, else of this visitor.
SELECT guid, "userId"
FROM (
    SELECT 1 AS rank, guid, "userId" FROM profiles WHERE guid = %(name)s
    UNION ALL
    SELECT 2, guid, "userId" FROM profiles WHERE "userId" = %(name)s
    UNION ALL
    SELECT 3, profiles.guid, profiles."userId"
    FROM "anonymousIds" JOIN profiles ON profiles.guid = "anonymousIds"."profileGuid"
    WHERE "anonymousId" = %(name)s
) AS named
ORDER BY rank
LIMIT 1;

-- events --
-- Its events of the types that the rule is about, in their order, as in counting.sql.
SELECT
    (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
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
WHERE events."profileGuid" = %(profile)s AND events.type = ANY(%(types)s)
    AND events."occurredAt" IS NOT NULL
ORDER BY events."occurredAt", events.guid;
