-- lock_anonymous_ids --
-- Lock the anonymousIds of a batch, in one order, so that workers cannot deadlock. Then list the
-- suppressed ones, without a profile. The lock on "suppressedIds" lasts until the end of the
-- transaction (merganser/identity/forget.py). Hashes nothing while that table is empty.
SELECT *
FROM (
    SELECT "anonymousId", "profileGuid",
        "linkedAt", coalesce("linkOccurredAt", "linkedAt"), "linkEventGuid", "userId"
    FROM "anonymousIds"
    WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
    ORDER BY "anonymousId"
    FOR NO KEY UPDATE
) AS locked
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL
FROM (
    SELECT batch.id
    FROM unnest(%(anonymous_ids)s::text[]) AS batch(id)
    JOIN "suppressedIds" ON hash = "suppressionHash"('anonymousId', batch.id)
    WHERE EXISTS (SELECT FROM "suppressedIds")
    FOR KEY SHARE OF "suppressedIds"
) AS suppressed;

-- read_users --
-- The profiles of a batch's userIds, then its suppressed userIds and placeholders, then the ignored links. Needs
-- no lock on profiles: a user's profile never changes, and is deleted only while no worker plans. Hashes
-- as few ids as `lock_anonymous_ids` unless there are placeholders.
SELECT 'user', "userId", guid FROM profiles WHERE "userId" = ANY(%(user_ids)s::text[])
UNION ALL
SELECT kind, id, NULL
FROM (
    SELECT kinds.kind, batch.id
    FROM unnest(%(user_ids)s::text[]) AS batch(id)
    JOIN (VALUES ('userId'), ('placeholder')) AS kinds(kind)
        ON kind = 'userId' OR EXISTS (SELECT FROM "erasureLedger" WHERE suppresses = 'placeholder')
    JOIN "suppressedIds" ON hash = "suppressionHash"(kinds.kind, batch.id)
    WHERE EXISTS (SELECT FROM "suppressedIds")
    FOR KEY SHARE OF "suppressedIds"
) AS suppressed
UNION ALL
SELECT 'ignored', "eventGuid", NULL FROM "ignoredLinks" WHERE "eventGuid" = ANY(%(links)s::text[]);

-- insert_profiles --
-- Returns the guids that were inserted. One is missing if it is taken (`replace_taken_guids`), or if
-- another worker has just created the same user's profile. COLLATE "C", because parameters have the
-- database's locale, and glibc takes half a second to compare two long ids of emoji.
INSERT INTO profiles (guid, "userId")
SELECT n.guid, n."userId"
FROM unnest(%(guids)s::text[], %(user_ids)s::text[]) AS n(guid, "userId")
WHERE NOT EXISTS (SELECT FROM "profileMerges" WHERE "loserGuid" = n.guid)
    AND NOT EXISTS (SELECT FROM erasures WHERE "profileGuid" = n.guid)
ORDER BY n."userId" COLLATE "C"
ON CONFLICT DO NOTHING
RETURNING guid;

-- replace_taken_guids --
-- A new guid for each of these guids that belongs to a profile, to one that was merged, or to a
-- forgotten one whose events are not all deleted.
SELECT n.guid, "newGuid"('pro_')
FROM unnest(%(guids)s::text[]) AS n(guid)
WHERE EXISTS (SELECT FROM profiles WHERE profiles.guid = n.guid)
    OR EXISTS (SELECT FROM "profileMerges" WHERE "loserGuid" = n.guid)
    OR EXISTS (SELECT FROM erasures WHERE "profileGuid" = n.guid);

-- claim_profiles --
-- Anonymous profiles become users' profiles. A unique violation means that another worker has created
-- the same user's profile.
UPDATE profiles
SET "userId" = claimed."userId", "updatedAt" = now()
FROM unnest(%(guids)s::text[], %(user_ids)s::text[]) AS claimed(guid, "userId")
WHERE profiles.guid = claimed.guid;

-- delete_profiles --
-- Anonymous profiles that were merged.
DELETE FROM profiles WHERE guid = ANY(%(guids)s::text[]);

-- insert_anonymous_ids --
-- Fewer inserted rows than given: another worker has just inserted one of them.
INSERT INTO "anonymousIds"
    ("anonymousId", "profileGuid", "linkedAt", "linkOccurredAt", "linkEventGuid", "userId")
SELECT
    "anonymousId", "profileGuid",
    "linkedAt", nullif("occurredAt", "linkedAt"), "linkEventGuid", "userId"
FROM unnest(
    %(anonymous_ids)s::text[], %(profiles)s::text[],
    %(linked_at)s::timestamptz[], %(occurred_at)s::timestamptz[],
    %(link_events)s::text[], %(user_ids)s::text[]
) AS n("anonymousId", "profileGuid", "linkedAt", "occurredAt", "linkEventGuid", "userId")
ORDER BY "anonymousId" COLLATE "C"
ON CONFLICT DO NOTHING;

-- update_anonymous_ids --
-- Set earlier links, with the same owner or another one.
UPDATE "anonymousIds"
SET "profileGuid" = n."profileGuid",
    "linkedAt" = n."linkedAt",
    "linkOccurredAt" = nullif(n."occurredAt", n."linkedAt"),
    "linkEventGuid" = n."linkEventGuid",
    "userId" = n."userId"
FROM unnest(
    %(anonymous_ids)s::text[], %(profiles)s::text[],
    %(linked_at)s::timestamptz[], %(occurred_at)s::timestamptz[],
    %(link_events)s::text[], %(user_ids)s::text[]
) AS n("anonymousId", "profileGuid", "linkedAt", "occurredAt", "linkEventGuid", "userId")
WHERE "anonymousIds"."anonymousId" = n."anonymousId";

-- insert_merges --
-- The claims, merges and moves of a plan.
INSERT INTO "profileMerges"
    ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid")
SELECT *
FROM unnest(
    %(anonymous_ids)s::text[], %(events)s::text[], %(user_ids)s::text[],
    %(reasons)s::text[], %(losers)s::text[], %(survivors)s::text[]
);

-- move_events --
-- Move events of merged and moved anonymousIds to their new profiles, up to a limit. Events with the
-- userId of the profile that they are on stay; any other userId there means nobody. FOR NO KEY UPDATE: a row
-- that another transaction deletes does not count towards the limit, so fewer rows means that none is left.
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
    FOR NO KEY UPDATE OF events
)
UPDATE events
SET "profileGuid" = leaving.survivor, "updatedAt" = now()
FROM leaving
WHERE events.guid = leaving.guid;

-- queue_moves --
-- The scanner moves the remaining events in chunks.
INSERT INTO "eventMoves" ("anonymousId", "fromGuid")
SELECT * FROM unnest(%(anonymous_ids)s::text[], %(losers)s::text[])
ON CONFLICT DO NOTHING;

-- lock_next_move --
-- The oldest pending move that no other worker has locked and that is not set aside. The lock is on the
-- anonymousId, so that no plan moves it meanwhile.
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

-- lock_move_of --
-- A pending move of these anonymousIds, or from this profile.
SELECT moves."anonymousId", moves."fromGuid", ids."profileGuid"
FROM "eventMoves" AS moves
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE moves."anonymousId" = ANY(%(anonymous_ids)s::text[]) OR moves."fromGuid" = %(profile)s
LIMIT 1
FOR NO KEY UPDATE OF ids;

-- finish_move --
-- No events are left to move.
DELETE FROM "eventMoves" WHERE "anonymousId" = %(anonymous_id)s AND "fromGuid" = %(loser)s;

-- count_moves --
-- Pending moves.
SELECT count(*) FROM "eventMoves";
