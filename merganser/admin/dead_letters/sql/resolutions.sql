-- lock --
-- One operator at a time: what is open now is open until this transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('merganser dead letters', 0));

-- handled --
-- What was done about the records that these letters are about, and up to which attempt.
SELECT subject, attempts, state, "updatedAt" FROM "setAside"
WHERE kind = 'record' AND place = %(cluster)s AND state <> 'open'
    AND subject = ANY(%(subjects)s::text[]);

-- handle --
-- Note what is being done about them. An attempt once dealt with stays so.
INSERT INTO "setAside" AS stored (kind, subject, place, reason, attempts, state)
SELECT 'record', n.subject, %(cluster)s, n.reason, n.attempts, %(outcome)s
FROM unnest(%(subjects)s::text[], %(reasons)s::text[], %(attempts)s::integer[])
    AS n(subject, reason, attempts)
ON CONFLICT (kind, subject, place) DO UPDATE
SET attempts = excluded.attempts, state = excluded.state, "updatedAt" = now()
WHERE stored.attempts < excluded.attempts
    OR stored.attempts = excluded.attempts AND stored.state = 'open';
