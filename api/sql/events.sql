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
-- What matches of a scan, without what is longer than any that Merganser writes.
SELECT guid, type,
    CASE WHEN octet_length("producerGuid") <= %(longestName)s THEN "producerGuid" END,
    CASE WHEN octet_length("profileGuid") <= %(longestName)s THEN "profileGuid" END,
    CASE WHEN octet_length("ipAddress") <= %(longestName)s THEN "ipAddress" END,
    "userId", "anonymousId", "createdAt", "occurredAt", "updatedAt",
    coalesce(greatest(
        octet_length("producerGuid"), octet_length("profileGuid"), octet_length("ipAddress")
    ) > %(longestName)s, false),
    at
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
                AND (%(dataValue)s::text IS NULL OR data.value = %(dataValue)s)
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
-- Events by their guids, in the order of these, as in `select`.
SELECT guid, type,
    CASE WHEN octet_length("producerGuid") <= %(longestName)s THEN "producerGuid" END,
    CASE WHEN octet_length("profileGuid") <= %(longestName)s THEN "profileGuid" END,
    CASE WHEN octet_length("ipAddress") <= %(longestName)s THEN "ipAddress" END,
    "userId", "anonymousId", "createdAt", "occurredAt", "updatedAt",
    coalesce(greatest(
        octet_length("producerGuid"), octet_length("profileGuid"), octet_length("ipAddress")
    ) > %(longestName)s, false)
FROM unnest(%(guids)s::text[]) WITH ORDINALITY AS wanted (guid, place)
JOIN events USING (guid)
ORDER BY place;

-- data --
-- The data of events, each by its place among their guids. Of a key that is there twice, the last row
-- by guid counts. Some rows are without their value: those after the first ones of an event that have
-- so many bytes together, those that have more alone, and all rows of an event that is `beyond`, as
-- the events before it have so many bytes already. `more` says that the event has more data than this.
SELECT place - 1, key, CASE WHEN shown AND NOT beyond THEN value END, beyond, more OR NOT shown
FROM (
    SELECT *,
        coalesce(
            sum(size) FILTER (WHERE shown) OVER (
                ORDER BY place GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) >= %(bytes)s AS beyond
    FROM (
        SELECT wanted.place, data.*,
            size <= %(one)s
                AND sum(size) FILTER (WHERE size <= %(one)s) OVER (
                    PARTITION BY wanted.place ORDER BY data.guid
                ) <= %(one)s AS shown
        FROM unnest(%(guids)s::text[]) WITH ORDINALITY AS wanted (guid, place)
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON (key COLLATE "C") guid, key, value, size, more
            FROM (
                SELECT guid, value, octet_length(key) + octet_length(value) AS size,
                    CASE WHEN octet_length(key) <= %(longestKey)s THEN key END AS key,
                    count(*) OVER () > %(most)s
                        OR bool_or(octet_length(key) > %(longestKey)s) OVER () AS more,
                    row_number() OVER () AS number
                FROM (
                    SELECT * FROM "eventData" WHERE "eventGuid" = wanted.guid LIMIT %(most)s + 1
                ) AS first
            ) AS numbered
            WHERE number <= %(most)s
            ORDER BY key COLLATE "C", guid DESC
        ) AS data
    ) AS measured
) AS bounded
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
