-- profile --
-- Who it is.
SELECT json_build_object(
    'kind', 'profile', 'guid', guid, 'userId', "userId",
    'createdAt', "createdAt", 'updatedAt', "updatedAt"
)::text
FROM profiles WHERE guid = %(profile)s;

-- anonymous_ids --
-- Its visitors.
SELECT json_build_object(
    'kind', 'anonymousId', 'anonymousId', "anonymousId",
    'linkedAt', "linkedAt", 'linkEventGuid', "linkEventGuid"
)::text
FROM "anonymousIds" WHERE "profileGuid" = %(profile)s ORDER BY "anonymousId";

-- merges --
-- How they came to it, and where they were before.
SELECT json_build_object(
    'kind', 'merge', 'reason', reason, 'anonymousId', "anonymousId", 'eventGuid', "eventGuid",
    'loserGuid', "loserGuid", 'survivorGuid', "survivorGuid", 'createdAt', "createdAt"
)::text
FROM (
    SELECT * FROM "profileMerges" WHERE "survivorGuid" = %(profile)s
    UNION
    SELECT merges.*
    FROM "anonymousIds" AS visitors
    JOIN "profileMerges" AS merges USING ("anonymousId")
    WHERE visitors."profileGuid" = %(profile)s
) AS merges
ORDER BY "createdAt", "anonymousId", "eventGuid";

-- properties --
-- What rules and the company's databases say of it.
SELECT json_build_object(
    'kind', 'property', 'key', key, 'position', position, 'value', value, 'updatedAt', "updatedAt"
)::text
FROM "profileProperties" WHERE "profileGuid" = %(profile)s ORDER BY key, position;

-- states --
-- What rules remember of its events.
SELECT json_build_object('kind', 'propertyState', 'state', state, 'expiresAt', "expiresAt")::text
FROM "propertyStates" WHERE "profileGuid" = %(profile)s;

-- recounts --
-- The same, while its events are counted again.
SELECT json_build_object(
    'kind', 'propertyRecount', 'state', state, 'createdAt', "createdAt",
    'reachedAt', "reachedAt", 'reachedGuid', "reachedGuid"
)::text
FROM "propertyRecounts" WHERE "profileGuid" = %(profile)s;

-- decorations --
-- Which of the company's databases are asked about it, and when.
SELECT json_build_object('kind', 'decoration', 'source', source, 'dueAt', "dueAt")::text
FROM "profileDecorations" WHERE "profileGuid" = %(profile)s ORDER BY source;

-- events --
-- What it did, with the data: its own events but those on their way to somebody else, those on
-- their way to it, and rows that the scanner has not come to yet.
SELECT json_build_object(
    'kind', 'event', 'guid', guid, 'type', type, 'userId', "userId",
    'anonymousId', "anonymousId", 'ipAddress', "ipAddress", 'producerGuid', "producerGuid",
    'occurredAt', "occurredAt", 'createdAt', "createdAt", 'updatedAt', "updatedAt",
    'data', (
        SELECT coalesce(json_agg(json_build_object('key', key, 'value', value)), '[]')
        FROM "eventData" WHERE "eventGuid" = events.guid
    )
)::text
FROM (
    SELECT events.*
    FROM events
    WHERE "profileGuid" = %(profile)s AND NOT EXISTS (
        SELECT FROM "eventMoves" AS moves
        JOIN profiles ON profiles.guid = moves."fromGuid"
        WHERE moves."fromGuid" = %(profile)s AND moves."anonymousId" = events."anonymousId"
            AND events."userId" IS DISTINCT FROM profiles."userId"
    )
    UNION ALL
    SELECT events.*
    FROM "eventMoves" AS moves
    JOIN "anonymousIds" AS visitors USING ("anonymousId")
    LEFT JOIN profiles AS former ON former.guid = moves."fromGuid"
    JOIN events ON events."anonymousId" = moves."anonymousId"
        AND events."profileGuid" = moves."fromGuid"
        AND (former."userId" IS NULL OR events."userId" IS DISTINCT FROM former."userId")
    WHERE visitors."profileGuid" = %(profile)s AND moves."fromGuid" <> %(profile)s
    UNION ALL
    SELECT events.*
    FROM events
    WHERE "profileGuid" IS NULL AND (
        "userId" = (SELECT "userId" FROM profiles WHERE guid = %(profile)s)
        OR "anonymousId" IN (
            SELECT "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %(profile)s
        )
    )
) AS events;
