-- person --
-- The profile with this guid, or of this user, or that the profile with this guid merged into.
SELECT guid, "userId", (SELECT count(*) FROM events WHERE "profileGuid" = named.guid), (
    SELECT count(*) FROM "anonymousIds" WHERE "profileGuid" = named.guid
)
FROM (
    SELECT 1 AS rank, guid, "userId" FROM profiles WHERE guid = %(name)s
    UNION ALL
    SELECT 2, guid, "userId" FROM profiles WHERE "userId" = %(name)s
    UNION ALL
    SELECT 3, profiles.guid, profiles."userId"
    FROM "profileMerges" AS merges
    JOIN "anonymousIds" AS visitors USING ("anonymousId")
    JOIN profiles ON profiles.guid = visitors."profileGuid"
    WHERE merges."loserGuid" = %(name)s AND merges.reason = 'merged'
) AS named
ORDER BY rank
LIMIT 1;

-- patience --
-- Who waits for the planners makes those that come later wait, too.
SET LOCAL lock_timeout = '10s';

-- hold_planners --
-- Until this transaction ends nobody plans identity; who planned before has committed.
LOCK TABLE "suppressedIds" IN EXCLUSIVE MODE;

-- suppress --
-- From now on no event of the user is stored, nor of some of the anonymousIds, nor these on events of
-- others.
WITH next AS (
    SELECT "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %(profile)s LIMIT %(at_most)s
), hashes AS (
    INSERT INTO "suppressedIds" (hash)
    SELECT "suppressionHash"('userId', "userId")
    FROM profiles WHERE guid = %(profile)s AND "userId" IS NOT NULL
    UNION ALL
    SELECT "suppressionHash"('anonymousId', "anonymousId") FROM next
    ON CONFLICT DO NOTHING
)
SELECT "anonymousId" FROM next;

-- begin --
-- What is left to do: the events, once the profile is gone.
INSERT INTO erasures ("profileGuid")
SELECT guid FROM profiles WHERE guid = %(profile)s
ON CONFLICT DO NOTHING;

-- take_ids_off --
-- Suppressed anonymousIds on events of other users, and data of these that is the id: the events are
-- theirs, the ids go.
WITH others AS (
    SELECT events.guid, events."anonymousId"
    FROM events
    JOIN profiles AS other
        ON other.guid = events."profileGuid" AND other."userId" = events."userId"
    WHERE events."anonymousId" = ANY(%(anonymous_ids)s::text[])
        AND events."profileGuid" <> %(profile)s
    LIMIT %(at_most)s
), data AS (
    DELETE FROM "eventData"
    USING others
    WHERE "eventGuid" = others.guid AND value = others."anonymousId"
)
UPDATE events
SET "anonymousId" = NULL, "updatedAt" = now()
FROM others
WHERE events.guid = others.guid;

-- hold_visitors --
-- Which of these anonymousIds are still the person's: locked in the order in which everybody locks
-- them. They are found by key, or a plan made for no one person reads all that this one has.
WITH held AS MATERIALIZED (
    SELECT "anonymousId", "profileGuid"
    FROM "anonymousIds"
    WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
    ORDER BY "anonymousId"
    FOR UPDATE
)
SELECT "anonymousId" FROM held WHERE "profileGuid" = %(profile)s;

-- forget_merges --
-- The trail of these anonymousIds.
DELETE FROM "profileMerges" WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[]);

-- forget_visitors --
-- These anonymousIds.
DELETE FROM "anonymousIds" WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[]);

-- lift_visitors --
-- These anonymousIds are stored again.
DELETE FROM "suppressedIds"
WHERE hash IN (
    SELECT "suppressionHash"('anonymousId', id) FROM unnest(%(anonymous_ids)s::text[]) AS ids(id)
);

-- forget_way --
-- In the trail of others, some of what came by this person.
DELETE FROM "profileMerges"
WHERE ("anonymousId", "eventGuid", "createdAt") IN (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges" WHERE "survivorGuid" = %(profile)s
    LIMIT %(at_most)s
);

-- unname_loser --
-- In the trail of others, whence some of the anonymousIds came.
UPDATE "profileMerges"
SET "loserGuid" = NULL
WHERE ("anonymousId", "eventGuid", "createdAt") IN (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges" WHERE "loserGuid" = %(profile)s
    LIMIT %(at_most)s
);

-- lift_user --
-- The userId is stored again.
DELETE FROM "suppressedIds"
WHERE hash = (
    SELECT "suppressionHash"('userId', "userId")
    FROM profiles WHERE guid = %(profile)s AND "userId" IS NOT NULL
);

-- forget_profile --
-- The person is nobody from now on.
DELETE FROM profiles WHERE guid = %(profile)s;

-- next_erasure --
-- The oldest that is not finished, of those whose profile is gone.
SELECT "profileGuid"
FROM erasures
WHERE NOT EXISTS (SELECT FROM profiles WHERE guid = "profileGuid")
    AND NOT EXISTS (
        SELECT FROM "setAside"
        WHERE kind = 'erasure' AND subject = "profileGuid" AND state <> 'retried'
    )
ORDER BY "createdAt", "profileGuid"
LIMIT 1
FOR UPDATE;

-- erase --
-- Some of the events of a profile, with their data.
WITH gone AS (
    DELETE FROM events
    WHERE guid IN (SELECT guid FROM events WHERE "profileGuid" = %(profile)s LIMIT %(at_most)s)
    RETURNING guid
), data AS (
    DELETE FROM "eventData" WHERE "eventGuid" IN (SELECT guid FROM gone)
), rows AS (
    DELETE FROM "setAside" WHERE kind = 'row' AND subject IN (SELECT guid FROM gone)
)
SELECT count(*) FROM gone;

-- finish --
-- No events are left.
WITH finished AS (
    DELETE FROM erasures WHERE "profileGuid" = %(profile)s
)
DELETE FROM "setAside" WHERE subject = %(profile)s;

-- readmit --
-- An id is stored again, whichever kind it is.
DELETE FROM "suppressedIds"
WHERE hash IN (
    "suppressionHash"('userId', %(name)s), "suppressionHash"('anonymousId', %(name)s)
);
