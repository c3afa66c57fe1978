-- items --
-- Set-aside items but records, whose letters are in their topic; those that match all that is given.
SELECT kind, subject, place, reason, attempts, state, "createdAt", "updatedAt"
FROM "setAside"
WHERE kind = ANY(%(kinds)s::text[]) AND kind <> 'record'
    AND (state = 'open') = %(open)s
    AND (%(since)s::timestamptz IS NULL OR "updatedAt" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "updatedAt" < %(until)s)
    AND (
        %(every)s
        OR EXISTS (
            SELECT FROM unnest(%(named)s::text[], %(subjects)s::text[]) AS wanted(kind, subject)
            WHERE wanted.kind = "setAside".kind AND wanted.subject = "setAside".subject
        )
    )
ORDER BY "updatedAt", kind, subject, place;

-- put_state --
-- Note what is being done about open items; those that another operator was quicker with stay as they
-- are.
UPDATE "setAside"
SET state = %(state)s, "updatedAt" = now()
FROM unnest(%(kinds)s::text[], %(subjects)s::text[], %(places)s::text[])
    AS chosen(kind, subject, place)
WHERE "setAside".kind = chosen.kind AND "setAside".subject = chosen.subject
    AND "setAside".place = chosen.place AND state = 'open'
RETURNING "setAside".kind, "setAside".subject, "setAside".place;
