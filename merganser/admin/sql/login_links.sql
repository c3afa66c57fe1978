-- create_link --
-- Insert a link that logs in to the console once, as the newest key with this guid or name that may.
INSERT INTO "consoleLoginLinks" ("tokenHash", "keyHash", "expiresAt")
SELECT %(token)s, "keyHash", now() + make_interval(secs => %(seconds)s)
FROM "apiKeys"
WHERE (guid = %(guid_or_name)s OR name = %(guid_or_name)s)
    AND permissions && %(permissions)s::text[]
    AND kind = 'secret'
    AND "revokedAt" IS NULL
ORDER BY "createdAt" DESC
LIMIT 1;
