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
