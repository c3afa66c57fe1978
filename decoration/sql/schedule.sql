-- lease_due_profiles --
-- Lease due profiles: their due time becomes the time when the lease expires. Rows that another
-- process has locked are skipped. A deleted or anonymous profile is returned without userId. A time
-- that somebody set to -infinity is returned as 1970.
WITH due AS (
    SELECT "profileGuid", "dueAt"
    FROM "profileDecorations"
    WHERE source = %(source)s AND "dueAt" <= %(now)s
    ORDER BY "dueAt"
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
),
leased AS (
    UPDATE "profileDecorations" AS decorations
    SET "dueAt" = %(expires_at)s
    FROM due
    WHERE decorations."profileGuid" = due."profileGuid" AND decorations.source = %(source)s
    RETURNING due."profileGuid", due."dueAt"
)
SELECT leased."profileGuid", profiles."userId", greatest(leased."dueAt", 'epoch')
FROM leased
LEFT JOIN profiles ON profiles.guid = leased."profileGuid";

-- delete_profiles --
-- Delete rows of profiles that no longer exist. This transaction has locked them.
DELETE FROM "profileDecorations" WHERE source = %(source)s AND "profileGuid" = ANY(%(profiles)s);

-- delete_profile --
-- Delete the rows of a profile that `forget` deletes.
DELETE FROM "profileDecorations" WHERE "profileGuid" = %(profile)s;

-- reschedule --
-- Set when profiles are due next if they still have this lease: after it has expired another process
-- may have leased them, and a new rule makes them due again. The rows are locked in one order.
-- IS NOT DISTINCT FROM keeps the index on "dueAt" from being used: it would find the whole lease for
-- each row.
WITH leased AS (
    SELECT decorations."profileGuid", given.due
    FROM unnest(%(profiles)s::text[], %(due)s::timestamptz[]) AS given(profile, due)
    JOIN "profileDecorations" AS decorations
        ON decorations."profileGuid" = given.profile AND decorations.source = %(source)s
    WHERE decorations."dueAt" IS NOT DISTINCT FROM %(expires_at)s
    ORDER BY decorations."profileGuid"
    FOR NO KEY UPDATE OF decorations
)
UPDATE "profileDecorations" AS decorations
SET "dueAt" = leased.due
FROM leased
WHERE decorations."profileGuid" = leased."profileGuid" AND decorations.source = %(source)s
RETURNING decorations."profileGuid";

-- make_due --
-- Make the profiles of these values due before all others. A process that queries one now loses its
-- lease. The rows are locked in the same order as everywhere.
WITH given AS (
    SELECT DISTINCT given.profile, given.key, given.source
    FROM unnest(%(profiles)s::text[], %(keys)s::text[], %(sources)s::text[])
        AS given(profile, key, source)
    JOIN "profileDecorations" AS decorations
        ON decorations."profileGuid" = given.profile AND decorations.source = given.source
),
locked AS (
    SELECT "profileGuid", source
    FROM "profileDecorations"
    WHERE ("profileGuid", source) IN (SELECT profile, source FROM given)
    ORDER BY "profileGuid", source
    FOR NO KEY UPDATE
),
updated AS (
    UPDATE "profileDecorations" AS decorations
    SET "dueAt" = 'epoch'
    FROM locked
    WHERE decorations."profileGuid" = locked."profileGuid" AND decorations.source = locked.source
)
SELECT profile, key FROM given;

-- count_due --
-- Count due profiles, up to a limit.
SELECT count(*)
FROM (
    SELECT FROM "profileDecorations"
    WHERE source = %(source)s AND "dueAt" <= %(now)s
    LIMIT %(limit)s
) AS due;

-- read_due --
-- When a profile is due, by source. A time that Python lacks, such as infinity, is clamped.
SELECT source, least(greatest("dueAt", 'epoch'), '9999-01-01')
FROM "profileDecorations"
WHERE "profileGuid" = %(profile)s
ORDER BY source;

-- lock_progress --
-- Lock and return how far a source's new rules are scheduled. No row: all profiles are scheduled, or
-- another process is scheduling them.
SELECT "scheduledTo"
FROM "propertySourceStates"
WHERE source = %(source)s AND "scheduledTo" IS NOT NULL
FOR NO KEY UPDATE SKIP LOCKED;

-- schedule_profiles --
-- Make the next profiles by guid due if they have a userId. Returns the last guid and the number of
-- profiles. The locks keep `forget` from deleting a profile between the two steps: its row would stay.
-- Writers of events do not wait for them: they change and delete anonymous profiles only.
WITH chunk AS (
    SELECT guid, "userId" FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(limit)s
),
known AS (
    SELECT guid
    FROM profiles
    WHERE guid IN (SELECT guid FROM chunk WHERE "userId" IS NOT NULL)
    ORDER BY guid
    FOR KEY SHARE
),
scheduled AS (
    INSERT INTO "profileDecorations" AS decorations ("profileGuid", source, "dueAt")
    SELECT guid, %(source)s, %(now)s FROM known
    ON CONFLICT ("profileGuid", source) DO UPDATE
    SET "dueAt" = least(decorations."dueAt", excluded."dueAt")
)
SELECT max(guid), count(*) FROM chunk;

-- write_progress --
-- Write how far a source's new rules are scheduled; null: all profiles are.
UPDATE "propertySourceStates" SET "scheduledTo" = %(to)s WHERE source = %(source)s;

-- read_sources --
-- Every source that has scheduled profiles. Each is found by one step through the index.
WITH RECURSIVE sources AS (
    (SELECT source FROM "profileDecorations" ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (
        SELECT source FROM "profileDecorations" AS next
        WHERE next.source > sources.source
        ORDER BY source
        LIMIT 1
    )
    FROM sources
    WHERE sources.source IS NOT NULL
)
SELECT source FROM sources WHERE source IS NOT NULL;

-- delete_source --
-- Delete some rows of a source, unless a rule that was just applied queries it.
DELETE FROM "profileDecorations"
WHERE ("profileGuid", source) IN (
    SELECT "profileGuid", source
    FROM "profileDecorations"
    WHERE source = %(source)s
        AND NOT EXISTS (
            SELECT FROM "profilePropertyRules" WHERE definition #>> '{query,source}' = %(source)s
        )
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
);
