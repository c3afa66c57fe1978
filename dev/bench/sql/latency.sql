-- How old each event was when the transaction that wrote it was committed.

-- ours --
-- The rows of data tell, as merges never touch them; one row of each event is enough.
SELECT
    percentile_cont(0.5) WITHIN GROUP (ORDER BY took),
    percentile_cont(0.99) WITHIN GROUP (ORDER BY took)
FROM (
    SELECT
        1000 * extract(epoch FROM pg_xact_commit_timestamp(data.xmin) - events."createdAt") AS took
    FROM "eventData" AS data
    JOIN events ON events.guid = data."eventGuid"
    WHERE data.key = 'path' AND events."createdAt" > (
        SELECT min("createdAt") + %(warmup)s * interval '1 second' FROM events
    )
) AS latencies;

-- bare_table --
-- What the ceiling writes: when a record was made, and the record.
CREATE TABLE bare (at timestamptz, value text);

-- bare_last --
-- The record that ends the run.
SELECT FROM bare WHERE value = 'last';

-- bare --
-- The same of the ceiling.
SELECT
    percentile_cont(0.5) WITHIN GROUP (ORDER BY took),
    percentile_cont(0.99) WITHIN GROUP (ORDER BY took)
FROM (
    SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - at) AS took
    FROM bare
    WHERE at > (SELECT min(at) + %(warmup)s * interval '1 second' FROM bare)
) AS latencies;
