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

-- delete --
-- Delete items of these subjects, whatever their state is.
DELETE FROM "setAside"
WHERE kind = ANY(%(kinds)s::text[]) AND subject = ANY(%(subjects)s::text[]);

-- delete_places --
-- Delete items of these subjects at these places, whatever their state is, except some items.
DELETE FROM "setAside"
WHERE kind = %(kind)s
    AND subject = ANY(%(subjects)s::text[])
    AND place = ANY(%(places)s::text[])
    AND NOT EXISTS (
        SELECT
        FROM unnest(%(kept_subjects)s::text[], %(kept_places)s::text[]) AS kept(subject, place)
        WHERE kept.subject = "setAside".subject AND kept.place = "setAside".place
    );

-- delete_other_places --
-- Delete items of a kind at all places but these.
DELETE FROM "setAside" WHERE kind = %(kind)s AND place <> ALL(%(places)s::text[]);

-- read_attempts --
-- Return how often a subject was set aside at these places.
SELECT coalesce(max(attempts), 0)
FROM "setAside"
WHERE kind = %(kind)s AND subject = %(subject)s AND place = ANY(%(places)s::text[]);

-- read_open_places --
-- The open items of a subject.
SELECT place, reason FROM "setAside"
WHERE kind = %(kind)s AND subject = %(subject)s AND state = 'open'
ORDER BY place
LIMIT 1000;

-- read_subjects --
-- Return the subjects that the processes skip.
SELECT subject FROM "setAside" WHERE kind = %(kind)s AND state <> 'retried';

-- open --
-- The number of open items by kind.
SELECT kind, count(*) FROM "setAside" WHERE state = 'open' GROUP BY kind;
