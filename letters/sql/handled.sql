-- lock --
-- One operator at a time: what is open now is open until this transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('merganser dead letters', 0));

-- handled --
-- What was done about the records that these letters are about, and up to which attempt.
SELECT topic, partition, "offset", attempt, outcome, "handledAt" FROM "handledLetters"
WHERE "clusterId" = %(cluster)s AND (topic, partition, "offset") IN (
    SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(offsets)s::bigint[])
);

-- handle --
-- Note what is being done about them. An attempt once dealt with stays so.
INSERT INTO "handledLetters" AS stored
    ("clusterId", topic, partition, "offset", attempt, outcome)
SELECT %(cluster)s, n.topic, n.partition, n.at, n.attempt, %(outcome)s
FROM unnest(
    %(topics)s::text[], %(partitions)s::int[], %(offsets)s::bigint[], %(attempts)s::int[]
) AS n(topic, partition, at, attempt)
ON CONFLICT ("clusterId", topic, partition, "offset") DO UPDATE
SET attempt = excluded.attempt, outcome = excluded.outcome, "handledAt" = now()
WHERE stored.attempt < excluded.attempt;
