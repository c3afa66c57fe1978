-- find_profile --
-- The profile with this guid, else the one of this userId, else the one of this anonymousId.
SELECT guid, "userId"
FROM (
    SELECT 1 AS rank, guid, "userId" FROM profiles WHERE guid = %(any_id)s
    UNION ALL
    SELECT 2, guid, "userId" FROM profiles WHERE "userId" = %(any_id)s
    UNION ALL
    SELECT 3, profiles.guid, profiles."userId"
    FROM "anonymousIds" JOIN profiles ON profiles.guid = "anonymousIds"."profileGuid"
    WHERE "anonymousId" = %(any_id)s
) AS candidates
ORDER BY rank
LIMIT 1;
