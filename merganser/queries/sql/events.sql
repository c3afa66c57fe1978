-- Pages of events, newest first, in parts. A scan follows one index and reads a limited number of
-- rows. `select_matching` filters them in the scan's order, so that Postgres stops the scan when the
-- page is full. `scan_end` returns the last row of the scan. `at` is the time that a scan sorts by.

-- scan_all --
-- All events that have a time. Only this order has nulls last, as has only the index of times: a
-- planner with old statistics cannot choose that index for another scan, or another index for this.
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

-- scan_anonymous_id --
-- The events of one anonymousId. Postgres sorts them, as their index has no times: only for an
-- anonymousId with fewer events than the limit.
SELECT *, "occurredAt" AS at
FROM events
WHERE "anonymousId" = %(anonymousId)s
    AND ("occurredAt", guid) < (%(before)s, %(beforeGuid)s) AND "occurredAt" >= %(since)s
ORDER BY "occurredAt" DESC, guid DESC
LIMIT %(scan)s

-- scan_unresolved --
-- The events without a profile, by createdAt: occurredAt may be missing.
SELECT *, "createdAt" AS at
FROM events
WHERE "profileGuid" IS NULL AND ("createdAt", guid) < (%(before)s, %(beforeGuid)s)
ORDER BY "createdAt" DESC, guid DESC
LIMIT %(scan)s

-- select_matching --
-- The events of a scan that match the filters, without values longer than any that Merganser writes.
SELECT guid, type,
    CASE WHEN octet_length("producerGuid") <= %(maxNameBytes)s THEN "producerGuid" END,
    CASE WHEN octet_length("profileGuid") <= %(maxNameBytes)s THEN "profileGuid" END,
    CASE WHEN octet_length("ipAddress") <= %(maxNameBytes)s THEN "ipAddress" END,
    "userId", "anonymousId", "createdAt", "occurredAt", "updatedAt",
    (SELECT kind FROM "apiKeys" WHERE "apiKeys".guid = scanned."producerGuid"),
    coalesce(greatest(
        octet_length("producerGuid"), octet_length("profileGuid"), octet_length("ipAddress")
    ) > %(maxNameBytes)s, false),
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
-- The order of scan_all. One row more than the page shows whether there are more.
ORDER BY at DESC NULLS LAST, guid DESC LIMIT %(limit)s

-- order --
-- The order of the other scans.
ORDER BY at DESC, guid DESC LIMIT %(limit)s

-- scan_end --
-- The last row of a scan, and how many rows it read.
SELECT guid, count(*) OVER (), at FROM scanned ORDER BY at, guid LIMIT 1;

-- count_anonymous_id --
-- How many events an anonymousId has, counted up to the limit of a scan.
SELECT count(*)
FROM (SELECT FROM events WHERE "anonymousId" = %(anonymousId)s LIMIT %(scan)s) AS counted;

-- user_profile --
-- The profile of a userId: it has all resolved events with that userId.
SELECT guid FROM profiles WHERE "userId" = %(userId)s;

-- events_by_guid --
-- Events in the order of the guids, with the columns of `select_matching`.
SELECT guid, type,
    CASE WHEN octet_length("producerGuid") <= %(maxNameBytes)s THEN "producerGuid" END,
    CASE WHEN octet_length("profileGuid") <= %(maxNameBytes)s THEN "profileGuid" END,
    CASE WHEN octet_length("ipAddress") <= %(maxNameBytes)s THEN "ipAddress" END,
    "userId", "anonymousId", "createdAt", "occurredAt", "updatedAt",
    (SELECT kind FROM "apiKeys" WHERE "apiKeys".guid = events."producerGuid"),
    coalesce(greatest(
        octet_length("producerGuid"), octet_length("profileGuid"), octet_length("ipAddress")
    ) > %(maxNameBytes)s, false)
FROM unnest(%(guids)s::text[]) WITH ORDINALITY AS requested (guid, position)
JOIN events USING (guid)
ORDER BY position;

-- profile_guids --
-- The profiles of events.
SELECT guid, "profileGuid"
FROM events
WHERE guid = ANY (%(guids)s::text[]) AND "profileGuid" IS NOT NULL;

-- event_data --
-- The data of events, each row with the index of its event among the guids. Of several rows with the
-- same key, the last by guid counts. A row has no value
-- - if it exceeds maxEventBytes, alone or together with the event's rows before it, or
-- - if its event exceeds_total: the events before it have maxTotalBytes already.
-- `more` says that the event has more data than these rows.
SELECT position - 1, key, CASE WHEN fits AND NOT exceeds_total THEN value END, exceeds_total,
    more OR NOT fits
FROM (
    SELECT *,
        coalesce(
            sum(size) FILTER (WHERE fits) OVER (
                ORDER BY position GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) >= %(maxTotalBytes)s AS exceeds_total
    FROM (
        SELECT requested.position, data.*,
            size <= %(maxEventBytes)s
                AND sum(size) FILTER (WHERE size <= %(maxEventBytes)s) OVER (
                    PARTITION BY requested.position ORDER BY data.guid
                ) <= %(maxEventBytes)s AS fits
        FROM unnest(%(guids)s::text[]) WITH ORDINALITY AS requested (guid, position)
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON (key COLLATE "C") guid, key, value, size, more
            FROM (
                SELECT guid, value, octet_length(key) + octet_length(value) AS size,
                    CASE WHEN octet_length(key) <= %(maxKeyBytes)s THEN key END AS key,
                    count(*) OVER () > %(maxRows)s
                        OR bool_or(octet_length(key) > %(maxKeyBytes)s) OVER () AS more,
                    row_number() OVER () AS number
                FROM (
                    SELECT * FROM "eventData" WHERE "eventGuid" = requested.guid LIMIT %(maxRows)s + 1
                ) AS first
            ) AS numbered
            WHERE number <= %(maxRows)s
            ORDER BY key COLLATE "C", guid DESC
        ) AS data
    ) AS measured
) AS bounded
ORDER BY position, guid;

-- lock_event --
-- Lock the event to delete. This waits for a scanner that resolves it right now.
SELECT FROM events WHERE guid = %(guid)s FOR UPDATE;

-- find_link --
-- The anonymousId that belongs to its user because of this event, if any.
SELECT "anonymousId", ids."userId"
FROM events
JOIN "anonymousIds" AS ids USING ("anonymousId")
WHERE events.guid = %(guid)s AND ids."linkEventGuid" = events.guid;

-- delete_event --
-- Delete an event.
DELETE FROM events WHERE guid = %(guid)s;

-- delete_data --
-- Delete the data of an event.
DELETE FROM "eventData" WHERE "eventGuid" = %(guid)s;
