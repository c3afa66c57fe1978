-- create_owners --
-- The owner of each anonymousId by definition: its earliest link among the events. A link over a
-- publishable key counts from "createdAt". Ignored links do not count. Links of forgotten people do not count, even while their events
-- are being erased. Stored links of events from before "prunedBefore" count as well, as their events may
-- be pruned.
CREATE TEMP TABLE "auditOwners" ON COMMIT DROP AS
SELECT DISTINCT ON ("anonymousId") "anonymousId", "userId", "linkedAt", "occurredAt", guid
FROM (
    SELECT events."anonymousId", events."userId",
        CASE
            WHEN keys.guid IS NOT NULL THEN events."createdAt"
            ELSE coalesce(events."occurredAt", events."createdAt")
        END AS "linkedAt",
        coalesce(events."occurredAt", events."createdAt") AS "occurredAt",
        events.guid
    FROM events
    LEFT JOIN "apiKeys" AS keys ON keys.guid = events."producerGuid" AND keys.kind = 'publishable'
    WHERE "profileGuid" IS NOT NULL
        AND lower(btrim(events."userId", %(space)s)) <> ALL(%(nobody)s)
        AND lower(btrim(events."anonymousId", %(space)s)) <> ALL(%(nobody)s)
        AND "profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
        AND NOT EXISTS (SELECT FROM "ignoredLinks" WHERE "eventGuid" = events.guid)
    UNION ALL
    SELECT "anonymousId", "userId", "linkedAt", coalesce("linkOccurredAt", "linkedAt"), "linkEventGuid"
    FROM "anonymousIds" JOIN retention ON coalesce("linkOccurredAt", "linkedAt") < "prunedBefore"
) AS links
ORDER BY "anonymousId", "linkedAt", "occurredAt", guid;

-- index_owners --
-- `wrong_events` joins it with each chunk of events.
CREATE UNIQUE INDEX ON "auditOwners" ("anonymousId");

-- analyze_owners --
-- Autovacuum does not analyze temporary tables.
ANALYZE "auditOwners";

-- count_pages --
-- The size of the events table in pages; `wrong_events` reads chunks of them.
SELECT pg_relation_size('events') / current_setting('block_size')::bigint;

-- wrong_events --
-- Events that are not on the profile that the definition says, except for moves in progress.
SELECT guid, "profileGuid", expected
FROM (
    SELECT events.guid, events."profileGuid", events."anonymousId", events."userId",
        CASE
            WHEN correct."userId" IS NOT NULL THEN users.guid
            ELSE ids."profileGuid"
        END AS expected
    FROM events
    LEFT JOIN "auditOwners" AS owners ON owners."anonymousId" = events."anonymousId"
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN lower(btrim(events."userId", %(space)s)) <> ALL(%(nobody)s) THEN events."userId"
            ELSE owners."userId"
        END AS "userId"
    ) AS correct
    LEFT JOIN profiles AS users ON users."userId" = correct."userId"
    LEFT JOIN "anonymousIds" AS ids ON ids."anonymousId" = events."anonymousId"
    WHERE events.ctid >= %(first)s::tid AND events.ctid < %(last)s::tid
        AND events."profileGuid" IS NOT NULL
        AND events."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
) AS compared
WHERE "profileGuid" IS DISTINCT FROM expected
    AND NOT EXISTS (
        SELECT FROM "eventMoves" AS moves
        WHERE moves."anonymousId" = compared."anonymousId"
            AND moves."fromGuid" = compared."profileGuid"
            AND expected IS NOT NULL
    )
LIMIT %(at_most)s;

-- wrong_owners --
-- AnonymousIds whose stored link is not the earliest one, except for forgotten people.
SELECT coalesce(owners."anonymousId", ids."anonymousId"),
    ids."linkEventGuid", owners.guid
FROM "auditOwners" AS owners
FULL JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE (owners."userId", owners.guid, owners."linkedAt", owners."occurredAt") IS DISTINCT FROM (
        ids."userId", ids."linkEventGuid", ids."linkedAt", coalesce(ids."linkOccurredAt", ids."linkedAt")
    )
    AND NOT EXISTS (SELECT FROM erasures WHERE "profileGuid" = ids."profileGuid")
LIMIT %(at_most)s;

-- wrong_profiles --
-- AnonymousIds whose profile is not their owner's or, if they have no owner, not an anonymous one.
SELECT ids."anonymousId", ids."profileGuid", expected.guid
FROM "anonymousIds" AS ids
LEFT JOIN profiles AS current ON current.guid = ids."profileGuid"
LEFT JOIN profiles AS expected ON expected."userId" = ids."userId"
WHERE current.guid IS NULL
    OR current.guid IS DISTINCT FROM expected.guid AND ids."userId" IS NOT NULL
    OR current."userId" IS NOT NULL AND ids."userId" IS NULL
LIMIT %(at_most)s;

-- shared_profiles --
-- Anonymous profiles that do not have exactly one anonymousId.
SELECT profiles.guid, count(ids."anonymousId")::text, '1'
FROM profiles
LEFT JOIN "anonymousIds" AS ids ON ids."profileGuid" = profiles.guid
WHERE profiles."userId" IS NULL AND profiles.guid NOT IN (SELECT "profileGuid" FROM erasures)
GROUP BY profiles.guid
HAVING count(ids."anonymousId") <> 1
LIMIT %(at_most)s;

-- count_in_progress --
-- Unfinished moves and erasures, the time before which events were pruned, and the numbers of events
-- without and with a profile.
SELECT
    (SELECT count(*) FROM "eventMoves"),
    (SELECT count(*) FROM erasures),
    (SELECT "prunedBefore" FROM retention),
    (SELECT count(*) FROM events WHERE "profileGuid" IS NULL),
    (SELECT count(*) FROM events WHERE "profileGuid" IS NOT NULL);

-- set_pruned_before --
-- Store, before the first deletion, that links earlier than this may have lost their events.
WITH moved AS (
    UPDATE retention SET "prunedBefore" = greatest("prunedBefore", %(before)s) RETURNING 1
)
INSERT INTO retention SELECT %(before)s WHERE NOT EXISTS (SELECT FROM moved);
