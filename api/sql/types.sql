-- Which types there are, by leaps along the index on (type, "occurredAt").

-- types --
-- The types after one, each with its first and last time, its newest event, and how many there are,
-- counted up to a bound.
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
SELECT found.type, oldest."occurredAt", newest."occurredAt", coalesce(newest.guid, oldest.guid),
    (
        SELECT count(*)
        FROM (SELECT FROM events WHERE type = found.type LIMIT %(most)s + 1) AS counted
    )
FROM (SELECT type FROM leaps WHERE type IS NOT NULL LIMIT %(wanted)s) AS found
LEFT JOIN LATERAL (
    SELECT guid, "occurredAt" FROM events
    WHERE type = found.type
    ORDER BY "occurredAt"
    LIMIT 1
) AS oldest ON true
LEFT JOIN LATERAL (
    SELECT guid, "occurredAt" FROM events
    WHERE type = found.type AND "occurredAt" IS NOT NULL
    ORDER BY "occurredAt" DESC
    LIMIT 1
) AS newest ON true;

-- matching_types --
-- The types that contain a text in any case, and the last of those looked at, if there may be more.
-- The collation "C" knows only the cases of ASCII; the database's locale mostly knows all.
WITH RECURSIVE leaps (type, number) AS (
    (SELECT type, 1 FROM events ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1), number + 1
    FROM leaps
    WHERE leaps.type IS NOT NULL AND number < %(most)s
), looked AS (
    SELECT type, number,
        strpos(lower(type COLLATE "default"), lower(%(match)s COLLATE "default")) > 0 AS matches
    FROM leaps
    WHERE type IS NOT NULL
)
SELECT type, matches, number = %(most)s FROM looked WHERE matches OR number = %(most)s LIMIT %(wanted)s;

-- counts --
-- How many events of each type each bucket has, for so many types.
WITH RECURSIVE leaps (type, number) AS (
    (SELECT type, 1 FROM events WHERE type >= coalesce(%(type)s, '') ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1), number + 1
    FROM leaps
    WHERE leaps.type IS NOT NULL AND number < %(mostTypes)s AND %(type)s::text IS NULL
)
SELECT found.type, counted.bucket, counted.events
FROM (
    SELECT type FROM leaps WHERE type = coalesce(%(type)s, type)
) AS found
CROSS JOIN LATERAL (
    SELECT date_trunc(%(bucket)s, "occurredAt") AS bucket, count(*) AS events
    FROM events
    WHERE type = found.type AND "occurredAt" >= %(since)s AND "occurredAt" < %(until)s
    GROUP BY bucket
) AS counted
ORDER BY found.type, counted.bucket;

-- has_more_types --
-- Whether there are more types than that.
WITH RECURSIVE leaps (type, number) AS (
    (SELECT type, 1 FROM events ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE type > leaps.type ORDER BY type LIMIT 1), number + 1
    FROM leaps
    WHERE leaps.type IS NOT NULL AND number <= %(mostTypes)s
)
SELECT count(type) > %(mostTypes)s FROM leaps;
