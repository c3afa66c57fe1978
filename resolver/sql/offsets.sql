-- set_lock_timeout --
-- A member that is alive locks an offset for a short time only.
SET LOCAL lock_timeout = '5s';

-- release --
-- End a session that has locked these offsets for long and sends nothing: its member was suspended.
-- No timeout of Postgres ends a session during a COPY. What the session has written is rolled back.
SELECT pg_terminate_backend(holder.pid)
FROM "consumerOffsets" AS held
JOIN pg_stat_activity AS holder ON holder.backend_xid = held.xmax
WHERE held."consumerGroup" = %(group)s AND held."clusterId" = %(cluster)s
    AND (held.topic, held.partition) IN (
        SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[])
    )
    AND holder.wait_event = 'ClientRead' AND holder.xact_start < now() - interval '15 seconds';

-- ensure --
-- A row for each partition seen for the first time.
INSERT INTO "consumerOffsets" ("consumerGroup", "clusterId", topic, partition, "nextOffset")
SELECT %(group)s, %(cluster)s, n.topic, n.partition, n.start
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(starts)s::bigint[])
    AS n(topic, partition, start)
ON CONFLICT DO NOTHING
RETURNING topic, partition;

-- read --
-- Where the group stands, and since when.
SELECT topic, partition, "nextOffset", extract(epoch FROM "updatedAt")::double precision
FROM "consumerOffsets"
WHERE "consumerGroup" = %(group)s AND "clusterId" = %(cluster)s
    AND (topic, partition) IN (
        SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[])
    );

-- advance --
-- Compare and set: fewer rows than asked for means that another resolver has moved on.
UPDATE "consumerOffsets" AS stored
SET "nextOffset" = n.new, "updatedAt" = now()
FROM unnest(
    %(topics)s::text[], %(partitions)s::int[], %(olds)s::bigint[], %(news)s::bigint[]
) AS n(topic, partition, old, new)
WHERE stored."consumerGroup" = %(group)s AND stored."clusterId" = %(cluster)s
    AND stored.topic = n.topic AND stored.partition = n.partition
    AND stored."nextOffset" = n.old;

-- rewind --
-- Move one offset back, never forward: records that were not read yet are not skipped.
UPDATE "consumerOffsets" SET "nextOffset" = %(target)s, "updatedAt" = now()
WHERE "consumerGroup" = %(group)s AND "clusterId" = %(cluster)s
    AND topic = %(topic)s AND partition = %(partition)s AND "nextOffset" > %(target)s;
