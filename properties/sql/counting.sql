-- snapshot --
-- Notes, events and states as of one moment: what a note tells of is seen if and only if it is.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- alone --
-- One process counts at a time. Another one waits and takes over when this one is gone.
SELECT pg_try_advisory_xact_lock(hashtext('merganser properties'));

-- profiles --
-- What is remembered of profiles, and how far a new count of theirs is.
SELECT
    profiles.guid, profiles."userId", profiles."createdAt", states.state,
    recounts.state, (extract(epoch FROM recounts."reachedAt") * 1000000)::bigint,
    recounts."reachedGuid"
FROM profiles
LEFT JOIN "propertyStates" AS states ON states."profileGuid" = profiles.guid
LEFT JOIN "propertyRecounts" AS recounts ON recounts."profileGuid" = profiles.guid
WHERE profiles.guid = ANY(%(profiles)s);

-- placed_events --
-- Events that still are where they were placed: of those that have moved on another note tells.
-- One without a time, which only an external system can have placed, counts when it has one.
SELECT
    events."profileGuid", (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
    events.guid, events.type, events."userId", events."ipAddress", data.pairs
FROM unnest(%(events)s::text[], %(profiles)s::text[]) AS placed(event, profile)
JOIN events ON events.guid = placed.event AND events."profileGuid" = placed.profile
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg("eventData".key, "eventData".value ORDER BY "eventData".guid) AS pairs
    FROM "eventData"
    WHERE "eventData"."eventGuid" = events.guid AND "eventData".key = ANY(%(keys)s)
) AS data
WHERE events.type = ANY(%(types)s) AND events."occurredAt" IS NOT NULL;

-- next_events --
-- The next events of profiles in their order, up to a number of rows. A profile without events
-- left has one row of nulls; one that has no row was not reached.
SELECT
    wanted.profile, (extract(epoch FROM found."occurredAt") * 1000000)::bigint,
    found.guid, found.type, found."userId", found."ipAddress", data.pairs
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
    SELECT jsonb_object_agg("eventData".key, "eventData".value ORDER BY "eventData".guid) AS pairs
    FROM "eventData"
    WHERE found.type = ANY(%(types)s)
        AND "eventData"."eventGuid" = found.guid
        AND "eventData".key = ANY(%(keys)s)
) AS data ON true
LIMIT %(at_most)s;

-- put_states --
-- What is remembered now.
INSERT INTO "propertyStates" ("profileGuid", state, "expiresAt")
SELECT n.profile, n.state::json, n.expires
FROM unnest(%(profiles)s::text[], %(states)s::text[], %(expires)s::timestamptz[])
    AS n(profile, state, expires)
ON CONFLICT ("profileGuid") DO UPDATE
SET state = excluded.state, "expiresAt" = excluded."expiresAt";

-- expired --
-- Profiles of which an event has left a window.
SELECT "profileGuid" FROM "propertyStates" WHERE "expiresAt" <= %(now)s LIMIT %(at_most)s;

-- properties --
-- What is stored of profiles.
SELECT "profileGuid", key, position, value
FROM "profileProperties"
WHERE "profileGuid" = ANY(%(profiles)s) AND key = ANY(%(keys)s);

-- put_properties --
-- Values that are new or others now.
INSERT INTO "profileProperties" ("profileGuid", key, position, value)
SELECT *
FROM unnest(
    %(profiles)s::text[], %(keys)s::text[], %(positions)s::integer[], %(values)s::text[]
)
ON CONFLICT ("profileGuid", key, position) DO UPDATE
SET value = excluded.value, "updatedAt" = excluded."updatedAt";

-- drop_properties --
-- Values that are no more.
DELETE FROM "profileProperties" AS stored
USING unnest(%(profiles)s::text[], %(keys)s::text[], %(positions)s::integer[])
    AS gone(profile, key, position)
WHERE stored."profileGuid" = gone.profile
    AND stored.key = gone.key
    AND stored.position = gone.position;

-- forget_states --
-- Profiles that are gone.
DELETE FROM "propertyStates" WHERE "profileGuid" = ANY(%(profiles)s);

-- forget_recounts --
-- Profiles that are gone, or whose new count has come to its end.
DELETE FROM "propertyRecounts" WHERE "profileGuid" = ANY(%(profiles)s);

-- forget_properties --
-- Profiles that are gone.
DELETE FROM "profileProperties" WHERE "profileGuid" = ANY(%(profiles)s);

-- begin_recounts --
-- Count these profiles anew, from their first event on, and from there again if that had begun.
INSERT INTO "propertyRecounts" ("profileGuid")
SELECT * FROM unnest(%(profiles)s::text[])
ON CONFLICT ("profileGuid") DO UPDATE
SET state = '{}', "reachedAt" = NULL, "reachedGuid" = NULL;

-- put_recounts --
-- How far new counts have come.
INSERT INTO "propertyRecounts" ("profileGuid", state, "reachedAt", "reachedGuid")
SELECT n.profile, n.state::json, n.at, n.guid
FROM unnest(
    %(profiles)s::text[], %(states)s::text[],
    %(reached_at)s::timestamptz[], %(reached_guid)s::text[]
) AS n(profile, state, at, guid)
ON CONFLICT ("profileGuid") DO UPDATE
SET state = excluded.state,
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
