-- Pages of events, newest first, in parts: a scan follows one index and reads no more rows than a
-- bound; `select` takes what matches, in the scan's own order, so that Postgres stops the scan as soon
-- as there is enough; `last` tells how far the scan came. `at` is the time that a scan follows.

-- scan_all --
-- All events that have a time. Only this order has nulls last, and only the index of times has it too:
-- a planner with old statistics can take that index for no other scan, nor another one for this.
SELECT *, "occurredAt" AS at
FROM events
WHERE ("occurredAt", guid) < (%(before)s, %(beforeGuid)s) AND "occurredAt" >= %(since)s
ORDER BY "occurredAt" DESC NULLS LAST, guid DESC
LIMIT %(scan)s

-- scan_type --
-- The events of one type.
SELECT *, "occurredAt" AS at
FROM events
WHERE type = %(type)s
    AND ("occurredAt", guid) < (%(before)s, %(beforeGuid)s) AND "occurredAt" >= %(since)s
ORDER BY "occurredAt" DESC, guid DESC
LIMIT %(scan)s

-- scan_profile --
-- The timeline of one profile.
SELECT *, "occurredAt" AS at
FROM events
WHERE "profileGuid" = %(timeline)s
    AND ("occurredAt", guid) < (%(before)s, %(beforeGuid)s) AND "occurredAt" >= %(since)s
ORDER BY "occurredAt" DESC, guid DESC
LIMIT %(scan)s

-- scan_visitor --
-- The events of one anonymousId, sorted here, for its index has no times: only for those who have
-- fewer events than the bound.
SELECT *, "occurredAt" AS at
FROM events
WHERE "anonymousId" = %(anonymousId)s
    AND ("occurredAt", guid) < (%(before)s, %(beforeGuid)s) AND "occurredAt" >= %(since)s
ORDER BY "occurredAt" DESC, guid DESC
LIMIT %(scan)s

-- scan_unresolved --
-- The events without a profile, by the time they came: not all say when they occurred.
SELECT *, "createdAt" AS at
FROM events
WHERE "profileGuid" IS NULL AND ("createdAt", guid) < (%(before)s, %(beforeGuid)s)
ORDER BY "createdAt" DESC, guid DESC
LIMIT %(scan)s

-- select --
-- What matches of a scan. Only updatedAt may lie out of all time, for no constraint is on it.
SELECT guid, type, "producerGuid", "profileGuid", "ipAddress", "userId", "anonymousId",
    "createdAt", "occurredAt", "updatedAt", at
FROM scanned
WHERE coalesce("occurredAt", "createdAt") >= %(since)s
    AND (%(until)s::timestamptz IS NULL OR coalesce("occurredAt", "createdAt") < %(until)s)
    AND (%(type)s::text IS NULL OR type = %(type)s)
    AND (%(profileGuid)s::text IS NULL OR "profileGuid" = %(profileGuid)s)
    AND (%(userId)s::text IS NULL OR "userId" = %(userId)s)
    AND (%(anonymousId)s::text IS NULL OR "anonymousId" = %(anonymousId)s)
    AND (%(associated)s::boolean IS NULL OR ("profileGuid" IS NOT NULL) = %(associated)s)
    AND (
        %(dataKey)s::text IS NULL
        OR EXISTS (
            SELECT FROM "eventData" AS data
            WHERE data."eventGuid" = scanned.guid AND data.key = %(dataKey)s
                AND data.value = coalesce(%(dataValue)s, data.value)
            OFFSET 0
        )
    )

-- order_all --
-- Of scan_all; one more than a page has tells that there are more.
ORDER BY at DESC NULLS LAST, guid DESC LIMIT %(wanted)s

-- order --
-- Of the other scans.
ORDER BY at DESC, guid DESC LIMIT %(wanted)s

-- last --
-- The last row of a scan, and how many it read.
SELECT guid, count(*) OVER (), at FROM scanned ORDER BY at, guid LIMIT 1;

-- visitor_size --
-- How many events an anonymousId has, counted as far as a scan reads.
SELECT count(*)
FROM (SELECT FROM events WHERE "anonymousId" = %(anonymousId)s LIMIT %(scan)s) AS found;

-- user_profile --
-- The profile of a userId: every resolved event with that userId is there.
SELECT guid FROM profiles WHERE "userId" = %(userId)s;

-- events --
-- Events by their guids, in the order of these.
SELECT guid, type, "producerGuid", "profileGuid", "ipAddress", "userId", "anonymousId",
    "createdAt", "occurredAt", "updatedAt"
FROM unnest(%(guids)s::text[]) WITH ORDINALITY AS wanted (guid, place)
JOIN events USING (guid)
ORDER BY place;

-- data --
-- The data of events, each by its place among their guids; null for a value where the events before
-- have so many bytes already. Of a key that is there twice, the last row by guid counts.
SELECT place - 1, key, CASE WHEN coalesce(bytes_before, 0) < %(bytes)s THEN value END
FROM (
    SELECT wanted.place, data.guid, data.key, data.value,
        sum(octet_length(data.key) + octet_length(data.value)) OVER (
            ORDER BY wanted.place GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM unnest(%(guids)s::text[]) WITH ORDINALITY AS wanted (guid, place)
    CROSS JOIN LATERAL (
        SELECT * FROM "eventData" WHERE "eventGuid" = wanted.guid LIMIT %(most)s
    ) AS data
) AS measured
ORDER BY place, guid;

-- lock_event --
-- The event that is to go. The scanner may be about to resolve it: that is waited for.
SELECT FROM events WHERE guid = %(guid)s FOR UPDATE;

-- link_of --
-- The anonymousId that belongs to its user because of this event.
SELECT "anonymousId", visitors."userId"
FROM events
JOIN "anonymousIds" AS visitors USING ("anonymousId")
WHERE events.guid = %(guid)s AND visitors."linkEventGuid" = events.guid;

-- delete_event --
-- An event.
DELETE FROM events WHERE guid = %(guid)s;

-- delete_data --
-- The data of an event.
DELETE FROM "eventData" WHERE "eventGuid" = %(guid)s;
