-- set_lock_timeout --
-- A running resolver locks an offset only briefly.
SET LOCAL lock_timeout = '5s';

-- end_suspended_sessions --
-- End sessions that have locked these offsets for long and send nothing: their resolver was suspended.
-- Postgres has no timeout that ends a session during a COPY. What the session wrote is rolled back.
SELECT pg_terminate_backend(session.pid)
FROM "consumerOffsets" AS stored
JOIN pg_stat_activity AS session ON session.backend_xid = stored.xmax
WHERE stored."consumerGroup" = %(group)s AND stored."clusterId" = %(cluster)s
    AND (stored.topic, stored.partition) IN (
        SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[])
    )
    AND session.wait_event = 'ClientRead' AND session.xact_start < now() - interval '15 seconds';

-- create_missing --
-- Insert a row for each partition that the group reads for the first time.
INSERT INTO "consumerOffsets" ("consumerGroup", "clusterId", topic, partition, "nextOffset")
SELECT %(group)s, %(cluster)s, n.topic, n.partition, n.start
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(starts)s::bigint[])
    AS n(topic, partition, start)
ON CONFLICT DO NOTHING
RETURNING topic, partition;

-- read --
-- The stored offsets, and when they were updated.
SELECT topic, partition, "nextOffset", extract(epoch FROM "updatedAt")::double precision
FROM "consumerOffsets"
WHERE "consumerGroup" = %(group)s AND "clusterId" = %(cluster)s
    AND (topic, partition) IN (
        SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[])
    );

-- advance --
-- Compare and set. Fewer updated rows than partitions: another resolver has moved an offset.
UPDATE "consumerOffsets" AS stored
SET "nextOffset" = n.next_offset, "updatedAt" = now()
FROM unnest(
    %(topics)s::text[], %(partitions)s::int[],
    %(old_offsets)s::bigint[], %(next_offsets)s::bigint[]
) AS n(topic, partition, old_offset, next_offset)
WHERE stored."consumerGroup" = %(group)s AND stored."clusterId" = %(cluster)s
    AND stored.topic = n.topic AND stored.partition = n.partition
    AND stored."nextOffset" = n.old_offset;

-- rewind --
-- Move one offset back, never forward: that would skip records that the group has not read.
UPDATE "consumerOffsets" SET "nextOffset" = %(target)s, "updatedAt" = now()
WHERE "consumerGroup" = %(group)s AND "clusterId" = %(cluster)s
    AND topic = %(topic)s AND partition = %(partition)s AND "nextOffset" > %(target)s;
