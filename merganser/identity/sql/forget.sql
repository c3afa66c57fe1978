-- Forgetting a person changes the tables of identity, and `events` and "eventData", which other folders
-- write as well. The ledger says what it erased. It reads "setAside" of merganser/runtime to skip erasures that are set aside.
-- `merganser/admin/forget.py` also deletes the person's properties, through properties/store.py.
-- A statement with a limit locks its rows before it counts them: if another transaction deletes one of them, it
-- takes another row. So fewer rows than the limit means that none is left.

-- find_person --
-- The profile with this guid, or of this userId, or that the profile with this guid was merged into.
SELECT guid, (SELECT count(*) FROM events WHERE "profileGuid" = found.guid), (
    SELECT count(*) FROM "anonymousIds" WHERE "profileGuid" = found.guid
), (
    SELECT suppresses
    FROM erasures JOIN "erasureLedger" AS ledger ON ledger.guid = "ledgerGuid"
    WHERE erasures."profileGuid" = found.guid
)
FROM (
    SELECT 1 AS rank, guid FROM profiles WHERE guid = %(name)s
    UNION ALL
    SELECT 2, guid FROM profiles WHERE "userId" = %(name)s
    UNION ALL
    SELECT 3, profiles.guid
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

-- insert_erasure --
-- The events of this profile have to be deleted once the profile is deleted. An erasure that has begun
-- keeps its requester, reason and suppression.
WITH entry AS (
    INSERT INTO "erasureLedger" (
        "profileGuid", "requestedBy", reason, suppresses, "topicHoldsMs", "deadTopicHoldsMs"
    )
    SELECT
        guid, %(requested_by)s, %(reason)s, %(suppresses)s,
        %(topic_holds_ms)s::bigint, %(dead_topic_holds_ms)s::bigint
    FROM profiles
    WHERE guid = %(profile)s AND guid NOT IN (SELECT "profileGuid" FROM erasures)
    RETURNING guid, "profileGuid"
)
INSERT INTO erasures ("profileGuid", "ledgerGuid") SELECT "profileGuid", guid FROM entry;

-- insert_name --
-- What the command was called with: a later call with this name finds the erasure. Returns a row if the ledger
-- has an erasure of the profile, which another process may have finished.
WITH inserted AS (
    INSERT INTO "erasedIds" ("erasureGuid", kind, hash, suppressed)
    SELECT "ledgerGuid", 'name', "suppressionHash"('name', %(name)s), false
    FROM erasures
    WHERE "profileGuid" = %(profile)s
    ON CONFLICT DO NOTHING
)
SELECT FROM "erasureLedger" WHERE "profileGuid" = %(profile)s;

-- find_erasure --
-- The unfinished erasure of this userId, profile guid, or name of an earlier call, and what it still has to
-- erase.
SELECT erasures."profileGuid", (
    SELECT count(*) FROM events WHERE events."profileGuid" = erasures."profileGuid"
), (
    SELECT count(*) FROM "anonymousIds" AS ids WHERE ids."profileGuid" = erasures."profileGuid"
), suppresses
FROM erasures
JOIN "erasureLedger" AS ledger ON ledger.guid = "ledgerGuid"
WHERE erasures."profileGuid" = %(name)s OR "ledgerGuid" IN (
    SELECT "erasureGuid" FROM "erasedIds"
    WHERE kind IN ('userId', 'name') AND hash = "suppressionHash"(kind, %(name)s)
)
ORDER BY "createdAt", erasures."profileGuid"
LIMIT 1;

-- suppress_ids --
-- Suppress the userId and some of the anonymousIds, and write their hashes to the ledger; return these
-- anonymousIds.
WITH entry AS (
    SELECT ledger.guid, suppresses
    FROM erasures JOIN "erasureLedger" AS ledger ON ledger.guid = "ledgerGuid"
    WHERE erasures."profileGuid" = %(profile)s
), next AS (
    SELECT "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %(profile)s LIMIT %(at_most)s
), ids (kind, hash, suppressed) AS (
    SELECT 'userId', "suppressionHash"('userId', "userId"), suppresses = 'all'
    FROM profiles CROSS JOIN entry
    WHERE profiles.guid = %(profile)s AND "userId" IS NOT NULL
    UNION ALL
    SELECT 'anonymousId', "suppressionHash"('anonymousId', "anonymousId"), suppresses = 'all'
    FROM next CROSS JOIN entry
), remembered AS (
    INSERT INTO "erasedIds" ("erasureGuid", kind, hash, suppressed)
    SELECT entry.guid, kind, hash, suppressed FROM ids CROSS JOIN entry
    ON CONFLICT DO NOTHING
), hashes AS (
    INSERT INTO "suppressedIds" (hash) SELECT hash FROM ids ON CONFLICT DO NOTHING
)
SELECT "anonymousId" FROM next;

-- delete_rows --
-- Delete some rows of the person that the scanner has not resolved, with their data: it may have set them
-- aside. A trigger deletes their set-aside items. Return how many rows of each table that were.
WITH next AS (
    SELECT guid
    FROM events
    WHERE "profileGuid" IS NULL AND (
        "userId" = (SELECT "userId" FROM profiles WHERE guid = %(profile)s)
        OR "anonymousId" = ANY(%(anonymous_ids)s::text[])
            AND (lower(btrim("userId", %(space)s)) = ANY(%(nobody)s)) IS NOT FALSE
    )
    LIMIT %(at_most)s
    FOR UPDATE
), deleted AS (
    DELETE FROM events USING next WHERE events.guid = next.guid
    RETURNING events.guid
), data AS (
    DELETE FROM "eventData" WHERE "eventGuid" IN (SELECT guid FROM deleted) RETURNING 1
)
SELECT
    (SELECT count(*) FROM deleted), (SELECT count(*) FROM data),
    (SELECT count(*) FROM "setAside" WHERE kind = 'row' AND subject IN (SELECT guid FROM deleted));

-- remove_from_events_of_others --
-- Remove anonymousIds from some events of other users, and delete data whose value is the anonymousId; return
-- how many events that were, and how many rows of data. Rows that the scanner has not resolved are of other
-- users, as `delete_rows` has deleted the person's.
WITH others AS (
    SELECT events.guid, events."anonymousId", events."createdAt"
    FROM events
    LEFT JOIN profiles AS other
        ON other.guid = events."profileGuid" AND other."userId" = events."userId"
    WHERE events."anonymousId" = ANY(%(anonymous_ids)s::text[])
        AND (events."profileGuid" IS NULL OR other.guid <> %(profile)s)
    LIMIT %(at_most)s
    FOR UPDATE OF events
), data AS (
    DELETE FROM "eventData"
    USING others
    WHERE "eventGuid" = others.guid AND value = others."anonymousId"
    RETURNING 1
), changed AS (
    UPDATE events
    SET "anonymousId" = NULL, "updatedAt" = now()
    FROM others
    WHERE events.guid = others.guid
    RETURNING others."createdAt"
), newest AS (
    UPDATE "erasureLedger"
    SET "newestEventAt" = greatest("newestEventAt", (SELECT max("createdAt") FROM changed))
    WHERE guid = (SELECT "ledgerGuid" FROM erasures WHERE "profileGuid" = %(profile)s)
)
SELECT (SELECT count(*) FROM changed), (SELECT count(*) FROM data);

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
-- The merges of these anonymousIds, and what is stored of their links whose events were pruned; `delete_events`
-- deletes that of other links. Return how many rows of each table that were, and the profiles that were merged.
WITH merges AS (
    DELETE FROM "profileMerges"
    WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[])
    RETURNING "eventGuid", "loserGuid", reason
), pruned AS (
    SELECT "eventGuid" FROM merges WHERE NOT EXISTS (SELECT FROM events WHERE guid = "eventGuid")
), ignored AS (
    DELETE FROM "ignoredLinks" WHERE "eventGuid" IN (SELECT "eventGuid" FROM pruned) RETURNING 1
), trail AS (
    DELETE FROM "linkChanges" WHERE "eventGuid" IN (SELECT "eventGuid" FROM pruned) RETURNING 1
)
SELECT
    (SELECT count(*) FROM merges), (SELECT count(*) FROM ignored), (SELECT count(*) FROM trail),
    (SELECT array_agg("loserGuid") FROM merges WHERE reason = 'merged' AND "loserGuid" IS NOT NULL);

-- delete_anonymous_ids --
-- These anonymousIds.
DELETE FROM "anonymousIds" WHERE "anonymousId" = ANY(%(anonymous_ids)s::text[]);

-- lift_anonymous_ids --
-- Events keep these anonymousIds again, unless the ledger says that they stay suppressed.
DELETE FROM "suppressedIds"
WHERE hash IN (
        SELECT "suppressionHash"('anonymousId', id)
        FROM unnest(%(anonymous_ids)s::text[]) AS ids(id)
    )
    AND NOT EXISTS (
        SELECT FROM "erasedIds" WHERE "erasedIds".hash = "suppressedIds".hash AND suppressed
    );

-- delete_merges_of_profile --
-- Delete some merges by which other people's anonymousIds came to this profile, and some unlinks by which they
-- left it, and what is stored of these links as `delete_merges` does.
WITH came AS (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges"
    WHERE "survivorGuid" = %(profile)s
    LIMIT %(at_most)s
    FOR UPDATE
), "left" AS (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges"
    WHERE "loserGuid" = %(profile)s AND reason = 'unlinked'
    LIMIT %(at_most)s - (SELECT count(*) FROM came)
    FOR UPDATE
), next AS (
    SELECT * FROM came UNION SELECT * FROM "left"
), merges AS (
    DELETE FROM "profileMerges" AS merges
    USING next
    WHERE merges."anonymousId" = next."anonymousId" AND merges."eventGuid" = next."eventGuid"
        AND merges."createdAt" = next."createdAt"
    RETURNING merges."eventGuid"
), pruned AS (
    SELECT "eventGuid" FROM merges WHERE NOT EXISTS (SELECT FROM events WHERE guid = "eventGuid")
), ignored AS (
    DELETE FROM "ignoredLinks" WHERE "eventGuid" IN (SELECT "eventGuid" FROM pruned) RETURNING 1
), trail AS (
    DELETE FROM "linkChanges" WHERE "eventGuid" IN (SELECT "eventGuid" FROM pruned) RETURNING 1
)
SELECT
    (SELECT count(*) FROM merges), (SELECT count(*) FROM ignored), (SELECT count(*) FROM trail);

-- clear_loser --
-- Remove this profile from some merges by which other people's anonymousIds left it.
WITH next AS (
    SELECT "anonymousId", "eventGuid", "createdAt"
    FROM "profileMerges"
    WHERE "loserGuid" = %(profile)s
    LIMIT %(at_most)s
    FOR UPDATE
)
UPDATE "profileMerges" AS merges
SET "loserGuid" = NULL
FROM next
WHERE merges."anonymousId" = next."anonymousId" AND merges."eventGuid" = next."eventGuid"
    AND merges."createdAt" = next."createdAt";

-- lift_user_id --
-- Events of the userId are stored again, unless the ledger says that it stays suppressed.
DELETE FROM "suppressedIds"
WHERE hash = (
        SELECT "suppressionHash"('userId', "userId")
        FROM profiles WHERE guid = %(profile)s AND "userId" IS NOT NULL
    )
    AND NOT EXISTS (
        SELECT FROM "erasedIds" WHERE "erasedIds".hash = "suppressedIds".hash AND suppressed
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

-- lock_erasure --
-- The erasure of this profile, if the profile is deleted, even if the erasure is set aside.
SELECT "profileGuid"
FROM erasures
WHERE "profileGuid" = %(profile)s AND NOT EXISTS (SELECT FROM profiles WHERE guid = "profileGuid")
FOR UPDATE;

-- delete_events --
-- Delete some events of the profile with their data, and what is stored of them as links; return how many
-- rows of each table that were. A trigger deletes their set-aside items.
WITH next AS (
    SELECT guid FROM events WHERE "profileGuid" = %(profile)s LIMIT %(at_most)s FOR UPDATE
), deleted AS (
    DELETE FROM events USING next WHERE events.guid = next.guid
    RETURNING events.guid, "createdAt"
), data AS (
    DELETE FROM "eventData" WHERE "eventGuid" IN (SELECT guid FROM deleted) RETURNING 1
), ignored AS (
    DELETE FROM "ignoredLinks" WHERE "eventGuid" IN (SELECT guid FROM deleted) RETURNING 1
), trail AS (
    DELETE FROM "linkChanges" WHERE "eventGuid" IN (SELECT guid FROM deleted) RETURNING 1
), newest AS (
    UPDATE "erasureLedger"
    SET "newestEventAt" = greatest("newestEventAt", (SELECT max("createdAt") FROM deleted))
    WHERE guid = (SELECT "ledgerGuid" FROM erasures WHERE "profileGuid" = %(profile)s)
)
SELECT
    (SELECT count(*) FROM deleted), (SELECT count(*) FROM data),
    (SELECT count(*) FROM ignored), (SELECT count(*) FROM trail),
    (SELECT count(*) FROM "setAside" WHERE kind = 'row' AND subject IN (SELECT guid FROM deleted));

-- add_counts --
-- Add rows to the ledger's counts, in the transaction that deletes or changes these rows.
INSERT INTO "erasureCounts" AS counts ("erasureGuid", "table", action, "doneBy", rows)
SELECT "ledgerGuid", "table", %(action)s, %(done_by)s, rows
FROM erasures
CROSS JOIN unnest(%(tables)s::text[], %(rows)s::bigint[]) AS done("table", rows)
WHERE "profileGuid" = %(profile)s
ON CONFLICT ("erasureGuid", "table", action, "doneBy") DO UPDATE
SET rows = counts.rows + excluded.rows;

-- finish_erasure --
-- No events are left.
WITH finished AS (
    DELETE FROM erasures WHERE "profileGuid" = %(profile)s RETURNING "ledgerGuid"
)
UPDATE "erasureLedger" SET "finishedAt" = now() FROM finished WHERE guid = "ledgerGuid";
