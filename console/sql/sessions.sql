-- start_session --
-- Insert a session.
INSERT INTO "consoleSessions" ("tokenHash", "keyHash") VALUES (%(token)s, %(key)s);

-- read_session --
-- The API key of a session that has not expired, and whether `touch_session` is due.
SELECT "keyHash", "lastUsedAt" < now() - interval '1 minute'
FROM "consoleSessions"
WHERE "tokenHash" = %(token)s
    AND "createdAt" > now() - make_interval(secs => %(longest)s)
    AND "lastUsedAt" > now() - make_interval(secs => %(idle)s);

-- touch_session --
-- Note that a session was used.
UPDATE "consoleSessions" SET "lastUsedAt" = now() WHERE "tokenHash" = %(token)s;

-- end_session --
-- Delete a session.
DELETE FROM "consoleSessions" WHERE "tokenHash" = %(token)s;

-- delete_expired_sessions --
-- Delete the sessions that have expired.
DELETE FROM "consoleSessions"
WHERE "createdAt" <= now() - make_interval(secs => %(longest)s)
    OR "lastUsedAt" <= now() - make_interval(secs => %(idle)s);

-- use_link --
-- Delete a link, and the links that have expired. Return the API key of the link if it was valid.
WITH deleted AS (
    DELETE FROM "consoleLoginLinks"
    WHERE "tokenHash" = %(token)s OR "expiresAt" <= now()
    RETURNING *
)
SELECT "keyHash" FROM deleted WHERE "tokenHash" = %(token)s AND "expiresAt" > now();
