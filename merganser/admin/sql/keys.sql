-- create_key --
-- Insert an API key. `ensure_key` may meet its own key, inserted with fewer permissions by an older
-- version: then update it. If its kind would change, a trigger refuses that.
INSERT INTO "apiKeys" (name, "keyHash", kind, permissions, origins, rate)
VALUES (%(name)s, %(hash)s, %(kind)s, %(permissions)s, %(origins)s, %(rate)s)
ON CONFLICT ("keyHash") DO UPDATE
SET kind = excluded.kind, permissions = excluded.permissions, "updatedAt" = now()
RETURNING guid, "createdAt" = "updatedAt";

-- list_keys --
-- Return all keys, the oldest first.
SELECT guid, name, kind, permissions, origins, rate, "createdAt", "revokedAt"
FROM "apiKeys" ORDER BY "createdAt", guid;

-- read_key_names --
-- Return guid and name of the newest keys.
SELECT guid, name FROM "apiKeys" ORDER BY "createdAt" DESC, guid LIMIT %(most)s;

-- change_keys --
-- Change the publishable key with this guid and those with this name; null leaves a column as it is.
UPDATE "apiKeys"
SET origins = coalesce(%(origins)s::text[], origins), rate = coalesce(%(rate)s::real, rate), "updatedAt" = now()
WHERE (guid = %(guid_or_name)s OR name = %(guid_or_name)s)
    AND kind = 'publishable'
    AND "revokedAt" IS NULL
RETURNING guid, name;

-- revoke_keys --
-- Revoke the key with this guid and the keys with this name.
UPDATE "apiKeys" SET "revokedAt" = now(), "updatedAt" = now()
WHERE (guid = %(guid_or_name)s OR name = %(guid_or_name)s) AND "revokedAt" IS NULL
RETURNING guid, name;
