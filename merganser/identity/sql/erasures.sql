-- The ledger of erasures, which the statements of forget.sql write, and erasing again after a restore.

-- read_erasures --
-- The erasures of a profile, of an id, with these guids, or all, oldest first, also as JSON.
-- "until" is the latest time that the topic may hold a record of the person, and of the dead-letter topic one
-- that was written before the erasure. The topic has records that the tables never had, or have no more: events
-- that were not resolved when the erasure began, repeats, pruned events. So its time never counts from the
-- newest erased event alone.
SELECT
    ledger.guid, "profileGuid", "requestedBy", reason, suppresses, "startedAt", "finishedAt",
    coalesce(counts.deleted, '{}'), until.topic, until.dead_topic,
    json_build_object(
        'kind', 'erasure', 'guid', ledger.guid, 'profileGuid', "profileGuid",
        'requestedBy', "requestedBy", 'reason', reason, 'suppresses', suppresses,
        'startedAt', "startedAt", 'finishedAt', "finishedAt",
        'counts', coalesce(counts.rows, '[]'),
        'newestEventAt', "newestEventAt",
        'topic', json_build_object('holdsMs', "topicHoldsMs", 'until', until.topic),
        'deadTopic', json_build_object('holdsMs', "deadTopicHoldsMs", 'until', until.dead_topic),
        'importedAt', "importedAt", 'replayedAt', "replayedAt"
    )::text
FROM "erasureLedger" AS ledger
CROSS JOIN LATERAL (
    SELECT
        json_agg(
            json_build_object('table', "table", 'action', action, 'doneBy', "doneBy", 'rows', rows)
            ORDER BY "table", action, "doneBy"
        ) AS rows,
        (
            SELECT json_object_agg("table", sum)
            FROM (
                SELECT "table", sum(rows)
                FROM "erasureCounts"
                WHERE "erasureGuid" = ledger.guid AND action = 'deleted'
                GROUP BY "table"
            ) AS sums
        ) AS deleted
    FROM "erasureCounts"
    WHERE "erasureGuid" = ledger.guid
) AS counts
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN "topicHoldsMs" IS NULL THEN NULL
            WHEN "topicHoldsMs" < 0 THEN 'forever'
            ELSE to_json(
                greatest("newestEventAt", "startedAt") + "topicHoldsMs" * interval '1 ms'
            ) #>> '{}'
        END,
        CASE
            WHEN "deadTopicHoldsMs" IS NULL THEN NULL
            WHEN "deadTopicHoldsMs" < 0 THEN 'forever'
            ELSE to_json("startedAt" + "deadTopicHoldsMs" * interval '1 ms') #>> '{}'
        END
) AS until(topic, dead_topic)
WHERE (%(profile)s::text IS NULL OR "profileGuid" = %(profile)s)
    AND (%(guids)s::text[] IS NULL OR ledger.guid = ANY(%(guids)s))
    AND (%(name)s::text IS NULL OR "profileGuid" = %(name)s OR ledger.guid IN (
        SELECT "erasureGuid" FROM "erasedIds"
        WHERE hash IN (
            "suppressionHash"('userId', %(name)s), "suppressionHash"('anonymousId', %(name)s),
            "suppressionHash"('placeholder', %(name)s), "suppressionHash"('name', %(name)s)
        )
    ))
ORDER BY "startedAt", ledger.guid;

-- find_newest --
-- The guids of the newest erasures, of an id or of all, before an erasure or of all times.
SELECT guid
FROM "erasureLedger" AS ledger
WHERE (
        %(before)s::text IS NULL OR ("startedAt", guid) < (
            SELECT "startedAt", guid FROM "erasureLedger" WHERE guid = %(before)s
        )
    )
    AND (%(name)s::text IS NULL OR "profileGuid" = %(name)s OR guid IN (
        SELECT "erasureGuid" FROM "erasedIds"
        WHERE hash IN (
            "suppressionHash"('userId', %(name)s), "suppressionHash"('anonymousId', %(name)s),
            "suppressionHash"('placeholder', %(name)s), "suppressionHash"('name', %(name)s)
        )
    ))
ORDER BY "startedAt" DESC, guid DESC
LIMIT %(at_most)s;

-- read_ids --
-- The hashes of all erased ids, as JSON.
SELECT json_build_object(
    'kind', 'id', 'erasureGuid', "erasureGuid", 'idKind', kind, 'hash', encode(hash, 'hex'),
    'suppressed', suppressed
)::text
FROM "erasedIds"
ORDER BY "erasureGuid", kind, hash;

-- fingerprint --
-- The same only in databases with the same salt: this one, its backups and what was restored from them.
SELECT encode("suppressionHash"('fingerprint', ''), 'hex');

-- import_erasures --
-- Insert erasures from a file which the ledger does not have.
WITH file AS (
    SELECT *
    FROM json_to_recordset(%(lines)s::json) AS lines(
        guid text, "profileGuid" text, "requestedBy" text, reason text, suppresses text,
        "startedAt" timestamptz, "finishedAt" timestamptz, "newestEventAt" timestamptz,
        topic json, "deadTopic" json, counts json
    )
), imported AS (
    INSERT INTO "erasureLedger" (
        guid, "profileGuid", "requestedBy", reason, suppresses, "startedAt", "finishedAt",
        "newestEventAt", "topicHoldsMs", "deadTopicHoldsMs", "importedAt"
    )
    SELECT
        guid, "profileGuid", "requestedBy", reason, suppresses, "startedAt", "finishedAt",
        "newestEventAt", (topic ->> 'holdsMs')::bigint, ("deadTopic" ->> 'holdsMs')::bigint, now()
    FROM file
    ON CONFLICT (guid) DO NOTHING
    RETURNING guid
), counts AS (
    INSERT INTO "erasureCounts" ("erasureGuid", "table", action, "doneBy", rows)
    SELECT guid, done."table", done.action, done."doneBy", done.rows
    FROM imported
    JOIN file USING (guid)
    CROSS JOIN LATERAL json_to_recordset(file.counts)
        AS done("table" text, action text, "doneBy" text, rows bigint)
)
SELECT count(*) FROM imported;

-- import_ids --
-- Insert hashes from a file. An id that the file says was readmitted is readmitted.
INSERT INTO "erasedIds" AS stored ("erasureGuid", kind, hash, suppressed)
SELECT "erasureGuid", "idKind", decode(hash, 'hex'), suppressed
FROM json_to_recordset(%(lines)s::json)
    AS lines("erasureGuid" text, "idKind" text, hash text, suppressed boolean)
ON CONFLICT ("erasureGuid", kind, hash) DO UPDATE
SET suppressed = false
WHERE stored.suppressed AND NOT excluded.suppressed;

-- suppress_imported_ids --
-- Suppress the ids of a part of the file that the ledger says are suppressed.
INSERT INTO "suppressedIds" (hash)
SELECT hash
FROM "erasedIds"
WHERE suppressed AND hash IN (
    SELECT decode(hash, 'hex') FROM json_to_recordset(%(lines)s::json) AS lines(hash text)
)
ON CONFLICT DO NOTHING;

-- lift_imported_ids --
-- Lift the suppression of the ids of a part of the file that the ledger says are not suppressed.
DELETE FROM "suppressedIds"
WHERE hash IN (
        SELECT decode(hash, 'hex') FROM json_to_recordset(%(lines)s::json) AS lines(hash text)
    )
    AND NOT EXISTS (
        SELECT FROM "erasedIds" WHERE "erasedIds".hash = "suppressedIds".hash AND suppressed
    );

-- find_users --
-- The next profiles whose userId was erased by an imported erasure.
SELECT guid
FROM profiles
WHERE guid > %(after)s AND "userId" IS NOT NULL AND EXISTS (
    SELECT
    FROM "erasedIds" AS ids
    JOIN "erasureLedger" AS ledger ON ledger.guid = ids."erasureGuid"
    WHERE ids.kind = 'userId' AND ids.hash = "suppressionHash"('userId', profiles."userId")
        AND "importedAt" IS NOT NULL AND "replayedAt" IS NULL
)
ORDER BY guid
LIMIT %(at_most)s;

-- find_placeholders --
-- The next userIds with a profile that an imported or unfinished erasure removes as a placeholder.
SELECT "userId"
FROM profiles
WHERE "userId" > %(after)s AND (
    EXISTS (
        SELECT
        FROM "erasedIds" AS ids
        JOIN "erasureLedger" AS ledger ON ledger.guid = ids."erasureGuid"
        WHERE ids.kind = 'placeholder'
            AND ids.hash = "suppressionHash"('placeholder', profiles."userId")
            AND "importedAt" IS NOT NULL AND "replayedAt" IS NULL
    )
    OR guid IN (
        SELECT erasures."profileGuid"
        FROM erasures
        JOIN "erasureLedger" AS ledger ON ledger.guid = "ledgerGuid" AND suppresses = 'placeholder'
    )
)
ORDER BY "userId"
LIMIT %(at_most)s;

-- find_anonymous_ids --
-- The next anonymousIds that were erased by an imported erasure.
SELECT "anonymousId"
FROM "anonymousIds"
WHERE "anonymousId" > %(after)s AND EXISTS (
    SELECT
    FROM "erasedIds" AS ids
    JOIN "erasureLedger" AS ledger ON ledger.guid = ids."erasureGuid"
    WHERE ids.kind = 'anonymousId'
        AND ids.hash = "suppressionHash"('anonymousId', "anonymousIds"."anonymousId")
        AND "importedAt" IS NOT NULL AND "replayedAt" IS NULL
)
ORDER BY "anonymousId"
LIMIT %(at_most)s;

-- find_begun --
-- The next profiles that an unfinished erasure erases.
SELECT erasures."profileGuid"
FROM erasures
JOIN "erasureLedger" AS ledger ON ledger.guid = "ledgerGuid" AND suppresses <> 'placeholder'
WHERE erasures."profileGuid" > %(after)s
ORDER BY erasures."profileGuid"
LIMIT %(at_most)s;

-- find_other_ids --
-- Some anonymousIds of a user that no imported erasure erased, if imported erasures of the user have finished:
-- the user had them in the backup, but no more when the user was erased.
SELECT "anonymousId"
FROM profiles
JOIN "anonymousIds" AS ids ON ids."profileGuid" = profiles.guid
WHERE profiles.guid = %(profile)s
    AND (
        SELECT bool_and("finishedAt" IS NOT NULL)
        FROM "erasedIds" AS erased
        JOIN "erasureLedger" AS ledger ON ledger.guid = "erasureGuid"
        WHERE kind = 'userId' AND hash = "suppressionHash"('userId', profiles."userId")
            AND "importedAt" IS NOT NULL AND "replayedAt" IS NULL
    )
    AND NOT EXISTS (
        SELECT
        FROM "erasedIds" AS erased
        JOIN "erasureLedger" AS ledger ON ledger.guid = "erasureGuid"
        WHERE kind = 'anonymousId' AND hash = "suppressionHash"('anonymousId', ids."anonymousId")
            AND "importedAt" IS NOT NULL
    )
LIMIT %(at_most)s;

-- split_profile --
-- If this anonymousId belongs to a user, give it an anonymous profile, which its own events follow.
WITH taken AS (
    SELECT ids."anonymousId", ids."profileGuid", "newGuid"('pro_') AS guid
    FROM "anonymousIds" AS ids
    JOIN profiles ON profiles.guid = ids."profileGuid" AND profiles."userId" IS NOT NULL
    WHERE ids."anonymousId" = %(anonymous_id)s
    FOR UPDATE OF ids
), inserted AS (
    INSERT INTO profiles (guid) SELECT guid FROM taken
), moves AS (
    INSERT INTO "eventMoves" ("anonymousId", "fromGuid")
    SELECT "anonymousId", "profileGuid" FROM taken
    ON CONFLICT DO NOTHING
)
UPDATE "anonymousIds" AS ids
SET "profileGuid" = taken.guid,
    "userId" = NULL, "linkedAt" = NULL, "linkOccurredAt" = NULL, "linkEventGuid" = NULL
FROM taken
WHERE ids."anonymousId" = taken."anonymousId";

-- read_profile --
-- The profile of an anonymousId.
SELECT "profileGuid" FROM "anonymousIds" WHERE "anonymousId" = %(anonymous_id)s;

-- finish_replay --
-- All that the database had of these people is erased.
UPDATE "erasureLedger"
SET "replayedAt" = now(), "finishedAt" = coalesce("finishedAt", now())
WHERE "importedAt" IS NOT NULL AND "replayedAt" IS NULL;
