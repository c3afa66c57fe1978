-- owners --
-- The definition of ownership, from the events alone: the earliest link of each anonymousId. A link
-- from before the time that was pruned is believed, as its event may be gone; those of forgotten
-- people, whose events still go, no longer count.
CREATE TEMP TABLE "auditOwners" ON COMMIT DROP AS
SELECT DISTINCT ON ("anonymousId") "anonymousId", "userId", "linkedAt", guid
FROM (
    SELECT "anonymousId", "userId", coalesce("occurredAt", "createdAt") AS "linkedAt", guid
    FROM events
    WHERE "profileGuid" IS NOT NULL
        AND lower(btrim("userId", %(space)s)) <> ALL(%(nobody)s)
        AND lower(btrim("anonymousId", %(space)s)) <> ALL(%(nobody)s)
        AND "profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
    UNION ALL
    SELECT "anonymousId", "userId", "linkedAt", "linkEventGuid"
    FROM "anonymousIds" JOIN retention ON "linkedAt" < "prunedBefore"
) AS links
ORDER BY "anonymousId", "linkedAt", guid;

-- index_owners --
-- For the join with each chunk of events.
CREATE UNIQUE INDEX ON "auditOwners" ("anonymousId");

-- analyze_owners --
-- A temporary table has no statistics until it is asked for them.
ANALYZE "auditOwners";

-- pages --
-- The size of the events table, in the pages that `wrong_events` reads in chunks.
SELECT pg_relation_size('events') / current_setting('block_size')::bigint;

-- wrong_events --
-- Events that lie on another profile than the definition says, leaving out moves in progress.
SELECT guid, "profileGuid", expected
FROM (
    SELECT events.guid, events."profileGuid", events."anonymousId", events."userId",
        CASE
            WHEN whose.id IS NOT NULL THEN users.guid
            ELSE visitors."profileGuid"
        END AS expected
    FROM events
    LEFT JOIN "auditOwners" AS owners ON owners."anonymousId" = events."anonymousId"
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN lower(btrim(events."userId", %(space)s)) <> ALL(%(nobody)s) THEN events."userId"
            ELSE owners."userId"
        END AS id
    ) AS whose
    LEFT JOIN profiles AS users ON users."userId" = whose.id
    LEFT JOIN "anonymousIds" AS visitors ON visitors."anonymousId" = events."anonymousId"
    WHERE events.ctid >= %(first)s::tid AND events.ctid < %(last)s::tid
        AND events."profileGuid" IS NOT NULL
        AND events."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
) AS placed
WHERE "profileGuid" IS DISTINCT FROM expected
    AND NOT EXISTS (
        SELECT FROM "eventMoves" AS moves
        WHERE moves."anonymousId" = placed."anonymousId"
            AND moves."fromGuid" = placed."profileGuid"
            AND expected IS NOT NULL
    )
LIMIT %(most)s;

-- wrong_owners --
-- AnonymousIds whose stored link is not the earliest one, leaving out people who are being forgotten.
SELECT coalesce(owners."anonymousId", visitors."anonymousId"),
    visitors."linkEventGuid", owners.guid
FROM "auditOwners" AS owners
FULL JOIN "anonymousIds" AS visitors USING ("anonymousId")
WHERE (owners."userId", owners.guid, owners."linkedAt")
    IS DISTINCT FROM (visitors."userId", visitors."linkEventGuid", visitors."linkedAt")
    AND NOT EXISTS (SELECT FROM erasures WHERE "profileGuid" = visitors."profileGuid")
LIMIT %(most)s;

-- wrong_visitors --
-- AnonymousIds that point at another profile than their owner's, or than one of their own.
SELECT visitors."anonymousId", visitors."profileGuid", owned.guid
FROM "anonymousIds" AS visitors
LEFT JOIN profiles AS pointed ON pointed.guid = visitors."profileGuid"
LEFT JOIN profiles AS owned ON owned."userId" = visitors."userId"
WHERE pointed.guid IS NULL
    OR pointed.guid IS DISTINCT FROM owned.guid AND visitors."userId" IS NOT NULL
    OR pointed."userId" IS NOT NULL AND visitors."userId" IS NULL
LIMIT %(most)s;

-- shared_profiles --
-- Anonymous profiles that are not the profile of just one anonymousId.
SELECT profiles.guid, count(visitors."anonymousId")::text, '1'
FROM profiles
LEFT JOIN "anonymousIds" AS visitors ON visitors."profileGuid" = profiles.guid
WHERE profiles."userId" IS NULL AND profiles.guid NOT IN (SELECT "profileGuid" FROM erasures)
GROUP BY profiles.guid
HAVING count(visitors."anonymousId") <> 1
LIMIT %(most)s;

-- in_progress --
-- Moves and erasures that are not finished, what was pruned, rows that wait for the scanner.
SELECT
    (SELECT count(*) FROM "eventMoves"),
    (SELECT count(*) FROM erasures),
    (SELECT "prunedBefore" FROM retention),
    (SELECT count(*) FROM events WHERE "profileGuid" IS NULL),
    (SELECT count(*) FROM events WHERE "profileGuid" IS NOT NULL);
