-- read_ids --
-- A profile, its userId, its anonymousIds, and the profiles that were merged into it.
SELECT 'profile', guid FROM profiles WHERE guid = %(profile)s
UNION ALL
SELECT 'userId', "userId" FROM profiles WHERE guid = %(profile)s AND "userId" IS NOT NULL
UNION ALL
SELECT 'anonymousId', "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %(profile)s
UNION ALL
SELECT 'profile', "loserGuid"
FROM "profileMerges"
WHERE "survivorGuid" = %(profile)s AND reason = 'merged' AND "loserGuid" IS NOT NULL;

-- find_in_text --
-- The userId and anonymousIds of a profile that are part of a text, in any case. The columns' own collation
-- "C" knows the case of ASCII letters only.
SELECT id
FROM (
    SELECT "userId" FROM profiles WHERE guid = %(profile)s
    UNION ALL
    SELECT "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %(profile)s
) AS ids(id)
WHERE strpos(lower(%(text)s), lower(id COLLATE "default")) > 0;
