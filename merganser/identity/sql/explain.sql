-- event --
-- One event, with the link that owns its anonymousId.
SELECT events.guid, events.type, coalesce(events."occurredAt", events."createdAt"),
    named."userId", events."anonymousId", events."profileGuid",
    visitors."userId", visitors."linkEventGuid", visitors."linkedAt"
FROM events
LEFT JOIN profiles AS named ON named."userId" = events."userId"
LEFT JOIN "anonymousIds" AS visitors USING ("anonymousId")
WHERE events.guid = %(id)s;

-- profile --
-- A profile by its guid or its userId.
SELECT guid, "userId", "createdAt" FROM profiles WHERE guid = %(id)s OR "userId" = %(id)s;

-- visitor --
-- An anonymousId.
SELECT "anonymousId", "profileGuid", "userId", "linkEventGuid", "linkedAt"
FROM "anonymousIds" WHERE "anonymousId" = %(id)s;

-- gone --
-- A profile that went: its anonymousId leads to where its events are today.
SELECT merges."loserGuid", visitors."anonymousId", visitors."profileGuid",
    merges."eventGuid", merges."createdAt"
FROM "profileMerges" AS merges
JOIN "anonymousIds" AS visitors USING ("anonymousId")
WHERE merges."loserGuid" = %(id)s AND merges.reason = 'merged'
ORDER BY merges."createdAt" DESC
LIMIT %(most)s;

-- visitors_of --
-- The anonymousIds of a profile.
SELECT "anonymousId", "profileGuid", "userId", "linkEventGuid", "linkedAt"
FROM "anonymousIds" WHERE "profileGuid" = %(profile)s
ORDER BY "linkedAt", "anonymousId" LIMIT %(most)s;

-- merges_of --
-- What came to a profile, and what left it.
SELECT reason, "anonymousId", "loserGuid", "survivorGuid", "eventGuid", "createdAt"
FROM "profileMerges" WHERE "survivorGuid" = %(profile)s OR "loserGuid" = %(profile)s
ORDER BY "createdAt", "anonymousId" LIMIT %(most)s;

-- refused_of --
-- Links that were not followed, because two known users would have met: on the profile's own
-- anonymousIds by others, and by its user on the anonymousIds of others.
(
    SELECT events.guid, events."anonymousId", events."userId", visitors."userId"
    FROM "anonymousIds" AS visitors
    JOIN events USING ("anonymousId")
    JOIN profiles AS named ON named."userId" = events."userId"
    WHERE visitors."profileGuid" = %(profile)s AND named.guid <> visitors."profileGuid"
    LIMIT %(most)s
)
UNION
(
    SELECT events.guid, events."anonymousId", events."userId", visitors."userId"
    FROM events
    JOIN profiles AS named ON named."userId" = events."userId"
    JOIN "anonymousIds" AS visitors USING ("anonymousId")
    WHERE events."profileGuid" = %(profile)s AND named.guid = events."profileGuid"
        AND visitors."profileGuid" <> events."profileGuid"
    LIMIT %(most)s
);

-- moving --
-- Moves to a profile that are not finished.
SELECT moves."anonymousId", moves."fromGuid"
FROM "eventMoves" AS moves
JOIN "anonymousIds" AS visitors USING ("anonymousId")
WHERE visitors."profileGuid" = %(profile)s LIMIT %(most)s;

-- count --
-- The events of a profile.
SELECT count(*) FROM events WHERE "profileGuid" = %(profile)s;
