-- take --
-- The oldest notes, of about as many events and profiles as allowed. With them goes what other
-- notes of this moment a transaction will not see: whoever takes them sees all that they tell of.
DELETE FROM "eventChanges"
WHERE id IN (
    SELECT id
    FROM (
        SELECT id, size, sum(size) OVER (ORDER BY id) AS total
        FROM (SELECT id, size FROM "eventChanges" ORDER BY id LIMIT 2000) AS oldest
    ) AS summed
    WHERE total - size < %(at_most)s
)
RETURNING kind, events, profiles, "createdAt";

-- put_off --
-- Notes of what this transaction leaves to a later one; they are as old as the oldest that it took.
INSERT INTO "eventChanges" (kind, size, events, profiles, "createdAt")
SELECT 'placed', count(*), array_agg(event), array_agg(profile), %(created_at)s
FROM (
    SELECT event, profile, row_number() OVER () / 5000 AS part
    FROM unnest(%(events)s::text[], %(profiles)s::text[]) AS placed(event, profile)
) AS parts
GROUP BY part
UNION ALL
SELECT 'left', count(*), NULL, array_agg(profile), %(created_at)s
FROM unnest(%(again)s::text[]) AS again(profile)
HAVING count(*) > 0;

-- waiting --
-- Seconds since the oldest note that waits, and 0 if none does.
SELECT coalesce(
    (SELECT extract(epoch FROM now() - "createdAt") FROM "eventChanges" ORDER BY id LIMIT 1), 0
);

-- any --
-- Whether a note is left in this transaction's view.
SELECT EXISTS (SELECT FROM "eventChanges");

-- touched --
-- The profiles of events.
SELECT DISTINCT "profileGuid"
FROM events
WHERE guid = ANY(%(events)s::text[]) AND "profileGuid" IS NOT NULL;
