-- event --
-- An event, with the earliest link of its anonymousId. A userId that means nobody has no profile, so
-- it is NULL here.
SELECT events.guid, events.type, coalesce(events."occurredAt", events."createdAt"),
    named."userId", events."anonymousId", events."profileGuid",
    ids."userId", ids."linkEventGuid", ids."linkedAt", ids."linkOccurredAt"
FROM events
LEFT JOIN profiles AS named ON named."userId" = events."userId"
LEFT JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE events.guid = %(id)s;

-- profile --
-- A profile by its guid or its userId.
SELECT guid, "userId", "createdAt" FROM profiles WHERE guid = %(id)s OR "userId" = %(id)s;

-- anonymous_id --
-- An anonymousId, with its earliest link.
SELECT "anonymousId", "profileGuid", "userId", "linkEventGuid", "linkedAt", "linkOccurredAt"
FROM "anonymousIds" WHERE "anonymousId" = %(id)s;

-- merges_of_loser --
-- Merges that deleted a profile, with the profile that its anonymousId has now.
SELECT ids."anonymousId", ids."profileGuid", merges."eventGuid", merges."createdAt"
FROM "profileMerges" AS merges
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE merges."loserGuid" = %(id)s AND merges.reason = 'merged'
ORDER BY merges."createdAt" DESC
LIMIT %(at_most)s;

-- anonymous_ids_of_profile --
-- The anonymousIds of a profile.
SELECT "anonymousId", "profileGuid", "userId", "linkEventGuid", "linkedAt", "linkOccurredAt"
FROM "anonymousIds" WHERE "profileGuid" = %(profile)s
ORDER BY "linkedAt", "anonymousId" LIMIT %(at_most)s;

-- merges_of_profile --
-- Claims, merges and moves to a profile, and moves from it, each read by its own index.
SELECT *
FROM (
    (
        SELECT reason, "anonymousId", "loserGuid", "survivorGuid", "eventGuid", "createdAt"
        FROM "profileMerges" WHERE "survivorGuid" = %(profile)s
        ORDER BY "createdAt", "anonymousId" LIMIT %(at_most)s
    )
    UNION
    (
        SELECT reason, "anonymousId", "loserGuid", "survivorGuid", "eventGuid", "createdAt"
        FROM "profileMerges" WHERE "loserGuid" = %(profile)s
        ORDER BY "createdAt", "anonymousId" LIMIT %(at_most)s
    )
) AS merges
ORDER BY "createdAt", "anonymousId" LIMIT %(at_most)s;

-- refused_links_of_profile --
-- Refused links: events of other users with an anonymousId of this profile, and events of this
-- profile's user with an anonymousId of other profiles. Ignored links are not among them.
(
    SELECT events.guid, events."anonymousId", events."userId", ids."userId"
    FROM "anonymousIds" AS ids
    JOIN events USING ("anonymousId")
    JOIN profiles AS named ON named."userId" = events."userId"
    WHERE ids."profileGuid" = %(profile)s AND named.guid <> ids."profileGuid"
        AND NOT EXISTS (SELECT FROM "ignoredLinks" WHERE "eventGuid" = events.guid)
    LIMIT %(at_most)s
)
UNION
(
    SELECT events.guid, events."anonymousId", events."userId", ids."userId"
    FROM events
    JOIN profiles AS named ON named."userId" = events."userId"
    JOIN "anonymousIds" AS ids USING ("anonymousId")
    WHERE events."profileGuid" = %(profile)s AND named.guid = events."profileGuid"
        AND ids."profileGuid" <> events."profileGuid"
        AND NOT EXISTS (SELECT FROM "ignoredLinks" WHERE "eventGuid" = events.guid)
    LIMIT %(at_most)s
);

-- pending_moves_to_profile --
-- Unfinished moves to a profile.
SELECT moves."anonymousId", moves."fromGuid", ids."profileGuid"
FROM "eventMoves" AS moves
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE ids."profileGuid" = %(profile)s LIMIT %(at_most)s;

-- count_events --
-- The number of events of a profile, counted up to a limit if there is one.
SELECT count(*)
FROM (SELECT FROM events WHERE "profileGuid" = %(profile)s LIMIT %(max_events)s::bigint) AS counted;
