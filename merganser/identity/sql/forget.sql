-- Forgetting a person changes the tables of identity, and `events` and "eventData", which other folders
-- write as well. It reads "setAside" of merganser/runtime to skip erasures that are set aside.
-- `merganser/admin/forget.py` also deletes the person's properties, through properties/store.py.

-- find_person --
-- The profile with this guid, or of this userId, or that the profile with this guid was merged into.
SELECT guid, "userId", (SELECT count(*) FROM events WHERE "profileGuid" = found.guid), (
    SELECT count(*) FROM "anonymousIds" WHERE "profileGuid" = found.guid
)
FROM (
    SELECT 1 AS rank, guid, "userId" FROM profiles WHERE guid = %(name)s
    UNION ALL
    SELECT 2, guid, "userId" FROM profiles WHERE "userId" = %(name)s
    UNION ALL
    SELECT 3, profiles.guid, profiles."userId"
    FROM "profileMerges" AS merges
    JOIN "anonymousIds" AS ids USING ("anonymousId")
    JOIN profiles ON profiles.guid = ids."profileGuid"
    WHERE merges."loserGuid" = %(name)s AND merges.reason = 'merged'
) AS found
ORDER BY rank
LIMIT 1;

-- set_lock_timeout --
-- While this transaction waits for plans under way, new plans wait for this transaction.
SET LOCAL lock_timeout = '10s';

-- lock_suppressed_ids --
-- Wait for plans under way, and block new ones until this transaction ends.
LOCK TABLE "suppressedIds" IN EXCLUSIVE MODE;

-- suppress_ids --
-- Suppress the userId and some of the anonymousIds; return these anonymousIds.
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

-- insert_erasure --
-- The events of this profile have to be deleted once the profile is deleted.
INSERT INTO erasures ("profileGuid")
SELECT guid FROM profiles WHERE guid = %(profile)s
ON CONFLICT DO NOTHING;

-- remove_from_events_of_others --
-- Remove anonymousIds from some events of other users, and delete data whose value is the anonymousId.
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

-- lock_anonymous_ids --
-- Lock these anonymousIds, in the order in which all workers lock them, and return those that still
-- belong to the profile. MATERIALIZED, so that Postgres finds them by their key: otherwise a generic
-- plan may read all anonymousIds of the profile.
WITH locked AS MATERIALIZED (
    SELECT "anonymousId", "profileGuid"
    FROM "anonymousIds"
    WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
    ORDER BY "anonymousId"
    FOR UPDATE
)
SELECT "anonymousId" FROM locked WHERE "profileGuid" = %(profile)s;

-- delete_merges --
-- The merges of these anonymousIds.
DELETE FROM "profileMerges" WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[]);

-- delete_anonymous_ids --
-- These anonymousIds.
DELETE FROM "anonymousIds" WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[]);

-- lift_anonymous_ids --
-- Events keep these anonymousIds again.
DELETE FROM "suppressedIds"
WHERE hash IN (
    SELECT "suppressionHash"('anonymousId', id) FROM unnest(%(anonymous_ids)s::text[]) AS ids(id)
);

-- delete_survivor --
-- Delete some merges by which other people's anonymousIds came to this profile.
DELETE FROM "profileMerges"
WHERE ("anonymousId", "eventGuid", "createdAt") IN (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges" WHERE "survivorGuid" = %(profile)s
    LIMIT %(at_most)s
);

-- delete_unlinks --
-- Delete some unlinks by which other people's anonymousIds left this profile.
DELETE FROM "profileMerges"
WHERE ("anonymousId", "eventGuid", "createdAt") IN (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges" WHERE "loserGuid" = %(profile)s AND reason = 'unlinked'
    LIMIT %(at_most)s
);

-- clear_loser --
-- Remove this profile from some merges by which other people's anonymousIds left it.
UPDATE "profileMerges"
SET "loserGuid" = NULL
WHERE ("anonymousId", "eventGuid", "createdAt") IN (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges" WHERE "loserGuid" = %(profile)s
    LIMIT %(at_most)s
);

-- lift_user_id --
-- Events of the userId are stored again.
DELETE FROM "suppressedIds"
WHERE hash = (
    SELECT "suppressionHash"('userId', "userId")
    FROM profiles WHERE guid = %(profile)s AND "userId" IS NOT NULL
);

-- delete_profile --
-- The profile of the person.
DELETE FROM profiles WHERE guid = %(profile)s;

-- lock_next_erasure --
-- The oldest erasure whose profile is deleted and that is not set aside.
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

-- delete_events --
-- Delete some events of the profile with their data, and what is stored of them as links; a trigger
-- deletes their set-aside items.
WITH deleted AS (
    DELETE FROM events
    WHERE guid IN (SELECT guid FROM events WHERE "profileGuid" = %(profile)s LIMIT %(at_most)s)
    RETURNING guid
), data AS (
    DELETE FROM "eventData" WHERE "eventGuid" IN (SELECT guid FROM deleted)
), ignored AS (
    DELETE FROM "ignoredLinks" WHERE "eventGuid" IN (SELECT guid FROM deleted)
), trail AS (
    DELETE FROM "linkChanges" WHERE "eventGuid" IN (SELECT guid FROM deleted)
)
SELECT count(*) FROM deleted;

-- finish_erasure --
-- No events are left.
DELETE FROM erasures WHERE "profileGuid" = %(profile)s;

-- readmit --
-- Lift the suppression of an id, whether it is a userId, an anonymousId or a placeholder.
DELETE FROM "suppressedIds"
WHERE hash IN (
    "suppressionHash"('userId', %(name)s), "suppressionHash"('anonymousId', %(name)s),
    "suppressionHash"('placeholder', %(name)s)
);

-- find_suppressions --
-- Whether an id is suppressed, as which kind of id, and since when.
SELECT kind, "createdAt"
FROM (VALUES ('userId'), ('anonymousId'), ('placeholder')) AS kinds (kind)
JOIN "suppressedIds" ON hash = "suppressionHash"(kind, %(name)s)
ORDER BY kind;
