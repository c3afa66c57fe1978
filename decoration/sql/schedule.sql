-- claim --
-- Profiles whose time has come, put off by a lease: nobody else asks for them unless it passes. Who
-- works on a row is not waited for. A profile that is gone, or nobody's, has no userId here. A time
-- that somebody set to -infinity is read as 1970.
WITH due AS (
    SELECT "profileGuid", "dueAt"
    FROM "profileDecorations"
    WHERE source = %(source)s AND "dueAt" <= %(now)s
    ORDER BY "dueAt"
    LIMIT %(at_most)s
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE "profileDecorations" AS decorations
    SET "dueAt" = %(lease)s
    FROM due
    WHERE decorations."profileGuid" = due."profileGuid" AND decorations.source = %(source)s
    RETURNING due."profileGuid", due."dueAt"
)
SELECT claimed."profileGuid", profiles."userId", greatest(claimed."dueAt", 'epoch')
FROM claimed
LEFT JOIN profiles ON profiles.guid = claimed."profileGuid";

-- drop --
-- Rows of profiles that are gone, which the transaction at hand has locked.
DELETE FROM "profileDecorations" WHERE source = %(source)s AND "profileGuid" = ANY(%(profiles)s);

-- forget_values --
-- Values of profiles that are gone, which were set aside.
DELETE FROM "setAside" WHERE kind = 'value' AND subject = ANY(%(profiles)s);

-- put_off --
-- When profiles are due next, for those whose lease is still the one given: after it has passed
-- another process may have taken them, and a new rule makes them due again. Locked in one order.
-- Compared so that the index on "dueAt" is of no use: it would find the whole claim for each row.
WITH ours AS (
    SELECT decorations."profileGuid", given.due
    FROM unnest(%(profiles)s::text[], %(due)s::timestamptz[]) AS given(profile, due)
    JOIN "profileDecorations" AS decorations
        ON decorations."profileGuid" = given.profile AND decorations.source = %(source)s
    WHERE decorations."dueAt" IS NOT DISTINCT FROM %(lease)s
    ORDER BY decorations."profileGuid"
    FOR NO KEY UPDATE OF decorations
)
UPDATE "profileDecorations" AS decorations
SET "dueAt" = ours.due
FROM ours
WHERE decorations."profileGuid" = ours."profileGuid" AND decorations.source = %(source)s
RETURNING decorations."profileGuid";

-- make_due --
-- Have the sources of these values asked for their profiles before all that wait. Whoever asks at
-- this moment loses the lease. Locked in the order of all others.
WITH given AS (
    SELECT DISTINCT given.profile, given.key, decorations.source
    FROM unnest(%(profiles)s::text[], %(keys)s::text[]) AS given(profile, key)
    JOIN "profilePropertyRules" AS rules ON rules.key = given.key
    JOIN "profileDecorations" AS decorations
        ON decorations."profileGuid" = given.profile
        AND decorations.source = rules.definition #>> '{query,source}'
),
ours AS (
    SELECT "profileGuid", source
    FROM "profileDecorations"
    WHERE ("profileGuid", source) IN (SELECT profile, source FROM given)
    ORDER BY "profileGuid", source
    FOR NO KEY UPDATE
),
put AS (
    UPDATE "profileDecorations" AS decorations
    SET "dueAt" = 'epoch'
    FROM ours
    WHERE decorations."profileGuid" = ours."profileGuid" AND decorations.source = ours.source
)
SELECT profile, key FROM given;

-- due --
-- How many profiles are due, up to a number.
SELECT count(*)
FROM (
    SELECT FROM "profileDecorations"
    WHERE source = %(source)s AND "dueAt" <= %(now)s
    LIMIT %(at_most)s
) AS due;

-- scheduling --
-- How far a source's new rules are scheduled, to be moved on by nobody else. No row: they are for
-- all profiles, or another process does it.
SELECT "scheduledTo"
FROM "propertySourceStates"
WHERE source = %(source)s AND "scheduledTo" IS NOT NULL
FOR NO KEY UPDATE SKIP LOCKED;

-- schedule --
-- The next profiles by guid: those of users are due now. Returns the last one and their number.
WITH chunk AS (
    SELECT guid, "userId" FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(at_most)s
),
put AS (
    INSERT INTO "profileDecorations" AS decorations ("profileGuid", source, "dueAt")
    SELECT guid, %(source)s, %(now)s FROM chunk WHERE "userId" IS NOT NULL ORDER BY guid
    ON CONFLICT ("profileGuid", source) DO UPDATE
    SET "dueAt" = least(decorations."dueAt", excluded."dueAt")
)
SELECT max(guid), count(*) FROM chunk;

-- drop_strangers --
-- What an earlier rule with such a key gave to profiles of nobody, for whom no source is asked.
DELETE FROM "profileProperties"
USING (
    SELECT guid, "userId" FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(at_most)s
) AS chunk
WHERE chunk."userId" IS NULL
    AND "profileProperties"."profileGuid" = chunk.guid
    AND key = ANY(%(keys)s);

-- scheduled --
-- How far scheduling has come; null when it is done.
UPDATE "propertySourceStates" SET "scheduledTo" = %(upto)s WHERE source = %(source)s;

-- sources --
-- Every source that profiles are scheduled for, each found by one step through the index.
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

-- forget --
-- Some of the rows of a source that no rule asks any more, not even one applied a moment ago.
DELETE FROM "profileDecorations"
WHERE ("profileGuid", source) IN (
    SELECT "profileGuid", source
    FROM "profileDecorations"
    WHERE source = %(source)s
        AND NOT EXISTS (
            SELECT FROM "profilePropertyRules" WHERE definition #>> '{query,source}' = %(source)s
        )
    LIMIT %(at_most)s
    FOR UPDATE SKIP LOCKED
);
