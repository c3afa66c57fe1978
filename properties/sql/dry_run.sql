-- read_events --
-- A profile's events of the types that the rule counts, in order. Data as in read_placed_events.
SELECT
    (extract(epoch FROM events."occurredAt") * 1000000)::bigint,
    events.guid, events.type, events."userId", left(events."ipAddress", %(max_value_bytes)s + 1), (
        SELECT jsonb_object_agg(last.key, last.value)
        FROM (
            SELECT DISTINCT ON (key COLLATE "C")
                key, CASE WHEN octet_length(value) <= %(max_value_bytes)s THEN value END AS value
            FROM "eventData"
            WHERE "eventGuid" = events.guid AND key = ANY(%(keys)s)
            ORDER BY key COLLATE "C", guid DESC
        ) AS last
    )
FROM events
WHERE events."profileGuid" = %(profile)s AND events.type = ANY(%(types)s)
    AND events."occurredAt" IS NOT NULL
ORDER BY events."occurredAt", events.guid;
