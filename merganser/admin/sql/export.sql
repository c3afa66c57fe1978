-- These statements read tables that other folders own: an export reads all rows that are stored about a person
-- in one snapshot.

-- profile --
-- The profile itself.
SELECT json_build_object(
    'kind', 'profile', 'guid', guid, 'userId', "userId",
    'createdAt', "createdAt", 'updatedAt', "updatedAt"
)::text
FROM profiles WHERE guid = %(profile)s;

-- anonymous_ids --
-- The profile's anonymousIds.
SELECT json_build_object(
    'kind', 'anonymousId', 'anonymousId', "anonymousId",
    'linkedAt', "linkedAt", 'linkOccurredAt', coalesce("linkOccurredAt", "linkedAt"),
    'linkEventGuid', "linkEventGuid"
)::text
FROM "anonymousIds" WHERE "profileGuid" = %(profile)s ORDER BY "anonymousId";

-- merges --
-- How its anonymousIds came to the profile, and from which profiles.
SELECT json_build_object(
    'kind', 'merge', 'reason', reason, 'anonymousId', "anonymousId", 'eventGuid', "eventGuid",
    'loserGuid', "loserGuid", 'survivorGuid', "survivorGuid", 'createdAt', "createdAt"
)::text
FROM (
    SELECT * FROM "profileMerges" WHERE "survivorGuid" = %(profile)s
    UNION
    SELECT merges.*
    FROM "anonymousIds" AS owned
    JOIN "profileMerges" AS merges USING ("anonymousId")
    WHERE owned."profileGuid" = %(profile)s
) AS merges
ORDER BY "createdAt", "anonymousId", "eventGuid";

-- links --
-- What operators did with links: of its events, and of pruned events that are in its merges.
SELECT link
FROM (
    SELECT "eventGuid", "createdAt", json_build_object(
        'kind', 'linkChange', 'eventGuid', "eventGuid", 'action', action, 'reason', reason,
        'actor', actor, 'createdAt', "createdAt"
    )::text
    FROM "linkChanges"
    UNION ALL
    SELECT "eventGuid", NULL, json_build_object('kind', 'ignoredLink', 'eventGuid', "eventGuid")::text
    FROM "ignoredLinks"
) AS links("eventGuid", "createdAt", link)
LEFT JOIN events ON events.guid = "eventGuid"
WHERE "profileGuid" = %(profile)s OR events.guid IS NULL AND "eventGuid" IN (
    SELECT "eventGuid" FROM "profileMerges" WHERE "survivorGuid" = %(profile)s
    UNION ALL
    SELECT "eventGuid" FROM "profileMerges" WHERE "loserGuid" = %(profile)s AND reason = 'unlinked'
)
ORDER BY "eventGuid", links."createdAt";

-- properties --
-- Properties, from rules and from the company's databases.
SELECT json_build_object(
    'kind', 'property', 'key', key, 'position', position, 'value', value, 'updatedAt', "updatedAt"
)::text
FROM "profileProperties" WHERE "profileGuid" = %(profile)s ORDER BY key, position;

-- property_states --
-- Intermediate results of rules over its events.
SELECT json_build_object('kind', 'propertyState', 'state', state, 'expiresAt', "expiresAt")::text
FROM "propertyStates" WHERE "profileGuid" = %(profile)s;

-- property_rebuilds --
-- The same, of a rebuild in progress.
SELECT json_build_object(
    'kind', 'propertyRecount', 'state', state, 'createdAt', "createdAt",
    'reachedAt', "reachedAt", 'reachedGuid', "reachedGuid"
)::text
FROM "propertyRecounts" WHERE "profileGuid" = %(profile)s;

-- decorations --
-- When the decoration process queries the company's databases for it next.
SELECT json_build_object('kind', 'decoration', 'source', source, 'dueAt', "dueAt")::text
FROM "profileDecorations" WHERE "profileGuid" = %(profile)s ORDER BY source;

-- events --
-- Events with their data, in three parts: events on the profile, without those that a pending move
-- takes to another profile; events that a pending move brings; rows that the scanner has not
-- resolved yet.
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
    JOIN "anonymousIds" AS owned USING ("anonymousId")
    LEFT JOIN profiles AS former ON former.guid = moves."fromGuid"
    JOIN events ON events."anonymousId" = moves."anonymousId"
        AND events."profileGuid" = moves."fromGuid"
        AND (former."userId" IS NULL OR events."userId" IS DISTINCT FROM former."userId")
    WHERE owned."profileGuid" = %(profile)s AND moves."fromGuid" <> %(profile)s
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
