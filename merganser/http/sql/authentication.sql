-- read_keys --
-- All keys that are not revoked.
SELECT "keyHash", guid, permissions, kind, origins, rate, name FROM "apiKeys" WHERE "revokedAt" IS NULL;
