-- The age of each event at the commit of the transaction that wrote it.

-- pipeline --
-- Use one row of data per event, as merges never update rows of data.
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
-- Create the table of the ceiling: the time of each record, and the record.
CREATE TABLE bare (at timestamptz, value text);

-- bare_last --
-- Read the last record of the run.
SELECT FROM bare WHERE value = 'last';

-- bare --
-- Use the rows of the ceiling.
SELECT
    percentile_cont(0.5) WITHIN GROUP (ORDER BY took),
    percentile_cont(0.99) WITHIN GROUP (ORDER BY took)
FROM (
    SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - at) AS took
    FROM bare
    WHERE at > (SELECT min(at) + %(warmup)s * interval '1 second' FROM bare)
) AS latencies;
