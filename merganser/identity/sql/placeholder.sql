-- Removing a placeholder changes the tables of identity, and `events`, which other folders write as well.

-- find --
-- The profile of a userId, its anonymousIds, its events with a known anonymousId, and those without.
SELECT guid,
    (SELECT count(*) FROM "anonymousIds" WHERE "profileGuid" = guid), events.kept, events.erased
FROM profiles
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE ids."anonymousId" IS NOT NULL) AS kept,
        count(*) FILTER (WHERE ids."anonymousId" IS NULL) AS erased
    FROM events
    LEFT JOIN "anonymousIds" AS ids USING ("anonymousId")
    WHERE events."profileGuid" = profiles.guid
) AS events
WHERE profiles."userId" = %(user_id)s;

-- insert_placeholder --
-- From now on, events are stored without this userId.
WITH lifted AS (
    DELETE FROM "suppressedIds" WHERE hash = "suppressionHash"('userId', %(user_id)s)
), remembered AS (
    INSERT INTO "erasedIds" ("erasureGuid", kind, hash, suppressed)
    SELECT "ledgerGuid", 'placeholder', "suppressionHash"('placeholder', %(user_id)s), true
    FROM erasures
    WHERE "profileGuid" = %(profile)s
    ON CONFLICT DO NOTHING
)
INSERT INTO "suppressedIds" (hash) VALUES ("suppressionHash"('placeholder', %(user_id)s))
ON CONFLICT DO NOTHING;

-- share_suppressed_ids --
-- The lock of a plan: `forget` suppresses ids before or after this transaction, not during it.
LOCK TABLE "suppressedIds" IN ROW SHARE MODE;

-- next_anonymous_ids --
-- Some anonymousIds of the profile.
SELECT "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %(profile)s LIMIT %(at_most)s;

-- lock_anonymous_ids --
-- Lock these anonymousIds, in the order in which all workers lock them.
SELECT FROM "anonymousIds"
WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
ORDER BY "anonymousId"
FOR NO KEY UPDATE;

-- change_owners --
-- Give each of these anonymousIds the owner by its earliest link without the placeholder. Without one it gets
-- an anonymous profile: the one that was merged into the placeholder's profile, or else a new one. The
-- profile is in `erasures`, so the placeholder's own links do not count. Until `move_events` moves the events,
-- "eventMoves" says where they are, for `forget`, `export` and the scanner. Return how many anonymousIds were
-- changed and how many merges deleted. MATERIALIZED, so that Postgres finds rows by their anonymousIds: by the
-- profile it may find very many.
WITH links AS (
    SELECT DISTINCT ON (events."anonymousId")
        events."anonymousId", events."userId", events.guid, profiles.guid AS profile,
        CASE
            WHEN keys.guid IS NOT NULL THEN events."createdAt"
            ELSE coalesce(events."occurredAt", events."createdAt")
        END AS "linkedAt",
        coalesce(events."occurredAt", events."createdAt") AS "occurredAt"
    FROM events
    JOIN profiles ON profiles."userId" = events."userId"
    LEFT JOIN "apiKeys" AS keys ON keys.guid = events."producerGuid" AND keys.kind = 'publishable'
    WHERE events."anonymousId" = ANY(%(anonymous_ids)s::text[])
        AND events."profileGuid" IS NOT NULL
        AND lower(btrim(events."userId", %(space)s)) <> ALL(%(nobody)s)
        AND NOT EXISTS (SELECT FROM "ignoredLinks" WHERE "eventGuid" = events.guid)
        AND events."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
    ORDER BY events."anonymousId", "linkedAt", "occurredAt", events.guid
), known AS MATERIALIZED (
    SELECT "anonymousId", "profileGuid", "linkEventGuid"
    FROM "anonymousIds" WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
), merges AS MATERIALIZED (
    SELECT "anonymousId", "eventGuid", "createdAt", "loserGuid", "survivorGuid"
    FROM "profileMerges"
    WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[]) AND reason = 'merged'
), former AS (
    SELECT DISTINCT ON ("anonymousId") "anonymousId", "eventGuid", "createdAt", "loserGuid"
    FROM merges
    WHERE "survivorGuid" = %(profile)s
    ORDER BY "anonymousId", "createdAt" DESC
), goals AS MATERIALIZED (
    SELECT
        "anonymousId", known."linkEventGuid" AS "formerLink",
        links.guid AS link, links."userId", links."linkedAt", links."occurredAt",
        coalesce(links.profile, former."loserGuid", "newGuid"('pro_')) AS profile,
        former."eventGuid" AS "mergeEvent", former."createdAt" AS "mergedAt"
    FROM known
    LEFT JOIN links USING ("anonymousId")
    LEFT JOIN former USING ("anonymousId")
    WHERE known."profileGuid" = %(profile)s
), created AS (
    INSERT INTO profiles (guid) SELECT profile FROM goals WHERE link IS NULL
), undone AS (
    DELETE FROM "profileMerges"
    WHERE ("anonymousId", "eventGuid", "createdAt") IN (
        SELECT "anonymousId", "mergeEvent", "mergedAt" FROM goals WHERE link IS NULL
    )
    RETURNING 1
), moves AS (
    INSERT INTO "eventMoves" ("anonymousId", "fromGuid")
    SELECT "anonymousId", %(profile)s FROM goals
    ON CONFLICT DO NOTHING
), changed AS (
    UPDATE "anonymousIds" AS ids
    SET "profileGuid" = goals.profile,
        "linkedAt" = goals."linkedAt",
        "linkOccurredAt" = nullif(goals."occurredAt", goals."linkedAt"),
        "linkEventGuid" = goals.link,
        "userId" = goals."userId"
    FROM goals
    WHERE ids."anonymousId" = goals."anonymousId"
    RETURNING 1
), unlinked AS (
    INSERT INTO "profileMerges"
        ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid")
    SELECT "anonymousId", "formerLink", "userId", 'unlinked', %(profile)s, profile FROM goals
)
SELECT (SELECT count(*) FROM changed), (SELECT count(*) FROM undone);

-- forget_unlinks --
-- The unlinks that `change_owners` has inserted in this transaction. They name the profile, and had only to
-- note, by a trigger, that the properties of the new profiles are due.
DELETE FROM "profileMerges"
WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
    AND "loserGuid" = %(profile)s AND reason = 'unlinked' AND "createdAt" = now();

-- next_events --
-- Some events of the profile after an event, in the order of their index.
SELECT "occurredAt", guid, "anonymousId"
FROM events
WHERE "profileGuid" = %(profile)s AND ("occurredAt", guid) > (%(after_time)s, %(after_guid)s)
ORDER BY "occurredAt", guid
LIMIT %(at_most)s;

-- move_events --
-- Move those of these events that have an anonymousId to its profile, without the placeholder. They are not
-- links, so nothing is stored of them as links. Return how many events were moved, how many of these had the
-- placeholder, and how many rows were deleted.
WITH named AS (
    SELECT guid FROM events WHERE guid = ANY(%(guids)s::text[]) AND "userId" = %(user_id)s
), moved AS (
    UPDATE events
    SET "profileGuid" = ids."profileGuid",
        "userId" = nullif(events."userId", %(user_id)s),
        "updatedAt" = now()
    FROM "anonymousIds" AS ids
    WHERE events.guid = ANY(%(guids)s::text[])
        AND events."profileGuid" = %(profile)s
        AND ids."anonymousId" = events."anonymousId"
    RETURNING events.guid, events."createdAt"
), ignored AS (
    DELETE FROM "ignoredLinks" WHERE "eventGuid" IN (SELECT guid FROM moved) RETURNING 1
), trail AS (
    DELETE FROM "linkChanges" WHERE "eventGuid" IN (SELECT guid FROM moved) RETURNING 1
), newest AS (
    UPDATE "erasureLedger"
    SET "newestEventAt" = greatest("newestEventAt", (SELECT max("createdAt") FROM moved))
    WHERE guid = (SELECT "ledgerGuid" FROM erasures WHERE "profileGuid" = %(profile)s)
)
SELECT
    (SELECT count(*) FROM moved), (SELECT count(*) FROM moved JOIN named USING (guid)),
    (SELECT count(*) FROM ignored), (SELECT count(*) FROM trail);

-- finish_moves --
-- Some moves from the profile, which `move_events` has finished.
DELETE FROM "eventMoves"
WHERE ("anonymousId", "fromGuid") IN (
    SELECT "anonymousId", "fromGuid" FROM "eventMoves" WHERE "fromGuid" = %(profile)s LIMIT %(at_most)s
)
RETURNING "anonymousId";

-- clear_rows --
-- Remove the placeholder from some rows that are not resolved, because the scanner has not read them or they
-- are set aside. Delete those without another id that names somebody. Return how many rows of each table that
-- were; a trigger deletes the set-aside items.
WITH next AS (
    SELECT guid, (lower(btrim("anonymousId", %(space)s)) <> ALL(%(nobody)s)) IS TRUE AS kept
    FROM events
    WHERE "profileGuid" IS NULL AND "userId" = %(user_id)s
    LIMIT %(at_most)s
    FOR UPDATE
), changed AS (
    UPDATE events
    SET "userId" = NULL, "updatedAt" = now()
    FROM next
    WHERE events.guid = next.guid AND next.kept
    RETURNING 1
), deleted AS (
    DELETE FROM events USING next WHERE events.guid = next.guid AND NOT next.kept RETURNING next.guid
), data AS (
    DELETE FROM "eventData" WHERE "eventGuid" IN (SELECT guid FROM deleted) RETURNING 1
)
SELECT
    (SELECT count(*) FROM changed), (SELECT count(*) FROM deleted), (SELECT count(*) FROM data),
    (SELECT count(*) FROM "setAside" JOIN deleted ON kind = 'row' AND subject = deleted.guid);

-- keep_merges --
-- Some merges of anonymousIds that have another owner now become merges into that owner's profile, so that
-- the guids of the merged profiles still lead there.
WITH next AS (
    SELECT of_profile."anonymousId", of_profile."eventGuid", of_profile."createdAt"
    FROM "profileMerges" AS of_profile
    JOIN "anonymousIds" AS owned USING ("anonymousId")
    WHERE of_profile."survivorGuid" = %(profile)s AND of_profile.reason = 'merged'
        AND owned."userId" IS NOT NULL
    LIMIT %(at_most)s
    FOR UPDATE OF of_profile
)
UPDATE "profileMerges" AS merges
SET "userId" = ids."userId", "eventGuid" = ids."linkEventGuid", "survivorGuid" = ids."profileGuid"
FROM next
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE merges."anonymousId" = next."anonymousId" AND merges."eventGuid" = next."eventGuid"
    AND merges."createdAt" = next."createdAt";
