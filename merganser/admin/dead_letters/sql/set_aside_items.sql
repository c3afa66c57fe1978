-- read --
-- Return the set-aside items that match every condition, those that failed last first.
SELECT kind, subject, place, reason, attempts, state, "createdAt", "updatedAt"
FROM "setAside"
WHERE kind = ANY(%(kinds)s::text[])
    AND (state = 'open') = %(open)s
    AND (%(since)s::timestamptz IS NULL OR "updatedAt" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "updatedAt" < %(until)s)
    AND (
        %(any_name)s
        OR EXISTS (
            SELECT FROM unnest(%(name_kinds)s::text[], %(name_subjects)s::text[])
                AS name(kind, subject)
            WHERE name.kind = "setAside".kind AND name.subject = "setAside".subject
        )
    )
    AND (
        %(any_person)s
        OR kind = 'row' AND EXISTS (
            SELECT FROM events
            WHERE guid = subject AND (
                "userId" = ANY(%(user_ids)s::text[])
                OR "anonymousId" = ANY(%(anonymous_ids)s::text[])
            )
        )
        OR kind = 'move' AND place = ANY(%(anonymous_ids)s::text[])
        OR kind IN ('move', 'erasure', 'profile', 'value') AND subject = ANY(%(profiles)s::text[])
    )
ORDER BY "updatedAt" DESC, kind DESC, subject DESC, place DESC
LIMIT %(newest)s;

-- resolve --
-- Store what an operator does about open items. An item that another operator has resolved meanwhile
-- stays as it is.
UPDATE "setAside"
SET state = %(state)s, "updatedAt" = now()
FROM unnest(%(kinds)s::text[], %(subjects)s::text[], %(places)s::text[])
    AS item(kind, subject, place)
WHERE "setAside".kind = item.kind AND "setAside".subject = item.subject
    AND "setAside".place = item.place AND state = 'open'
RETURNING "setAside".kind, "setAside".subject, "setAside".place;
