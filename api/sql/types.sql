-- Event types. A recursive query leaps from type to type along the index on (type, "occurredAt").

-- types --
-- The types after one, each with its first and last time, its newest event, and the number of its
-- events, counted up to a limit.
WITH RECURSIVE leaps (type) AS (
    (
        SELECT type FROM events WHERE %(after)s::text IS NULL OR type > %(after)s
        ORDER BY type LIMIT 1
    )
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1)
    FROM leaps
    WHERE leaps.type IS NOT NULL
)
SELECT listed.type, oldest."occurredAt", newest."occurredAt", coalesce(newest.guid, oldest.guid),
    (
        SELECT count(*)
        FROM (SELECT FROM events WHERE type = listed.type LIMIT %(maxCount)s + 1) AS counted
    )
FROM (SELECT type FROM leaps WHERE type IS NOT NULL LIMIT %(limit)s) AS listed
LEFT JOIN LATERAL (
    SELECT guid, "occurredAt" FROM events
    WHERE type = listed.type
    ORDER BY "occurredAt"
    LIMIT 1
) AS oldest ON true
LEFT JOIN LATERAL (
    SELECT guid, "occurredAt" FROM events
    WHERE type = listed.type AND "occurredAt" IS NOT NULL
    ORDER BY "occurredAt" DESC
    LIMIT 1
) AS newest ON true;

-- matching_types --
-- The types that contain a text in any case, and the last type read if there may be more. Lower case
-- is that of the database's locale, as the collation "C" has it for ASCII only.
WITH RECURSIVE leaps (type, number) AS (
    (SELECT type, 1 FROM events ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1), number + 1
    FROM leaps
    WHERE leaps.type IS NOT NULL AND number < %(maxTypes)s
), searched AS (
    SELECT type, number,
        strpos(lower(type COLLATE "default"), lower(%(match)s COLLATE "default")) > 0 AS matches
    FROM leaps
    WHERE type IS NOT NULL
)
SELECT type, matches, number = %(maxTypes)s FROM searched WHERE matches OR number = %(maxTypes)s LIMIT %(limit)s;

-- counts --
-- The number of events of each type in each bucket, for a limited number of types.
WITH RECURSIVE leaps (type, number) AS (
    (SELECT type, 1 FROM events WHERE type >= coalesce(%(type)s, '') ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1), number + 1
    FROM leaps
    WHERE leaps.type IS NOT NULL AND number < %(maxTypes)s AND %(type)s::text IS NULL
)
SELECT listed.type, counted.bucket, counted.events
FROM (
    SELECT type FROM leaps WHERE type = coalesce(%(type)s, type)
) AS listed
CROSS JOIN LATERAL (
    SELECT date_trunc(%(bucket)s, "occurredAt") AS bucket, count(*) AS events
    FROM events
    WHERE type = listed.type AND "occurredAt" >= %(since)s AND "occurredAt" < %(until)s
    GROUP BY bucket
) AS counted
ORDER BY listed.type, counted.bucket;

-- has_more_types --
-- Whether there are more than maxTypes types.
WITH RECURSIVE leaps (type, number) AS (
    (SELECT type, 1 FROM events ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1), number + 1
    FROM leaps
    WHERE leaps.type IS NOT NULL AND number <= %(maxTypes)s
)
SELECT count(type) > %(maxTypes)s FROM leaps;
