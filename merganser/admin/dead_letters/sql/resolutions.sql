-- lock --
-- Let one operator at a time resolve letters: a letter that is open stays open until this transaction
-- ends.
SELECT pg_advisory_xact_lock(hashtextextended('merganser dead letters', 0));

-- read --
-- Return what operators did about the records of these letters, and up to which attempt.
SELECT subject, attempts, state, "updatedAt" FROM "setAside"
WHERE kind = 'record' AND place = %(cluster)s AND state <> 'open'
    AND subject = ANY(%(subjects)s::text[]);

-- write --
-- Store what an operator does about letters. An attempt that is resolved stays resolved.
INSERT INTO "setAside" AS stored (kind, subject, place, reason, attempts, state)
SELECT 'record', letter.subject, %(cluster)s, letter.reason, letter.attempts, %(outcome)s
FROM unnest(%(subjects)s::text[], %(reasons)s::text[], %(attempts)s::integer[])
    AS letter(subject, reason, attempts)
ON CONFLICT (kind, subject, place) DO UPDATE
SET attempts = excluded.attempts, state = excluded.state, "updatedAt" = now()
WHERE stored.attempts < excluded.attempts
    OR stored.attempts = excluded.attempts AND stored.state = 'open';
