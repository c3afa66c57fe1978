-- put --
-- Set items aside, or count one more attempt. A dropped item stays dropped.
INSERT INTO "setAside" AS stored (kind, subject, place, reason)
SELECT DISTINCT ON (kind COLLATE "C", subject COLLATE "C", place COLLATE "C")
    kind, subject, place, reason
FROM unnest(%(kinds)s::text[], %(subjects)s::text[], %(places)s::text[], %(reasons)s::text[])
    AS failed(kind, subject, place, reason)
ORDER BY kind COLLATE "C", subject COLLATE "C", place COLLATE "C"
ON CONFLICT (kind, subject, place) DO UPDATE
SET reason = excluded.reason,
    attempts = stored.attempts + 1,
    state = CASE stored.state WHEN 'dropped' THEN 'dropped' ELSE 'open' END,
    "updatedAt" = now();

-- put_records --
-- Record dead letters. Writing a letter twice changes nothing; a resolved letter stays resolved.
INSERT INTO "setAside" AS stored (kind, subject, place, reason, attempts)
SELECT DISTINCT ON (subject COLLATE "C") 'record', subject, %(cluster)s, reason, attempts
FROM unnest(%(subjects)s::text[], %(reasons)s::text[], %(attempts)s::integer[])
    AS failed(subject, reason, attempts)
ORDER BY subject COLLATE "C", attempts DESC
ON CONFLICT (kind, subject, place) DO UPDATE
SET reason = excluded.reason,
    attempts = excluded.attempts,
    state = 'open',
    "updatedAt" = now()
WHERE stored.attempts < excluded.attempts;

-- clear --
-- Delete retried items that have succeeded.
DELETE FROM "setAside"
WHERE kind = %(kind)s AND state = 'retried' AND subject = ANY(%(subjects)s::text[]);

-- open --
-- The number of open items by kind.
SELECT kind, count(*) FROM "setAside" WHERE state = 'open' GROUP BY kind;
