-- lock_visitors --
-- The anonymousIds of a batch, locked in one order so that two workers never wait in a circle. Then
-- those that are suppressed, without a profile. The lock on the table of these is held to the end
-- (merganser/identity/forget.py); while it is empty nothing is hashed.
SELECT *
FROM (
    SELECT "anonymousId", "profileGuid", "linkedAt", "linkEventGuid", "userId"
    FROM "anonymousIds"
    WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
    ORDER BY "anonymousId"
    FOR NO KEY UPDATE
) AS locked
UNION ALL
SELECT id, NULL, NULL, NULL, NULL
FROM (
    SELECT named.id
    FROM unnest(%(anonymous_ids)s::text[]) AS named(id)
    JOIN "suppressedIds" ON hash = "suppressionHash"('anonymousId', named.id)
    WHERE EXISTS (SELECT FROM "suppressedIds")
    FOR KEY SHARE OF "suppressedIds"
) AS suppressed;

-- known_users --
-- The profiles of a batch's userIds, and the userIds that are suppressed. Profiles are not locked: a
-- user's profile never changes, and goes only when nobody plans.
SELECT "userId", guid FROM profiles WHERE "userId" = ANY(%(user_ids)s::text[])
UNION ALL
SELECT id, NULL
FROM (
    SELECT named.id
    FROM unnest(%(user_ids)s::text[]) AS named(id)
    JOIN "suppressedIds" ON hash = "suppressionHash"('userId', named.id)
    WHERE EXISTS (SELECT FROM "suppressedIds")
    FOR KEY SHARE OF "suppressedIds"
) AS suppressed;

-- insert_profiles --
-- Those that were made. One is missing if its guid is taken (`taken_profiles`), or if another worker
-- has just made the same user's. Parameters have the database's locale, which is not to sort them:
-- glibc takes half a second to compare two long ids of emoji.
INSERT INTO profiles (guid, "userId")
SELECT n.guid, n."userId"
FROM unnest(%(guids)s::text[], %(user_ids)s::text[]) AS n(guid, "userId")
WHERE NOT EXISTS (SELECT FROM "profileMerges" WHERE "loserGuid" = n.guid)
    AND NOT EXISTS (SELECT FROM erasures WHERE "profileGuid" = n.guid)
ORDER BY n."userId" COLLATE "C"
ON CONFLICT DO NOTHING
RETURNING guid;

-- taken_profiles --
-- Which of these guids a profile has, or had before it merged, or before it was forgotten while its
-- events still go; each with a new guid.
SELECT n.guid, "newGuid"('pro_')
FROM unnest(%(guids)s::text[]) AS n(guid)
WHERE EXISTS (SELECT FROM profiles WHERE profiles.guid = n.guid)
    OR EXISTS (SELECT FROM "profileMerges" WHERE "loserGuid" = n.guid)
    OR EXISTS (SELECT FROM erasures WHERE "profileGuid" = n.guid);

-- claim_profiles --
-- Anonymous profiles that become a user's. A unique violation: another worker made that user.
UPDATE profiles
SET "userId" = claimed."userId", "updatedAt" = now()
FROM unnest(%(guids)s::text[], %(user_ids)s::text[]) AS claimed(guid, "userId")
WHERE profiles.guid = claimed.guid;

-- delete_profiles --
-- Anonymous profiles that went into a user's.
DELETE FROM profiles WHERE guid = ANY(%(guids)s::text[]);

-- insert_visitors --
-- Fewer rows than asked for: another worker has just seen one of them.
INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "linkedAt", "linkEventGuid", "userId")
SELECT *
FROM unnest(
    %(anonymous_ids)s::text[], %(profiles)s::text[],
    %(linked_at)s::timestamptz[], %(link_events)s::text[], %(user_ids)s::text[]
) AS n("anonymousId", "profileGuid", "linkedAt", "linkEventGuid", "userId")
ORDER BY "anonymousId" COLLATE "C"
ON CONFLICT DO NOTHING;

-- update_visitors --
-- New owners, or earlier links of the same owner.
UPDATE "anonymousIds"
SET "profileGuid" = n."profileGuid",
    "linkedAt" = n."linkedAt",
    "linkEventGuid" = n."linkEventGuid",
    "userId" = n."userId"
FROM unnest(
    %(anonymous_ids)s::text[], %(profiles)s::text[],
    %(linked_at)s::timestamptz[], %(link_events)s::text[], %(user_ids)s::text[]
) AS n("anonymousId", "profileGuid", "linkedAt", "linkEventGuid", "userId")
WHERE "anonymousIds"."anonymousId" = n."anonymousId";

-- insert_merges --
-- The trail of a batch.
INSERT INTO "profileMerges"
    ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid")
SELECT *
FROM unnest(
    %(anonymous_ids)s::text[], %(events)s::text[], %(user_ids)s::text[],
    %(reasons)s::text[], %(losers)s::text[], %(survivors)s::text[]
);

-- move_events --
-- Bring the events of merged and moved anonymousIds to their new profiles, as many as allowed. What
-- lies on a user's profile by its own userId stays; a userId that means nobody is no reason to stay.
WITH leaving AS (
    SELECT events.guid, moves.survivor
    FROM unnest(%(anonymous_ids)s::text[], %(losers)s::text[], %(survivors)s::text[])
        AS moves("anonymousId", loser, survivor)
    LEFT JOIN profiles AS former ON former.guid = moves.loser
    JOIN events
        ON events."profileGuid" = moves.loser
        AND events."anonymousId" = moves."anonymousId"
        AND (former."userId" IS NULL OR events."userId" IS DISTINCT FROM former."userId")
    LIMIT %(at_most)s
)
UPDATE events
SET "profileGuid" = leaving.survivor, "updatedAt" = now()
FROM leaving
WHERE events.guid = leaving.guid;

-- queue_moves --
-- What the transaction at hand does not move the scanner will, in chunks.
INSERT INTO "eventMoves" ("anonymousId", "fromGuid")
SELECT * FROM unnest(%(anonymous_ids)s::text[], %(losers)s::text[])
ON CONFLICT DO NOTHING;

-- next_move --
-- The oldest move that no other worker has locked and that is not set aside. The lock on the
-- anonymousId keeps its profile as it is.
SELECT moves."anonymousId", moves."fromGuid", ids."profileGuid"
FROM "eventMoves" AS moves
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE NOT EXISTS (
    SELECT FROM "setAside"
    WHERE kind = 'move' AND subject = moves."fromGuid" AND place = moves."anonymousId"
        AND state <> 'retried'
)
ORDER BY moves."createdAt"
LIMIT 1
FOR NO KEY UPDATE OF ids SKIP LOCKED;

-- next_move_of --
-- A move of these anonymousIds, or from a profile.
SELECT moves."anonymousId", moves."fromGuid", ids."profileGuid"
FROM "eventMoves" AS moves
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE moves."anonymousId" = ANY(%(anonymous_ids)s::text[]) OR moves."fromGuid" = %(profile)s
LIMIT 1
FOR NO KEY UPDATE OF ids;

-- finish_move --
-- No events are left to move.
WITH finished AS (
    DELETE FROM "eventMoves" WHERE "anonymousId" = %(anonymous_id)s AND "fromGuid" = %(loser)s
)
DELETE FROM "setAside"
WHERE kind = 'move' AND subject = %(loser)s AND place = %(anonymous_id)s;
