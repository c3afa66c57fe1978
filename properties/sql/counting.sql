-- snapshot --
-- Notes, events and states as of one moment: what a note tells of is seen if and only if it is.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- alone --
-- One process counts at a time. Another one waits and takes over when this one is gone.
SELECT pg_try_advisory_xact_lock(hashtext('merganser properties'));

-- profiles --
-- What is remembered of profiles, how far a new count of theirs is, and whether they are set aside.
-- States are left out where they have more bytes than asked for.
SELECT
    profiles.guid, profiles."userId", profiles."createdAt",
    profiles.guid IN (
        SELECT subject FROM "setAside" WHERE kind = 'profile' AND state <> 'retried'
    ),
    sizes.bytes,
    CASE WHEN sizes.bytes <= %(most)s THEN states.state END, states.checksum,
    CASE WHEN sizes.bytes <= %(most)s THEN recounts.state END, recounts.checksum,
    recounts."profileGuid" IS NOT NULL,
    (extract(epoch FROM recounts."reachedAt") * 1000000)::bigint, recounts."reachedGuid"
FROM profiles
LEFT JOIN "propertyStates" AS states ON states."profileGuid" = profiles.guid
LEFT JOIN "propertyRecounts" AS recounts ON recounts."profileGuid" = profiles.guid
CROSS JOIN LATERAL (
    SELECT coalesce(octet_length(states.state), 0) + coalesce(octet_length(recounts.state), 0)
) AS sizes(bytes)
WHERE profiles.guid = ANY(%(profiles)s::text[]);

-- placed_events --
-- Events that still are where they were placed: of those that have moved on another note tells.
-- One without a time, which only an external system can have placed, counts when it has one. Of a key
-- that is there twice the last row by guid counts. A value that is longer than allowed is null: it is
-- not even read. Texts are left out where an event has more bytes than asked for.
SELECT
    events."profileGuid", (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
    events.guid, events.type, events."userId",
    CASE WHEN sizes.bytes <= %(most)s THEN left(events."ipAddress", %(longest)s + 1) END,
    CASE WHEN sizes.bytes <= %(most)s THEN data.pairs END,
    sizes.bytes
FROM unnest(%(events)s::text[], %(profiles)s::text[]) AS placed(event, profile)
JOIN events ON events.guid = placed.event AND events."profileGuid" = placed.profile
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(last.key, last.value) AS pairs, sum(octet_length(last.value)) AS bytes
    FROM (
        SELECT DISTINCT ON (key COLLATE "C")
            key, CASE WHEN octet_length(value) <= %(longest)s THEN value END AS value
        FROM "eventData"
        WHERE "eventData"."eventGuid" = events.guid AND "eventData".key = ANY(%(keys)s)
        ORDER BY key COLLATE "C", guid DESC
    ) AS last
) AS data
CROSS JOIN LATERAL (
    SELECT coalesce(data.bytes, 0)
        + least(coalesce(octet_length(events."ipAddress"), 0), 4 * %(longest)s)
) AS sizes(bytes)
WHERE events.type = ANY(%(types)s) AND events."occurredAt" IS NOT NULL;

-- recounting --
-- How far the new counts of profiles are, and whether the profiles are set aside.
SELECT
    profiles.guid,
    profiles.guid IN (
        SELECT subject FROM "setAside" WHERE kind = 'profile' AND state <> 'retried'
    ),
    profiles."userId", recounts.state, recounts.checksum,
    (extract(epoch FROM recounts."reachedAt") * 1000000)::bigint, recounts."reachedGuid"
FROM profiles
LEFT JOIN "propertyRecounts" AS recounts ON recounts."profileGuid" = profiles.guid
WHERE profiles.guid = ANY(%(profiles)s::text[]);

-- next_events --
-- The next events of profiles in their order, up to a number of rows. A profile without events
-- left has one row of nulls; one that has no row was not reached. Data as in placed_events.
SELECT
    wanted.profile, (extract(epoch FROM found."occurredAt") * 1000000)::bigint,
    found.guid, found.type, found."userId", left(found."ipAddress", %(longest)s + 1), data.pairs,
    coalesce(data.bytes, 0) + least(coalesce(octet_length(found."ipAddress"), 0), 4 * %(longest)s)
FROM unnest(%(profiles)s::text[], %(reached_at)s::timestamptz[], %(reached_guid)s::text[])
    AS wanted(profile, "reachedAt", "reachedGuid")
LEFT JOIN LATERAL (
    SELECT "occurredAt", guid, type, "userId", "ipAddress"
    FROM events
    WHERE events."profileGuid" = wanted.profile
        AND ("occurredAt", guid) > (
            coalesce(wanted."reachedAt", '-infinity'), coalesce(wanted."reachedGuid", '')
        )
    ORDER BY "occurredAt", guid
    LIMIT %(at_most)s
) AS found ON true
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(last.key, last.value) AS pairs, sum(octet_length(last.value)) AS bytes
    FROM (
        SELECT DISTINCT ON (key COLLATE "C")
            key, CASE WHEN octet_length(value) <= %(longest)s THEN value END AS value
        FROM "eventData"
        WHERE found.type = ANY(%(types)s)
            AND "eventData"."eventGuid" = found.guid
            AND "eventData".key = ANY(%(keys)s)
        ORDER BY key COLLATE "C", guid DESC
    ) AS last
) AS data ON true
LIMIT %(at_most)s;

-- put_states --
-- What is remembered now.
INSERT INTO "propertyStates" ("profileGuid", state, checksum, "expiresAt")
SELECT *
FROM unnest(
    %(profiles)s::text[], %(states)s::text[], %(checksums)s::bigint[], %(expires)s::timestamptz[]
)
ON CONFLICT ("profileGuid") DO UPDATE
SET state = excluded.state, checksum = excluded.checksum, "expiresAt" = excluded."expiresAt";

-- expired --
-- Profiles of which an event has left a window: the first ones, up to a number of profiles, and up to
-- the one with which their states come to a number of bytes.
SELECT "profileGuid"
FROM (
    SELECT "profileGuid",
        sum(octet_length(state)) OVER (ORDER BY "expiresAt", "profileGuid") - octet_length(state)
            AS before
    FROM (
        SELECT * FROM "propertyStates"
        WHERE "expiresAt" <= %(now)s ORDER BY "expiresAt" LIMIT %(at_most)s
    ) AS first
) AS measured
WHERE before < %(bytes)s;

-- forget_states --
-- Profiles that are gone.
DELETE FROM "propertyStates" WHERE "profileGuid" = ANY(%(profiles)s::text[]);

-- forget_recounts --
-- Profiles that are gone, or whose new count has come to its end.
DELETE FROM "propertyRecounts" WHERE "profileGuid" = ANY(%(profiles)s::text[]);

-- forget_set_aside --
-- Profiles that are gone.
DELETE FROM "setAside" WHERE kind = 'profile' AND subject = ANY(%(profiles)s::text[]);

-- begin_recounts --
-- Count these profiles again from their first event on, and from there again if that had begun.
INSERT INTO "propertyRecounts" ("profileGuid")
SELECT * FROM unnest(%(profiles)s::text[])
ON CONFLICT ("profileGuid") DO UPDATE
SET state = NULL, checksum = NULL, "reachedAt" = NULL, "reachedGuid" = NULL;

-- put_recounts --
-- How far new counts have come.
INSERT INTO "propertyRecounts" ("profileGuid", state, checksum, "reachedAt", "reachedGuid")
SELECT *
FROM unnest(
    %(profiles)s::text[], %(states)s::text[], %(checksums)s::bigint[],
    %(reached_at)s::timestamptz[], %(reached_guid)s::text[]
)
ON CONFLICT ("profileGuid") DO UPDATE
SET state = excluded.state,
    checksum = excluded.checksum,
    "reachedAt" = excluded."reachedAt",
    "reachedGuid" = excluded."reachedGuid";

-- recounts --
-- The profiles that have waited longest for a new count, or whose count goes on.
SELECT "profileGuid" FROM "propertyRecounts" ORDER BY "createdAt", "profileGuid" LIMIT %(at_most)s;

-- next_profiles --
-- Profiles that a backfill has not come to yet, and those that went while there was no rule, of which
-- therefore no note tells, but still something stored.
SELECT guid FROM (
    (SELECT guid FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(at_most)s)
    UNION
    (
        SELECT "profileGuid" FROM "propertyStates"
        WHERE "profileGuid" > %(after)s ORDER BY "profileGuid" LIMIT %(at_most)s
    )
    UNION
    (
        SELECT DISTINCT "profileGuid" FROM "profileProperties"
        WHERE "profileGuid" > %(after)s ORDER BY "profileGuid" LIMIT %(at_most)s
    )
) AS known
ORDER BY guid
LIMIT %(at_most)s;

-- backfilled --
-- The profiles up to this guid are done for all rules; for null all profiles are.
UPDATE "profilePropertyRules"
SET "backfilledTo" = %(upto)s, backfilled = backfilled + %(count)s
WHERE "backfilledTo" < coalesce(%(upto)s, 'z') AND revision = ANY(%(revisions)s);

-- pending --
-- New counts that wait or go on.
SELECT count(*) FROM "propertyRecounts";

-- stored_keys --
-- Every key that some profile has, each found by one step through the index.
WITH RECURSIVE keys AS (
    (SELECT key FROM "profileProperties" ORDER BY key LIMIT 1)
    UNION ALL
    SELECT (
        SELECT key FROM "profileProperties" AS next
        WHERE next.key > keys.key
        ORDER BY key
        LIMIT 1
    )
    FROM keys
    WHERE keys.key IS NOT NULL
)
SELECT key FROM keys WHERE key IS NOT NULL;

-- drop_key --
-- Some of the values of a rule that is no more.
DELETE FROM "profileProperties"
WHERE ("profileGuid", key, position) IN (
    SELECT "profileGuid", key, position
    FROM "profileProperties"
    WHERE key = %(key)s
    LIMIT %(at_most)s
);
